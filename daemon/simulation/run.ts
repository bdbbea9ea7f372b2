/** The program behind `npm run simulate`. */
import { availableParallelism } from 'node:os';
import { parseArgs } from 'node:util';
import { BROKEN_RULES, type BrokenRule } from './broken-rules.js';
import { playSeeds, type Sums } from './play-seeds.js';
import type { SeedOptions } from './run-seed.js';
import { FAULTS, type Fault } from './scenario.js';
import type { SeedResult } from './seed-worker.js';
import { DAY } from './timeline.js';

const TRACE_LINES_SHOWN = 120;
const PROGRESS_EVERY_MS = 10_000;

interface Wanted {
  readonly first: number;
  readonly last: number;
  readonly jobs: number;
  readonly json: boolean;
  readonly traces: boolean;
  readonly town: SeedOptions;
}

async function main(words: readonly string[]): Promise<number> {
  let wanted: Wanted;
  try {
    wanted = wantedBy(words);
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\nSee: npm run simulate -- --help\n`);
    return 2;
  }
  const { first, last, jobs, json, traces, town } = wanted;
  const began = performance.now();
  // With --json the one line stands alone on stdout.
  const tell = (text: string): void => void (json ? process.stderr : process.stdout).write(`${text}\n`);
  let told = began;
  const played = (result: SeedResult, done: number): void => {
    if (result.breaches.length > 0) tell(failureText(result));
    else if (traces) tell(result.trace.join('\n'));
    if (performance.now() - told < PROGRESS_EVERY_MS) return;
    told = performance.now();
    process.stderr.write(`${done} of ${last - first + 1} seeds\n`);
  };
  const sums = await playSeeds({ first, last, jobs, traces, town, played });
  const seconds = (performance.now() - began) / 1_000;
  process.stdout.write(json ? jsonLine(sums, seconds) : summary(sums, seconds));
  return sums.violations === 0 ? 0 : 1;
}

function jsonLine(sums: Sums, seconds: number): string {
  const { seeds, violations, merges, entries, simulatedMs } = sums;
  const line = {
    ...{ seeds, violations, merges, entries },
    simulated_days: Number((simulatedMs / DAY).toFixed(3)),
    seconds: Number(seconds.toFixed(1)),
  };
  return `${JSON.stringify(line)}\n`;
}

function summary(sums: Sums, seconds: number): string {
  const { seeds, violations, merges, entries, crashes, simulatedMs, convergedMs } = sums;
  return (
    `${seeds} seeds in ${seconds.toFixed(1)} s: ${violations === 0 ? 'everything held' : `${violations} in which something did not hold`}.\n` +
    `${merges} merges, ${entries} entries, ${crashes} crashes, ${(simulatedMs / DAY).toFixed(2)} simulated days; ` +
    `after its faults the slowest town was one again in ${Math.round(convergedMs / 1_000)} simulated seconds.\n`
  );
}

const failureText = ({ seed, breaches, command, trace }: SeedResult): string =>
  [
    `Seed ${seed}: something did not hold.`,
    ...breaches.map((breach) => `  ${breach}`),
    ...trace.slice(-TRACE_LINES_SHOWN).map((line) => `    ${line}`),
    `To play it again: ${command}`,
    '',
  ].join('\n');

/** @throws Error in words */
function wantedBy(words: readonly string[]): Wanted {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean' } as const;
  const { values } = parseArgs({
    args: [...words],
    options: {
      ...{
        seeds: text,
        nodes: text,
        days: text,
        faults: text,
        phases: text,
        acts: text,
        break: text,
        jobs: text,
      },
      ...{ json: flag, trace: flag },
    },
  });
  const [first, last] = seedsOf(values.seeds ?? '1-100');
  return {
    first,
    last,
    jobs: numberOf('--jobs', values.jobs, 1, 64) ?? availableParallelism(),
    json: values.json === true,
    traces: values.trace === true,
    town: {
      nodes: numberOf('--nodes', values.nodes, 3, 9),
      days: numberOf('--days', values.days, 0, 366),
      phases: numberOf('--phases', values.phases, 1, 100),
      actsMax: numberOf('--acts', values.acts, 0, 1_000_000),
      faults: values.faults === undefined ? undefined : faultsOf(values.faults),
      broken: values.break === undefined ? undefined : ruleOf(values.break),
    },
  };
}

function seedsOf(text: string): readonly [number, number] {
  const [, from, to] = /^(\d{1,9})(?:-(\d{1,9}))?$/.exec(text) ?? [];
  const first = Number(from);
  const last = Number(to ?? from);
  if (from === undefined || last < first)
    throw new Error(`--seeds takes one seed or a range, such as 17 or 1-1000, not "${text}".`);
  return [first, last];
}

function numberOf(name: string, text: string | undefined, least: number, most: number): number | undefined {
  if (text === undefined) return undefined;
  const number = Number(text);
  if (!/^\d+(\.\d+)?$/.test(text) || number < least || number > most)
    throw new Error(`${name} takes a number from ${least} to ${most}, not "${text}".`);
  return name === '--days' ? number : Math.floor(number);
}

function faultsOf(text: string): readonly Fault[] {
  if (text === 'none') return [];
  const names = text.split(',');
  const unknown = names.find((name) => !(FAULTS as readonly string[]).includes(name));
  if (unknown !== undefined)
    throw new Error(`There is no fault "${unknown}". There are: ${FAULTS.join(', ')}.`);
  return names as Fault[];
}

function ruleOf(text: string): BrokenRule {
  if ((BROKEN_RULES as readonly string[]).includes(text)) return text as BrokenRule;
  throw new Error(`There is no rule "${text}" to switch off. There are: ${BROKEN_RULES.join(', ')}.`);
}

process.exitCode = await main(process.argv.slice(2));
