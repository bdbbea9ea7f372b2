/**
 * The writer's thread, before it has anything to write to. It loads what it needs by itself: a program that starts it first of all
 * and loads the rest meanwhile is a tenth sooner at its end.
 */
import { Worker } from 'node:worker_threads';
import type { WriterData } from './writer-protocol.js';

export interface WriterThreadParts {
  readonly worker: Worker;
  /** Counted up for each message to it, so that it can sleep on it. */
  readonly bell: Int32Array;
}

let ahead: WriterThreadParts | null = null;
const forget = (): void => void (ahead = null);

/** Starts the thread of the store that this process opens next. The process may end without ever opening one. */
export function startWriterAhead(): void {
  if (ahead !== null) return;
  ahead = startThread();
  // What fails here fails again, and is told, when a store is opened.
  ahead.worker.on('error', forget).on('exit', forget);
  ahead.worker.unref();
}

/** The thread that was started ahead, or a new one. */
export function takeWriterThread(): WriterThreadParts {
  if (ahead === null) return startThread();
  const taken = ahead;
  ahead = null;
  taken.worker.off('error', forget).off('exit', forget);
  taken.worker.ref();
  return taken;
}

function startThread(): WriterThreadParts {
  const bell = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT));
  const workerData: WriterData = { bell };
  return {
    worker: new Worker(new URL('./writer-worker.js', import.meta.url), { workerData, execArgv: [] }),
    bell,
  };
}
