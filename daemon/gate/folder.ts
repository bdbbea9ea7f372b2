/** The gate's folder: where its socket is, and that one gate alone uses it. */
import { createHash, randomBytes } from 'node:crypto';
import {
  mkdirSync,
  linkSync,
  lstatSync,
  readFileSync,
  renameSync,
  rmSync,
  rmdirSync,
  writeFileSync,
  chmodSync,
} from 'node:fs';
import { tmpdir, userInfo } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { TownError } from '../ledger/ids.js';

/** The kernel allows 107 bytes in a socket's path. */
const socketPathBytesMax = 100;

/**
 * Where the gate of this folder listens; both sides compute it. Makes nothing.
 * A path too long for a socket is replaced by a short one in the temp folder, named by user and folder.
 * Throws `socket-path-too-long` where that is too long as well.
 */
export function gateSocketPath(folder: string): string {
  const path = join(resolve(folder), 'gate.sock');
  if (Buffer.byteLength(path) <= socketPathBytesMax) return path;
  const hash = createHash('sha256').update(resolve(folder)).digest('hex').slice(0, 16);
  const short = join(tmpdir(), `mergetown-${userInfo().uid}-${hash}`, 'gate.sock');
  if (Buffer.byteLength(short) <= socketPathBytesMax) return short;
  throw new TownError(
    'socket-path-too-long',
    `The gate's socket has no place: ${path} and ${short} have more than ${socketPathBytesMax} bytes.`,
    'Give a data folder with a shorter path, or set TMPDIR to a short one.',
  );
}

/** Removes the short folder that a socket was given in the temp folder, if it is that, ours, and nothing else is in it. */
export function removeSocketFolder(folder: string, socket: string): void {
  const short = dirname(socket);
  if (short === resolve(folder)) return;
  try {
    const found = lstatSync(short);
    if (found.isDirectory() && found.uid === userInfo().uid) rmdirSync(short);
  } catch {
    // Gone already, or not empty: then it stays.
  }
}

/** Makes a folder that is ours alone (mode 700). Throws `folder-not-ours` where it is someone else's or a link. */
export function makePrivateFolder(folder: string): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const found = lstatSync(folder);
  if (!found.isDirectory() || found.uid !== userInfo().uid)
    throw new TownError(
      'folder-not-ours',
      `${folder} is not a folder of user ${userInfo().username}.`,
      'Give another folder, or change its owner.',
    );
  chmodSync(folder, 0o700);
}

/** A process that cannot be mistaken for a later one with the same number: pid, start time, boot. */
function processMark(pid: number): string | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const started = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    return `${pid} ${started} ${boot}`;
  } catch {
    return null;
  }
}

/**
 * Takes `<folder>/gate.pid` for this process; returns what gives it back.
 * Throws `gate-running` when a living gate holds it. A stale one is replaced.
 */
export function lockGateFolder(folder: string): () => void {
  const path = join(folder, 'gate.pid');
  const own = join(folder, `gate.pid.${randomBytes(6).toString('hex')}`);
  const mark = processMark(process.pid) ?? `${process.pid} 0 0`;
  writeFileSync(own, mark + '\n', { mode: 0o600 });
  try {
    for (let attempt = 0; attempt < 5; attempt += 1) {
      try {
        linkSync(own, path);
        return () => {
          if (readPid(path) === mark) rmSync(path, { force: true });
        };
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      }
      refuseIfAlive(folder, path);
      replaceStale(path, `${own}.stale`);
    }
  } finally {
    rmSync(own, { force: true });
  }
  throw new TownError('gate-running', `The lock ${path} cannot be taken.`, 'Try again.');
}

function readPid(path: string): string | null {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return null;
  }
}

function refuseIfAlive(folder: string, path: string): void {
  const holder = readPid(path);
  const pid = Number(holder?.split(' ')[0]);
  if (holder === null || !Number.isSafeInteger(pid) || pid <= 0 || processMark(pid) !== holder) return;
  throw new TownError(
    'gate-running',
    `Another gate (process ${pid}) already uses ${folder}.`,
    `Stop it first, or give this one a folder of its own.`,
  );
}

/** Moves a stale lock away. If another process took it over in between, its lock is put back. */
function replaceStale(path: string, aside: string): void {
  try {
    renameSync(path, aside);
  } catch {
    return;
  }
  const holder = readPid(aside);
  const pid = Number(holder?.split(' ')[0]);
  if (holder !== null && processMark(pid) === holder) {
    try {
      linkSync(aside, path);
    } catch {
      // A third one has it: the two sort it out by the lock itself.
    }
  }
  rmSync(aside, { force: true });
}
