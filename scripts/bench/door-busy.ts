/**
 * For bench `door`: how long the daemon keeps a door waiting while it does its housework: packs are combined, old entries go to the
 * archive, a merge of 256 events is replayed and adopted. The town has its contracts in processes, as on a board without an engine.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { timeLine, type BenchLine } from './bench-line.js';
import { LargeTown, growTown } from './large-town.js';

const entries = Number(process.env['BENCH_DOOR_ENTRIES'] ?? 20_000);
const entriesPerMerge = 500;
/** Somebody stands at a door this often. */
const tapEveryMs = 20;
const idleMs = 4_000;
const mergeEvents = 256;
const merges = 8;
const combinings = 3;
/** So that as many entries go to the archive as a month brings. */
const archiveEverything = { entriesKept: 300, recordsPerDoor: 100 };

interface Waited {
  /** Milliseconds from a record's arrival until it is durable, each. */
  readonly durable: readonly number[];
  /** The longest time that the daemon's thread was busy with one thing, ms. */
  readonly pause: number;
}

/** `pause-…`: the longest pause of the thread that takes the gate's records; `durable-…`: such a record, p99. Baseline: at rest. */
export async function busyDoor(): Promise<BenchLine[]> {
  const folder = mkdtempSync(join(tmpdir(), 'bench-door-busy-'));
  try {
    const path = join(folder, 'town');
    await growTown(path, entries, entriesPerMerge);
    const town = await LargeTown.open(path);
    try {
      await whileTapped(town, () => sleep(idleMs / 4));
      const rest = await whileTapped(town, () => sleep(idleMs));
      const works: [name: string, work: () => Promise<unknown>][] = [
        ['combining', () => combine(town)],
        ['archiving', () => archive(town)],
        ['merging', () => merge(town)],
      ];
      const lines: BenchLine[] = [];
      for (const [name, work] of works) {
        const busy = await whileTapped(town, work);
        lines.push(timeLine('door', `pause-${name}`, busy.pause, 'ms', rest.pause));
        lines.push(timeLine('door', `durable-${name}-p99`, p99(busy.durable), 'ms', p99(rest.durable)));
      }
      return lines;
    } finally {
      await town.close();
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function whileTapped(town: LargeTown, work: () => Promise<unknown>): Promise<Waited> {
  const durable: number[] = [];
  const pauses = monitorEventLoopDelay({ resolution: 1 });
  let isOver = false;
  const taps = (async () => {
    while (!isOver) {
      const began = performance.now();
      await town.event();
      durable.push(performance.now() - began);
      await sleep(tapEveryMs);
    }
  })();
  pauses.enable();
  await work();
  pauses.disable();
  isOver = true;
  await taps;
  return { durable, pause: pauses.max / 1e6 };
}

/** All packs into one, again and again, as it happens on idle with some of them. */
async function combine(town: LargeTown): Promise<void> {
  for (let time = 0; time < combinings; time += 1) {
    await town.repository.flush();
    await town.repository.combine({ all: true });
    await town.repository.removeCombined();
    await town.merge();
  }
}

async function archive(town: LargeTown): Promise<void> {
  await town.repository.flush();
  while ((await town.store.archiveStep(archiveEverything)) > 0);
}

/** The events come as gently as people do: what is measured is the merge of them. */
async function merge(town: LargeTown): Promise<void> {
  for (let time = 0; time < merges; time += 1) {
    for (let events = 0; events < mergeEvents; events += 1) await town.event();
    await town.merge();
  }
}

/** Nearest rank. */
function p99(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.ceil(0.99 * sorted.length) - 1] ?? Number.NaN;
}
