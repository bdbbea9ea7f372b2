/** Rounds of a writer that is killed (-9) at a random moment, in one folder after the other. */
import type { Test } from 'tap';
import { setTimeout as sleep } from 'node:timers/promises';
import { Acknowledged } from './acknowledged.js';
import { problemsAfter, randomMoment, roundsWanted, Writer } from './rounds.js';
import { isTimeUp } from './sweep-time.js';

/** Damage adds up over so many rounds; then a new folder keeps the rounds short. */
const roundsPerFolder = 100;
/** So many pass through everything that a writer does; it is asserted then. */
const enoughRounds = 30;

export interface KilledRounds {
  /** The program of the writer: takes the folder, begins on a word, tells what is acknowledged. */
  readonly program: string;
  /** How many rounds, unless ROUNDS says otherwise. */
  readonly rounds: number;
  /** The writer works at most so long, after it is open. */
  readonly withinMs: number;
  /** See sweep-time.ts. */
  readonly share?: number;
  newFolder(): { readonly folder: string; remove(): void };
  /** What else must hold after a round; [] when it does. */
  also?(folder: string, round: number): Promise<readonly string[]>;
}

/** Passes when no round lost anything; after a round that did, it stops, and says everything that is known. */
export async function killedRounds(
  t: Test,
  { program, rounds, withinMs, share, newFolder, also }: KilledRounds,
): Promise<void> {
  let wanted = roundsWanted(rounds);
  const total = { entry: 0, block: 0, merge: 0 };
  const tidied = { combined: 0, removed: 0, archived: 0 };
  const began = performance.now();
  let done = 0;
  while (done < wanted) {
    if (done > 0) t.comment(`${done} rounds`);
    const place = newFolder();
    t.teardown(place.remove);
    const acknowledged = new Acknowledged();
    let until = Math.min(wanted, done + roundsPerFolder);
    let next = new Writer(program, place.folder);
    for (; done < until; done += 1) {
      if (isTimeUp(share)) wanted = until = done + 1; // looked at as the last one is
      const writer = next;
      const isLast = done + 1 === until;
      const moment = randomMoment(withinMs);
      writer.begin();
      if (moment.after !== null) await writer.hears(moment.after);
      await sleep(moment.ms);
      writer.kill();
      const end = await writer.ended();
      if (!isLast) next = new Writer(program, place.folder); // loads while this round is looked at
      const lines = writer.lines();
      acknowledged.take(lines);
      const problems = end === 'SIGKILL' ? [] : [`the writer ended by itself (${end}): ${writer.words()}`];
      problems.push(...(await problemsAfter(t, place.folder, done, acknowledged, isLast)));
      problems.push(...((await also?.(place.folder, done)) ?? []));
      if (problems.length === 0) continue;
      t.same(problems, [], `round ${done}, killed ${moment.ms} ms after ${moment.after ?? 'begin'}`);
      t.comment(`the last that it said: ${lines.slice(-30).join(' / ')}`);
      if (!isLast) next.kill();
      return;
    }
    for (const kind of ['entry', 'block', 'merge'] as const) total[kind] += acknowledged.counts[kind];
    for (const kind of ['combined', 'removed', 'archived'] as const)
      tidied[kind] += acknowledged.tidied[kind];
    place.remove();
  }
  const each = (performance.now() - began) / wanted / 1000;
  t.ok(
    total.entry > 0 && total.block > 0,
    `${total.entry} entries, ${total.block} blocks, ${total.merge} merges: all there`,
  );
  const through = `through ${JSON.stringify(tidied)}: packs combined, packs removed, rows archived`;
  if (wanted < enoughRounds) t.comment(through);
  else t.ok(tidied.combined > 0 && tidied.removed > 0 && tidied.archived > 0, through);
  t.comment(`${wanted} rounds, ${each.toFixed(2)} s each`);
}
