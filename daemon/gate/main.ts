/** The gate's process: `node dist/daemon/gate/main.js --folder <data>/gate`. Outlives the daemon, serves from its files alone. */
import { parseArgs } from 'node:util';
import { TownError } from '../ledger/ids.js';
import { runGate, type RunningGate } from './run-gate.js';

/** What one run may write to its log; a reader gone mad must not fill the card. */
const logBytesMax = 4 * 1024 * 1024;
/** After a signal the journal gets this long; then the process ends all the same. */
const stopWaitMs = 3_000;
let logged = 0;

function log(level: 'info' | 'error', code: string, message: string): void {
  const line = JSON.stringify({ time: new Date().toISOString(), level, code, msg: message }) + '\n';
  logged += line.length;
  // After what is being done: writing to a file blocks, and a strike may be waiting for this turn to end.
  if (logged <= logBytesMax) setImmediate(() => process.stderr.write(line));
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { folder: { type: 'string' } } });
  if (values.folder === undefined)
    throw new TownError(
      'usage',
      'No folder was given.',
      'Say: node dist/daemon/gate/main.js --folder <data>/gate',
    );
  process.umask(0o077);
  process.title = 'mergetown-gate';
  let gate: RunningGate | null = null;

  const crash = (error: unknown) => {
    gate?.strikesOff();
    log('error', 'gate-crashed', error instanceof Error ? (error.stack ?? error.message) : String(error));
    setImmediate(() => process.exit(1));
  };
  process.on('uncaughtException', crash);
  process.on('unhandledRejection', crash);
  process.on('exit', () => gate?.strikesOff());
  const leave = () => {
    gate?.strikesOff();
    setTimeout(() => process.exit(1), stopWaitMs).unref();
    void gate?.stop().then(() => process.exit(0), crash);
    if (gate === null) process.exit(0);
  };
  process.on('SIGTERM', leave);
  process.on('SIGINT', leave);
  // The terminal of the daemon may close; the doors stay.
  process.on('SIGHUP', () => undefined);
  // A log that nobody reads any more is no reason to stop.
  process.stderr.on('error', () => undefined);

  gate = await runGate({ folder: values.folder, log, onStopped: () => process.exit(0) });
  log('info', 'gate-started', `The gate serves ${values.folder}.`);
}

main().catch((error: unknown) => {
  const known = error instanceof TownError;
  log(
    'error',
    known ? error.code : 'gate-failed',
    known ? `${error.message} ${error.advice ?? ''}`.trim() : String(error),
  );
  setImmediate(() => process.exit(known && error.code === 'gate-running' ? 3 : 1));
});
