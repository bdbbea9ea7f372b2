/** Runs of a scenario in which one call on the disk fails, and what must hold after each. */
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Test } from 'tap';
import { Acknowledged } from './acknowledged.js';
import { problemsAfter, Writer } from './rounds.js';

/** Sources are not copied to where the compiled program lies. */
const source = fileURLToPath(new URL('../../../../daemon/store/testing/faults.c', import.meta.url));
const program = fileURLToPath(new URL('./fault-scenario.js', import.meta.url));
const never = 1_000_000;

/** See faults.c. */
export const faultKinds = ['enospc', 'eio', 'short', 'full', 'dead'] as const;
export type FaultKind = (typeof faultKinds)[number];

/** The compiled library; null where there is no C compiler. */
export function compiledFaults(folder: string): string | null {
  const library = join(folder, 'faults.so');
  for (const compiler of ['cc', 'g++']) {
    try {
      const options = ['-O1', '-shared', '-fPIC', '-x', 'c', '-o', library, source, '-ldl'];
      execFileSync(compiler, options, { stdio: 'pipe' });
      return library;
    } catch {
      continue;
    }
  }
  return null;
}

/** What the library says of a run. */
interface Told {
  readonly calls: number;
  readonly failed: number;
  readonly syncedAgain: number;
  readonly call: string;
  readonly path: string;
}

function readTold(file: string): Told {
  const bytes = readFileSync(file);
  const text = (from: number, length: number): string =>
    bytes.toString('utf8', from, from + length).replace(/\0.*$/s, '');
  return {
    calls: bytes.readInt32LE(0),
    failed: bytes.readInt32LE(4),
    syncedAgain: bytes.readInt32LE(8),
    call: text(12, 32),
    path: text(44, 1024),
  };
}

export interface FaultRun {
  readonly library: string;
  /** A data folder that is copied for the run; null: it begins without one. */
  readonly from: { readonly folder: string; readonly acknowledged: readonly string[] } | null;
  readonly kind: FaultKind;
  /** Number of the call that fails, from 1. */
  readonly at: number;
}

export interface FaultResult {
  /** Calls that counted. */
  readonly calls: number;
  /** Whether the run was long enough for the fault. */
  readonly hit: boolean;
  /** What was wrong, in words; [] when all was well. */
  readonly problems: readonly string[];
  /** What failed and how the process took it. */
  readonly about: string;
}

/** How many calls a run without a fault makes. */
export const callsOf = async (t: Test, run: Omit<FaultRun, 'at'>): Promise<number> =>
  (await faultRun(t, { ...run, at: never })).calls;

export async function faultRun(t: Test, { library, from, kind, at }: FaultRun): Promise<FaultResult> {
  const base = mkdtempSync(join(tmpdir(), 'town-fault-'));
  try {
    const folder = join(base, 'town');
    const told = join(base, 'told');
    mkdirSync(folder);
    if (from !== null) cpSync(from.folder, folder, { recursive: true, preserveTimestamps: true });
    const writer = new Writer(program, folder, {
      LD_PRELOAD: library,
      FAULT_FOLDER: folder,
      FAULT_AT: String(at),
      FAULT_KIND: kind,
      FAULT_TOLD: told,
    });
    writer.begin();
    const end = await writer.ended();
    const { calls, failed, syncedAgain, call, path } = readTold(told);
    const acknowledged = new Acknowledged();
    if (from !== null) acknowledged.take(from.acknowledged);
    acknowledged.take(writer.lines());
    const problems: string[] = [];
    const wasRefused = writer.lines().some((line) => line.startsWith('refused'));
    const wasOpen = writer.lines().includes('open');
    const name = path.slice(folder.length + 1);
    const goesOn = end === 0 && writer.lines().at(-1) === 'closed';
    if (typeof end !== 'number') problems.push(`it was ended by ${end}`);
    else if (!goesOn && (end === 0 || !writer.lines().some((line) => line.startsWith('fatal'))))
      problems.push(`it ended with ${end} and did not say why`);
    if (failed === 0 && !goesOn) problems.push('it did not come to its end although nothing failed');
    // SQLite does not tell when its sync of the folder fails; the store syncs it too. And combined packs that did not come to the disk
    // are thrown away, while those that they were made of stay.
    const isOfCombining = writer.lines().some((line) => /^refused (combine|remove)/.test(line));
    const isTold = name !== '' && !isOfCombining;
    if (failed > 0 && /sync/.test(call) && isTold && goesOn)
      problems.push('it went on although a sync had failed');
    // While it opens, SQLite closes the file that failed, and folds in what was synced before; nothing is acknowledged after that.
    if (syncedAgain > 0 && isTold && wasOpen) problems.push('it synced a file again whose sync had failed');
    if (failed > 0 && goesOn && !wasRefused && !mayBeIgnored(kind, call, name))
      problems.push('nobody was told');
    problems.push(
      ...(await problemsAfter(t, folder, 0, acknowledged, true).catch((error: unknown) => [
        `it does not start again: ${String(error)}`,
      ])),
    );
    const how = goesOn
      ? wasRefused
        ? 'refused something and went on'
        : 'went on'
      : `stopped: ${writer.lines().at(-1) ?? ''}`;
    return {
      ...{ calls, hit: failed > 0, problems },
      about: `${kind} at call ${at} of ${calls}, ${call} ${name}: ${how}${problems.length > 0 ? `; ${writer.words()}` : ''}`,
    };
  } finally {
    rmSync(base, { recursive: true, force: true });
  }
}

/**
 * What harms nobody when it is not done: leftovers that the next start removes; SQLite's index of its log, which is rebuilt; the
 * log folded into the database, which is done later where there is no space now.
 */
const mayBeIgnored = (kind: FaultKind, call: string, name: string): boolean =>
  call === 'unlink' ||
  (call === 'fsync' && name === '') ||
  // Node makes a folder a second time where that failed.
  call === 'mkdir' ||
  name.endsWith('-shm') ||
  (name === 'town.db' && kind !== 'eio' && kind !== 'dead');

/** A folder in which a writer was killed: with a log to read again, and objects that git does not have yet. */
export async function killedFolder(program: string): Promise<{ folder: string; acknowledged: string[] }> {
  const folder = join(mkdtempSync(join(tmpdir(), 'town-killed-')), 'town');
  const writer = new Writer(program, folder);
  writer.begin();
  await writer.hears('flushed');
  const flushed = writer.lines().length;
  while (writer.lines().length < flushed + 40) await new Promise((resolve) => setTimeout(resolve, 2));
  writer.kill();
  await writer.ended();
  if (!existsSync(join(folder, 'town.db-wal'))) throw new Error('The killed writer left no log.');
  return { folder, acknowledged: writer.lines() };
}
