/** The demo as a person runs it: what it leaves is what it says, and stopped at any moment it leaves nothing. */
import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { eventually } from '../../daemon/testing/eventually.js';
import type { Figures } from './figures.js';

t.setTimeout(600_000);
const run = promisify(execFile);
const program = fileURLToPath(new URL('./run.js', import.meta.url));
const GIT_OUTPUT_MAX = 64 * 1024 * 1024;

interface Demo {
  readonly child: ChildProcess;
  readonly said: () => { readonly out: string; readonly errors: string };
  readonly ended: Promise<number | null>;
}

/** A short path: the gates' sockets are below it. */
function temporary(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'mt-demo-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function startDemo(t: Test, words: readonly string[], folder: string): Demo {
  const child = spawn(process.execPath, [program, ...words], {
    env: { ...process.env, TMPDIR: folder },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let [out, errors] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text));
  const ended = once(child, 'close').then(() => child.exitCode);
  t.teardown(async () => {
    if (child.exitCode === null) child.kill('SIGTERM');
    await ended;
  });
  return { child, said: () => ({ out, errors }), ended };
}

const hasEnded = ({ child }: Demo): boolean => child.exitCode !== null;

/** What still runs on a folder: daemons, gates, whatever names it. */
const processesOf = (folder: string): string[] =>
  readdirSync('/proc')
    .filter((name) => /^[0-9]+$/.test(name) && name !== String(process.pid))
    .flatMap((pid) => {
      try {
        return [readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')];
      } catch {
        return [];
      }
    })
    .filter((line) => line.includes(folder));

interface Receipt {
  readonly entries: readonly { readonly verdict: string; readonly code?: string }[];
}

t.test('it ends with one line that stock git confirms in every folder', async (t) => {
  const folder = temporary(t);
  const data = join(folder, 'towns');
  const demo = startDemo(t, ['--json', '--data', data], folder);
  const code = await demo.ended;
  const { out, errors } = demo.said();
  t.equal(code, 0, errors);
  t.match(out, /^\{.*\}\n$/, 'stdout is one line of JSON');
  const figures = JSON.parse(out) as Figures;
  t.strictSame(Object.keys(figures), ['nodes', 'entries', 'merged', 'rejected', 'converged', 'main', 'data']);
  const nodes = ['node-1', 'node-2', 'node-3'];
  t.strictSame(figures.data, Object.fromEntries(nodes.map((node) => [node, join(data, node)])));
  t.match(figures, { nodes: 3, converged: true, rejected: { 'not-enough-credits': 1, 'wrong-status': 1 } });
  t.equal(figures.entries, figures.merged + 2, 'every entry was accepted or rejected');

  for (const node of nodes) {
    const git = async (...words: string[]): Promise<string> =>
      (await run('git', ['-C', join(data, node, 'ledger.git'), ...words], { maxBuffer: GIT_OUTPUT_MAX }))
        .stdout;
    const fsck = await run('git', ['-C', join(data, node, 'ledger.git'), 'fsck', '--strict', '--full']);
    t.notMatch(fsck.stdout + fsck.stderr, /error|missing|corrupt/, `${node} is whole`);
    t.equal((await git('rev-parse', 'main')).trim(), figures.main[node], `its main is the one of the line`);
    const merges = (await git('rev-list', '--first-parent', 'main')).trim().split('\n');
    t.match(await git('log', '-1', '--notes=proof-of-merge', 'main'), /Attested-by: .*\n.*Attested-by: /);
    if (node !== 'node-1') continue;
    const verdicts: { [verdict: string]: number } = {};
    for (const merge of merges.slice(0, -1)) {
      const receipt = JSON.parse(await git('show', `${merge}:receipt.json`)) as Receipt;
      for (const { verdict } of receipt.entries) verdicts[verdict] = (verdicts[verdict] ?? 0) + 1;
    }
    t.equal((verdicts['accepted'] ?? 0) + (verdicts['irregular'] ?? 0), figures.merged);
    t.equal(verdicts['rejected'], 2, 'the receipts say the same');
  }
  t.equal(new Set(Object.values(figures.main)).size, 1, 'all mains are equal');
  for (const chapter of ['become one town', 'like any other', 'is cut', 'is back', 'What is left'])
    t.match(errors, chapter);
  t.match(errors, /Carol is told: “.*not-enough-credits/s, 'the losers are told');
  t.notMatch(errors, '\x1b', 'no colours where nobody looks');
  t.same(processesOf(folder), [], 'nothing runs on');

  const again = startDemo(t, ['--data', data], folder);
  t.equal(await again.ended, 2);
  t.match(again.said().errors, /node-1 is there already/, 'a town that is there is left alone');
});

t.test('with --keep the panels stay up until Ctrl-C, which takes everything along', async (t) => {
  const folder = temporary(t);
  const demo = startDemo(t, ['--keep'], folder);
  await eventually(
    'the panels are up',
    () => hasEnded(demo) || /Ctrl-C ends all three/.test(demo.said().out),
    {
      withinMs: 500_000,
      last: () => demo.said(),
    },
  );
  const { out } = demo.said();
  const urls = [...out.matchAll(/(?:House|Workshop|Garden) +(http:\S+)/g)].map(([, url]) => url as string);
  const passphrase = /The passphrase is: (.*)/.exec(out)?.[1];
  t.equal(urls.length, 3);
  for (const url of urls) {
    t.match(await (await fetch(url)).text(), /<html/, `the panel answers at ${url}`);
    const session = await fetch(`${url}/api/session`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ name: 'Ada', passphrase }),
    });
    t.equal(session.status, 200, 'Ada signs in as told');
  }
  demo.child.kill('SIGINT');
  t.equal(await demo.ended, 0);
  t.same(processesOf(folder), [], 'nothing runs on');
  t.same(readdirSync(folder), [], 'and nothing is left on the disk');
});

t.test('stopped in the middle it leaves no process and no folder', async (t) => {
  const folder = temporary(t);
  const demo = startDemo(t, [], folder);
  await eventually(
    'the Workshop asks to join',
    () => hasEnded(demo) || /Workshop +asks/.test(demo.said().out),
    {
      withinMs: 200_000,
    },
  );
  demo.child.kill('SIGINT');
  t.equal(await demo.ended, 130);
  t.equal(demo.said().errors, '', 'without a word of complaint');
  t.same(processesOf(folder), []);
  t.same(readdirSync(folder), []);
});

t.test('wrong words are told', async (t) => {
  for (const [words, said] of [
    [['--dta', 'x'], /--dta/],
    [['--driver', 'magic'], /container or process/],
  ] as const) {
    const demo = startDemo(t, words, temporary(t));
    t.equal(await demo.ended, 2);
    t.match(demo.said().errors, said);
  }
});
