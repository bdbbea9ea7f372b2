/**
 * What `npm start`, `npm test`, `npm run build` and the others share: checking the tools, installing, building,
 * each done only when something changed, with progress on the terminal. Needs nothing but Node itself,
 * since it runs before anything is installed.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The repository's folder. */
export const root = dirname(dirname(fileURLToPath(import.meta.url)));

const nodeWanted = [20, 19];
const sourceFolders = ['daemon', 'dapps', 'firmware-configs', 'scripts'];
const installStamp = join(root, 'node_modules', '.mergetown-installed');
const buildStamp = join(root, 'dist', '.built');
/** Compiled by the install itself; without it the daemon cannot start. */
const nativePart = join(root, 'node_modules', 'better-sqlite3', 'build', 'Release', 'better_sqlite3.node');
const outputKept = 200;

/** A step that failed: what it was and what to do; printed without a stack. */
export class StepError extends Error {
  /** @param {string} message @param {string} advice */
  constructor(message, advice) {
    super(message);
    this.advice = advice;
  }
}

/** Throws a StepError when this Node is too old. */
export function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major > nodeWanted[0] || (major === nodeWanted[0] && minor >= nodeWanted[1])) return;
  throw new StepError(
    `Mergetown needs Node ${nodeWanted.join('.')} or newer; this is ${process.versions.node} (${process.execPath}).`,
    'Debian 13 and Raspberry Pi OS have it: `sudo apt install nodejs npm`. Elsewhere see https://nodejs.org.',
  );
}

/** Throws a StepError when a tool that the install compiles with is absent. */
export function checkCompilers() {
  const missing = ['npm', 'make', 'g++', 'python3'].filter((tool) => !onPath(tool));
  if (missing.length === 0) return;
  throw new StepError(
    `The first start compiles SQLite and needs ${missing.join(', ')}, not found on the PATH.`,
    'On Debian and Raspberry Pi OS: `sudo apt install npm make g++ python3`.',
  );
}

/** @param {string} tool */
function onPath(tool) {
  return (process.env.PATH ?? '').split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, tool), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** Whether the packages of the lock file are in place, for this Node. */
export function installed() {
  return existsSync(nativePart) && (readStamp(installStamp) === lockHash() || adoptInstall());
}

/** Installs the packages of the lock file unless they are in place. */
export async function ensureInstalled() {
  if (installed()) return;
  checkCompilers();
  await step('Installing packages (once; compiles SQLite, a minute or more on a small board)', () =>
    runQuietly('npm', ['ci', '--include=dev', '--no-audit', '--no-fund']),
  );
  writeFileSync(installStamp, lockHash());
}

/** An install made by hand counts when npm's own record of it equals the lock file. */
function adoptInstall() {
  const record = join(root, 'node_modules', '.package-lock.json');
  if (existsSync(installStamp) || !existsSync(record)) return false;
  const there = JSON.parse(readFileSync(record, 'utf8')).packages;
  const wanted = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages;
  const complete = Object.entries(wanted).every(
    ([path, entry]) => path === '' || entry.optional || there[path]?.version === entry.version,
  );
  if (complete) writeFileSync(installStamp, lockHash());
  return complete;
}

/** The lock file and what native parts are compiled for. */
function lockHash() {
  return createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .update(`${process.versions.modules} ${process.platform} ${process.arch}`)
    .digest('hex');
}

/** Whether `dist` is what the sources say. */
export function built() {
  return readStamp(buildStamp) === sourceHash();
}

/** Builds unless `dist` is what the sources say. */
export async function ensureBuilt() {
  if (!built()) await build();
}

/** Type-checks and compiles everything to `dist`: the daemon, the dapps' packages, libraries it loads, the panel. */
export async function build() {
  const hash = sourceHash();
  rmSync(buildStamp, { force: true });
  await step('Compiling', async () => {
    removeStaleOutputs(join(root, 'dist'), root);
    await runQuietly(process.execPath, [
      join(root, 'node_modules', 'typescript', 'bin', 'tsc'),
      ...[
        '--project',
        root,
        '--incremental',
        '--tsBuildInfoFile',
        join(root, 'dist', '.tsbuildinfo'),
        '--pretty',
      ],
    ]);
  });
  await step('Packing the dapps, libraries and the panel', () =>
    Promise.all(
      ['build-dapps.mjs', 'build-libraries.mjs', 'build-panel.mjs'].map((script) =>
        runQuietly(process.execPath, [join(root, 'scripts', script)]),
      ),
    ),
  );
  mkdirSync(dirname(buildStamp), { recursive: true });
  writeFileSync(buildStamp, hash);
}

/** Removes compiled files whose source is gone, so that no deleted test or module lives on. */
function removeStaleOutputs(folder, sources) {
  for (const name of ['daemon', 'dapps', 'scripts']) prune(join(folder, name), join(sources, name));
}

function prune(folder, sources) {
  if (!existsSync(folder)) return;
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) prune(path, join(sources, entry.name));
    else if (entry.name.endsWith('.js') || entry.name.endsWith('.js.map')) {
      const base = join(sources, entry.name.replace(/\.js(\.map)?$/, ''));
      if (!existsSync(`${base}.ts`) && !existsSync(`${base}.tsx`)) {
        // tsc's record would still claim that the file is there, should the source come back.
        rmSync(path);
        rmSync(join(root, 'dist', '.tsbuildinfo'), { force: true });
      }
    }
  }
}

/** A hash of every source's path and content: edits count, touched dates do not. */
function sourceHash() {
  const hash = createHash('sha256');
  const add = (path) =>
    hash.update(`${path}\0`).update(
      createHash('sha256')
        .update(readFileSync(join(root, path)))
        .digest(),
    );
  const walk = (folder) => {
    const entries = readdirSync(join(root, folder), { withFileTypes: true });
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const path = `${folder}/${entry.name}`;
      if (entry.isDirectory()) walk(path);
      else if (entry.isFile() && !/\.(png|md)$/.test(entry.name)) add(path);
    }
  };
  for (const file of ['package.json', 'package-lock.json', 'tsconfig.json']) add(file);
  for (const folder of sourceFolders) if (existsSync(join(root, folder))) walk(folder);
  return hash.digest('hex');
}

function readStamp(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}

/**
 * Runs one step with its name and elapsed seconds on stderr.
 * @template T @param {string} name @param {() => Promise<T>} work @returns {Promise<T>}
 */
export async function step(name, work) {
  const began = Date.now();
  const elapsed = () => `${((Date.now() - began) / 1000).toFixed(1)} s`;
  const live = process.stderr.isTTY === true;
  const show = (mark, end) => process.stderr.write(`${live ? '\r\x1b[K' : ''}${mark} ${name} ${end}`);
  let ticker;
  if (live) {
    show('…', elapsed());
    ticker = setInterval(() => show('…', elapsed()), 200);
  } else process.stderr.write(`… ${name}\n`);
  try {
    const result = await work();
    clearInterval(ticker);
    show('✓', `${elapsed()}\n`);
    return result;
  } catch (error) {
    clearInterval(ticker);
    show('✗', `${elapsed()}\n`);
    throw error;
  }
}

/**
 * Runs a command, silent while it goes well; its last lines are in the error when it does not.
 * @param {string} command @param {string[]} parameters
 */
export function runQuietly(command, parameters) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, parameters, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    const keep = (chunk) => {
      output = (output + chunk).slice(-64 * 1024);
    };
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    child.once('error', reject);
    child.once('close', (code, signal) => {
      if (code === 0) return resolve(output);
      const said = output.trimEnd().split('\n').slice(-outputKept).join('\n');
      const what = [command.split('/').at(-1), ...parameters.slice(0, 2)].join(' ');
      reject(
        new StepError(`${said}\n\n\`${what}\` ended with ${signal ?? code}.`, 'Its last lines stand above.'),
      );
    });
  });
}

/** Runs a program to its end with the terminal, passing on signals; the result is its exit code. */
export function runWithTerminal(command, parameters, options = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, parameters, { cwd: root, stdio: 'inherit', ...options });
    const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
    // A Ctrl-C at the terminal reaches the child by itself; one sent to this process does not.
    const pass = (signal) => child.kill(signal);
    for (const signal of signals) process.on(signal, pass);
    child.once('error', reject);
    child.once('close', (code, signal) => {
      for (const name of signals) process.off(name, pass);
      resolve(code ?? (signal === 'SIGINT' ? 130 : signal === 'SIGTERM' ? 143 : 1));
    });
  });
}

/** Runs a script's `main`; a StepError is told in two lines, anything else with its stack. */
export async function runMain(main) {
  try {
    process.exitCode = await main();
  } catch (error) {
    if (!(error instanceof StepError)) throw error;
    process.stderr.write(`\n${error.message}\n${error.advice}\n`);
    process.exitCode = 1;
  }
}

/** A script that installs and builds what changed, then runs a built program with this terminal. `path`: below `dist`. */
export function runProgram(help, path) {
  return runMain(async () => {
    const options = process.argv.slice(2);
    if (options.includes('--help') || options.includes('-h')) {
      process.stdout.write(help);
      return 0;
    }
    checkNode();
    await ensureInstalled();
    await ensureBuilt();
    return runWithTerminal(process.execPath, [join(root, 'dist', ...path), ...options]);
  });
}
