/** Puts one gate together on its folder: lock, files, board, outbox, socket. */
import { mkdirSync, renameSync } from 'node:fs';
import { join, resolve, dirname } from 'node:path';
import { readIfThere, writeDurably } from './durable-file.js';
import { gateSocketPath, lockGateFolder, makePrivateFolder, removeSocketFolder } from './folder.js';
import { Gate } from './gate.js';
import { Journal } from './journal.js';
import { openBoard } from './open-board.js';
import { Outbox } from './outbox.js';
import { parseConfig, parseJson, parseRights } from './parse.js';
import { Presence } from './presence.js';
import { GateServer } from './server.js';

const journalBytesMax = 256 * 1024 * 1024;
/** How long the end waits for a disk, and for a daemon to read its last lines. */
const lastWaitMs = 2_000;

export interface RunningGate {
  readonly socket: string;
  /** Strikes off, at once; for a process that is about to die. */
  readonly strikesOff: () => void;
  /** Strikes off, journal and socket closed, lock given back. */
  readonly stop: () => Promise<void>;
}

export interface RunOptions {
  readonly folder: string;
  /** One line for people, of what went wrong or was done. */
  readonly log: (level: 'info' | 'error', code: string, message: string) => void;
  /** The daemon has asked for the end: called once the gate is down. */
  readonly onStopped: () => void;
  readonly journalBytesMax?: number;
}

/**
 * Starts serving from the files alone. Throws `gate-running` where another gate has the folder,
 * `folder-not-ours` where the folder belongs to someone else, `socket-path-too-long` where its socket has no place.
 */
export async function runGate(options: RunOptions): Promise<RunningGate> {
  const folder = resolve(options.folder);
  const socket = gateSocketPath(folder);
  mkdirSync(dirname(folder), { recursive: true });
  makePrivateFolder(folder);
  const unlock = lockGateFolder(folder);
  try {
    return await start(folder, socket, unlock, options);
  } catch (error) {
    removeSocketFolder(folder, socket);
    unlock();
    throw error;
  }
}

async function start(
  folder: string,
  socket: string,
  unlock: () => void,
  options: RunOptions,
): Promise<RunningGate> {
  const file = (name: string) => join(folder, name);
  const problem = (code: string, message: string) => {
    options.log('error', code, message);
    server?.tell({ t: 'failed', ref: 0, code, message: message.slice(0, 2000) });
  };
  let server: GateServer | null = null;
  const presence = new Presence(file('daemon-seen'));
  const journal = await Journal.open(file('journal.ndjson'), options.journalBytesMax ?? journalBytesMax);
  const outbox = new Outbox(journal, {
    send: (record) => server?.send(record) ?? false,
    problem,
    now: Date.now,
  });
  const gate = new Gate({
    outbox,
    openBoard: (config, events) => openBoard(config, events, folder),
    saveConfig: (config) => writeDurably(file('config.json'), JSON.stringify(config)),
    saveRights: (table) => writeDurably(file('rights.json'), JSON.stringify(table)),
    tell: (message) => server?.tell(message),
    problem,
    now: Date.now,
    awayMs: () => presence.awayMs(),
  });
  const config = await load(file('config.json'), parseConfig, problem);
  const table = await load(file('rights.json'), parseRights, problem);
  await outbox.open();
  await gate.start(config, table);

  let stopping: Promise<void> | null = null;
  const stop = () => (stopping ??= stopOnce());
  const stopOnce = async () => {
    gate.strikesOff();
    await atMost(outbox.close(), lastWaitMs);
  };
  const finish = async () => {
    await stop();
    if (server !== null) await atMost(server.close(), lastWaitMs);
    // Before the lock is given back: the next gate makes the folder anew.
    removeSocketFolder(folder, socket);
    unlock();
  };
  server = new GateServer(gate, outbox, {
    hello: () => ({
      t: 'hello',
      pid: process.pid,
      instance: gate.instance,
      board: gate.board?.name ?? gate.config.board,
      simulated: gate.board?.simulated ?? gate.config.board === 'simulated',
      doors: gate.config.doors.map((door) => door.id),
      table: gate.tableVersion,
      journalled: journal.lines,
    }),
    presence: (here) => presence.set(here),
    // The answer goes out first, then the socket closes.
    stop: async () => {
      await stop();
      setImmediate(() => void finish().then(options.onStopped));
    },
  });
  if (dirname(socket) !== folder) makePrivateFolder(dirname(socket));
  await server.listen(socket);
  return { socket, strikesOff: () => gate.strikesOff(), stop: finish };
}

async function atMost(work: Promise<void>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  await Promise.race([work, new Promise<void>((resolve) => (timer = setTimeout(resolve, ms)))]);
  clearTimeout(timer);
}

/** A file's content; null where there is none, or where it is of no use: then it is set aside and told. */
async function load<T>(
  path: string,
  parse: (value: unknown) => T,
  problem: (code: string, message: string) => void,
): Promise<T | null> {
  try {
    const text = await readIfThere(path);
    return text === null ? null : parse(parseJson(text));
  } catch (error) {
    const aside = `${path}.bad-${Date.now()}`;
    renameSync(path, aside);
    problem(
      'file-corrupt',
      `${path} is of no use (${String(error)}); it was kept as ${aside}. The daemon sends a new one.`,
    );
    return null;
  }
}
