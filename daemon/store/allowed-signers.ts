import { writeFileDurably } from './durable-file.js';

/**
 * Writes the file `git verify-commit` takes as `gpg.ssh.allowedSignersFile`.
 * `lines` as of `allowedSignersLine`; doubled ones are written once, in bytewise order, so that the file is
 * the same for the same keys.
 */
export async function writeAllowedSigners(path: string, lines: readonly string[]): Promise<void> {
  const unique = [...new Set(lines.map((line) => line.trim()).filter((line) => line !== ''))].sort();
  await writeFileDurably(path, unique.map((line) => `${line}\n`).join(''), 0o644);
}
