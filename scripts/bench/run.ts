/** Runs the benches and prints their figures: a table, or one JSON line a figure with `--json`. */
import type { BenchLine } from './bench-line.js';

const help = `npm run bench [-- NAME…] [-- --json]     measures this machine; each figure stands beside its baseline

  append     durable signed entries per second, beside a bare loop on the same database
  disk       bytes that a door event writes and keeps, and the year of 5,000 a day; beside a bare loop that inserts it
  door       badge to strike, beside a bare write and sync of the same bytes
  memory     resident memory of an idle node with its broker, beside a process that only imports the same libraries; and the most
             that fetching 100,000 entries takes, beside fetching a tenth
  merge      entries into main with one, three and five validators, and how long one takes; beside a bare replay, and a
             commit with three round trips
  resync     a node fetches 10,000 entries, beside a loop that only verifies and inserts them
  simulate   towns in simulated time with any faults, for each minute of one thread; beside a bare replay of
             their histories by every node
  verify     entries checked in bulk on all cores, beside nothing but crypto.verify on as many threads
  scale      only by its name: 100,000 members and 1,000,000 entries; SCALE=0.1 a tenth of it, BENCH_CACHE=DIR keeps it
  start      spawn to serving, beside a bare server on the same libraries

  --json     one line per figure: {"bench","name","value","unit","baseline","ratio"}
             ratio: 1 = as good as the baseline, larger is better
`;

/** Loaded one at a time, so that no bench pays for another's libraries. */
const benches: { readonly [name: string]: () => Promise<{ run(): Promise<BenchLine[]> }> } = {
  append: () => import('./append.js'),
  disk: () => import('./disk.js'),
  door: () => import('./door.js'),
  memory: () => import('./memory.js'),
  merge: () => import('./merge.js'),
  resync: () => import('./resync.js'),
  scale: () => import('./scale.js'),
  start: () => import('./start.js'),
  simulate: () => import('./simulate.js'),
  verify: () => import('./verify.js'),
};

process.exitCode = await main(process.argv.slice(2));

async function main(words: readonly string[]): Promise<number> {
  if (words.includes('--help')) {
    process.stdout.write(help);
    return 0;
  }
  const json = words.includes('--json');
  const named = words.filter((word) => !word.startsWith('-'));
  const unknown = named.find((name) => !(name in benches));
  if (unknown !== undefined) {
    process.stderr.write(`No bench is called ${unknown}.\nThere are: ${Object.keys(benches).join(', ')}.\n`);
    return 2;
  }
  for (const name of named.length > 0 ? named : Object.keys(benches).filter((each) => each !== 'scale')) {
    if (!json) process.stdout.write(`${name}\n`);
    const { run } = await benches[name]!();
    for (const line of await run()) process.stdout.write(json ? `${JSON.stringify(line)}\n` : row(line));
  }
  return 0;
}

function row(line: BenchLine): string {
  const figure = (value: number): string => `${value.toLocaleString('en')} ${line.unit}`.padStart(18);
  return `  ${line.name.padEnd(28)}${figure(line.value)}   baseline ${figure(line.baseline)}   ratio ${line.ratio.toFixed(2)}\n`;
}
