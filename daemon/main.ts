/**
 * The program: loads and runs the daemon (run-daemon.ts) in a heap that stays small. Nobody imports this file.
 *
 * V8 takes space freely while a program loads: its space for young objects grows to 48 MiB in a second of imports, and what it took
 * stays resident on a board that then does little. So it is told to be thrifty until the start is over, before the first import; from
 * then on the heap grows where work needs it.
 */
import { setFlagsFromString } from 'node:v8';
import { startWriterAhead } from './store/writer-thread.js';

const startMs = 8_000;

setFlagsFromString('--semi-space-growth-factor=1');
setFlagsFromString('--optimize-for-size');
setTimeout(() => {
  setFlagsFromString('--no-optimize-for-size');
  setFlagsFromString('--semi-space-growth-factor=2');
}, startMs).unref();

// Its thread loads SQLite and itself while this one loads all the rest.
startWriterAhead();
await import('./run-daemon.js');
