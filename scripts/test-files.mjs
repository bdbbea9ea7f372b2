/** Runs compiled test files, several at once, each in a process and process group of its own. */
import { spawn } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { root } from './steps.mjs';
import { TapReader } from './tap-lines.mjs';

/** @typedef {import('./tap-lines.mjs').FileResult} FileResult */

/** Tests wait for disks, daemons and browsers more than they compute. */
const jobs = Number(process.env.JOBS) || availableParallelism() * 2;
/** What a file has unless it says otherwise, with `t.setTimeout`. */
const timeoutSeconds = 600;
/** Whatever a file says: one that hangs must not hang the run. Runs of hours are asked for by name, one at a time. */
const fileMsMax = 4 * 3_600_000;
const killAfterMs = 20_000;
const stopMsMax = 5_000;
/** How long what a test left behind may hold its output open. */
const outputMsMax = 5_000;
const errorCharsKept = 8_000;

/** Those that take longest, first: one of them that starts last is waited for by all. */
const longFirst = [
  'store/faults',
  'node/crash',
  'store/crash',
  'store/power-cut',
  'simulation/simulation',
  'daemon/kill-points',
  'daemon/recovery-kill-points',
  'daemon/cut-network',
  'node/repair',
  'daemon/main',
  'cli/town',
  'gate/real-lines',
  'demo/demo',
  'daemon/joining',
  'node/flipped-bits',
  'testing/town-of-nodes',
  'panel/panel',
  'panel/nodes',
  'store/pack-combine',
  'dapps/both-drivers',
  'dapps/drivers',
  'ledger/money-laws',
  'cli/fork-commands',
  'cli/split-command',
  'node/node',
  'daemon/stock-git',
  'node/peering',
  'node/hostile-branches',
  'sync/garbage',
  'daemon/quiet-town',
];

/** Group numbers of what runs, for an interrupted run. @type {Set<number>} */
const running = new Set();
let stopping = false;

/** Ends all files that run, with what they started; none starts any more. */
export async function stopTestFiles() {
  stopping = true;
  for (const group of running) killGroup(group, 'SIGTERM');
  for (const end = Date.now() + stopMsMax; running.size > 0 && Date.now() < end;)
    await new Promise((resolve) => setTimeout(resolve, 50));
  for (const group of running) killGroup(group, 'SIGKILL');
}

/**
 * Runs all of them, the long ones first.
 * @param {string[]} files below the repository's folder
 * @param {(file: string, result: FileResult, seconds: number) => void} onFile told as each ends
 */
export async function runTestFiles(files, onFile) {
  const place = (file) => {
    const at = longFirst.findIndex((name) => file.endsWith(`/${name}.test.js`));
    return at < 0 ? longFirst.length : at;
  };
  const waiting = [...files].sort((a, b) => place(a) - place(b) || (a < b ? -1 : 1));
  const work = async () => {
    for (let file = waiting.shift(); file !== undefined && !stopping; file = waiting.shift()) {
      const began = Date.now();
      onFile(file, await runTestFile(file), (Date.now() - began) / 1000);
    }
  };
  await Promise.all(Array.from({ length: jobs }, work));
}

/** @returns {Promise<FileResult>} */
async function runTestFile(file) {
  const reader = new TapReader();
  // Not by `tap run`: it loads itself into every Node process that a test starts, a second of work for each.
  const child = spawn(process.execPath, ['--enable-source-maps', file], {
    cwd: root,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { TAP_TIMEOUT: String(timeoutSeconds), ...process.env },
  });
  let errors = '';
  child.stdout.setEncoding('utf8').on('data', (chunk) => reader.push(chunk));
  child.stderr.setEncoding('utf8').on('data', (chunk) => (errors = (errors + chunk).slice(-errorCharsKept)));
  if (child.pid !== undefined) running.add(child.pid);
  // At the first signal tap says what the test waits for.
  const timers = [
    setTimeout(() => child.kill('SIGALRM'), fileMsMax),
    setTimeout(() => child.kill('SIGKILL'), fileMsMax + killAfterMs),
  ];
  const closed = new Promise((resolve) => child.once('close', resolve));
  const how = await new Promise((resolve) => {
    child.once('error', (error) => resolve(`could not be started: ${error.message}`));
    child.once('exit', (code, signal) => resolve(code === 0 ? null : `ended with ${signal ?? code}`));
  });
  timers.forEach(clearTimeout);
  if (child.pid !== undefined) {
    // Otherwise what a failed test left running would go on beside all that come after it.
    killGroup(child.pid, 'SIGKILL');
    running.delete(child.pid);
  }
  let timer;
  await Promise.race([closed, new Promise((resolve) => (timer = setTimeout(resolve, outputMsMax)))]);
  clearTimeout(timer);
  child.stdout.destroy();
  child.stderr.destroy();
  return judged(reader, how, errors);
}

/** What the file itself adds to what its tests say. */
function judged({ result, ended }, how, errors) {
  const isWhole = how === null && ended;
  if (!isWhole && result.failed.length === 0)
    result.failed.push({
      name: `the file itself ${how ?? 'had no tests or stopped before its end'}`,
      said: [],
    });
  if (result.failed.length > 0 && errors.trim() !== '')
    result.failed.at(-1)?.said.push('on stderr:', ...errors.trimEnd().split('\n'));
  return result;
}

function killGroup(group, signal) {
  try {
    process.kill(-group, signal);
  } catch (error) {
    if (error.code !== 'ESRCH') throw error;
  }
}
