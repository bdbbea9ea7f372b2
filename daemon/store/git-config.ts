/** The `config` of a town's repository: what is ours in it, and how to tell whether it still is as it was written. */

/** What stands in every one, by its full name as we write it; the path of the signers' file besides. */
const ours: ReadonlyMap<string, string> = new Map([
  ['core.repositoryformatversion', '0'],
  ['core.filemode', 'true'],
  ['core.bare', 'true'],
  // The daemon is the only writer; what others push would not be on record.
  ['gc.auto', '0'],
  ['receive.denyDeletes', 'true'],
  ['receive.denyNonFastForwards', 'true'],
  ['gpg.format', 'ssh'],
]);
const signersKey = 'gpg.ssh.allowedSignersFile';
const signersLine = /^\tallowedSignersFile = .*\n/m;

const section = /^[\t ]*\[([A-Za-z0-9.-]+)(?: "((?:[^"\\]|\\["\\])*)")?\][\t ]*(?:[#;].*)?$/;
const setting = /^[\t ]+([A-Za-z][A-Za-z0-9-]*)(?:[\t ]*=[\t ]*(.*))?$/;
const comment = /^[\t ]*(?:[#;].*)?$/;

/** Keeps what a person added (a mirror, say); only the path follows the folder. @param found '' where there is none */
export function configText(found: string, allowedSigners: string): string {
  const path = `\tallowedSignersFile = "${allowedSigners.replace(/["\\]/g, '\\$&')}"\n`;
  if (signersLine.test(found)) return found.replace(signersLine, () => path);
  return (
    '[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n' +
    '[gc]\n\tauto = 0\n[receive]\n\tdenyDeletes = true\n\tdenyNonFastForwards = true\n' +
    `[gpg]\n\tformat = ssh\n[gpg "ssh"]\n${path}`
  );
}

/** Whether git takes every line, and what is ours is in its section, once, with our value. Of a person's own lines the form alone can be known. */
export function isConfigSound(text: string): boolean {
  const found = new Map<string, string[]>();
  let at = '';
  if (!text.endsWith('\n')) return false;
  for (const line of text.split('\n')) {
    if (comment.test(line)) continue;
    const [head, name = '', part] = section.exec(line) ?? [];
    if (head !== undefined) {
      at = part === undefined ? name : `${name}.${part}`;
      continue;
    }
    const [, key, value = 'true'] = setting.exec(line) ?? [];
    if (key === undefined || at === '') return false;
    const full = `${at}.${key}`;
    found.set(full, [...(found.get(full) ?? []), value]);
  }
  const signers = found.get(signersKey);
  return (
    [...ours].every(([key, value]) => found.get(key)?.join() === value) &&
    signers?.length === 1 &&
    /^"(?:[^"\\]|\\["\\])*allowed_signers"$/.test(signers[0]!)
  );
}
