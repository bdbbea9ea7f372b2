/** Rounds of a writer whose disk loses its power at a random moment. */
import type { Test } from 'tap';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Acknowledged } from './acknowledged.js';
import type { OwnFileSystem } from './own-file-system.js';
import { problemsAfter, randomMoment, roundsWanted, Writer } from './rounds.js';
import { isTimeUp } from './sweep-time.js';

/** Damage adds up over so many rounds; then a new folder keeps the rounds short. */
const roundsPerFolder = 100;
/** So many pass through everything that a writer does; it is asserted then. */
const enoughRounds = 30;

export interface PowerCutRounds {
  readonly disk: OwnFileSystem;
  readonly program: string;
  /** How many rounds, unless ROUNDS says otherwise. */
  readonly rounds: number;
  /** The writer works at most so long, after it is open. */
  readonly withinMs: number;
  /** What else must hold after a round; [] when it does. */
  also?(folder: string, round: number): Promise<readonly string[]>;
}

/** Passes when no round lost anything; after one that did, it stops, and says everything that is known. */
export async function powerCutRounds(
  t: Test,
  { disk, program, rounds, withinMs, also }: PowerCutRounds,
): Promise<void> {
  let wanted = roundsWanted(rounds);
  const began = performance.now();
  let entries = 0;
  const tidied = { combined: 0, removed: 0, archived: 0 };
  let acknowledged = new Acknowledged();
  for (let round = 0; round < wanted; round += 1) {
    if (isTimeUp()) wanted = round + 1; // looked at as the last one is
    if (round > 0 && round % roundsPerFolder === 0) t.comment(`${round} rounds`);
    if (round % roundsPerFolder === 0) acknowledged = new Acknowledged();
    const folder = join(disk.mount, `town-${Math.floor(round / roundsPerFolder)}`);
    const writer = new Writer(program, folder);
    const power = await disk.powerSwitch();
    const moment = randomMoment(withinMs);
    writer.begin();
    if (moment.after !== null) await writer.hears(moment.after);
    await sleep(moment.ms);
    // What is said in the moment of the cut does not count: a file system that is shut down under a running kernel
    // answers an fsync that is under way with success although nothing reached the device.
    const lines = writer.lines();
    await power.off();
    writer.kill();
    const end = await writer.ended();
    await disk.again();
    acknowledged.take(lines);
    entries += lines.filter((line) => line.startsWith('entry')).length;
    const problems = await problemsAfter(t, folder, round, acknowledged, round + 1 === wanted);
    problems.push(...((await also?.(folder, round)) ?? []));
    if (problems.length === 0) {
      if (round + 1 === wanted || (round + 1) % roundsPerFolder === 0)
        for (const kind of ['combined', 'removed', 'archived'] as const)
          tidied[kind] += acknowledged.tidied[kind];
      continue;
    }
    t.same(problems, [], `round ${round}, cut ${moment.ms} ms after ${moment.after ?? 'begin'}`);
    t.comment(`the writer ended with ${end}; ${lines.length} lines counted, of ${writer.lines().length}`);
    t.comment(`before the cut it said: ${lines.slice(-30).join(' / ')}`);
    t.comment(`after: ${writer.lines().slice(lines.length).join(' / ')}; ${writer.words().slice(-1_500)}`);
    return;
  }
  t.ok(entries > 0, `${entries} entries: all there`);
  const through = `through ${JSON.stringify(tidied)}: packs combined, packs removed, rows archived`;
  if (wanted < enoughRounds) t.comment(through);
  else t.ok(tidied.combined > 0 && tidied.removed > 0 && tidied.archived > 0, through);
  t.comment(`${wanted} rounds, ${((performance.now() - began) / wanted / 1000).toFixed(2)} s each`);
}
