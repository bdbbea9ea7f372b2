/**
 * One call on the disk fails (no space, an error, half a write), the Nth, for every N until the end of the scenario is passed: the process
 * stops and says why, or refuses that write and goes on; nothing acknowledged is lost; the next start finds everything in order.
 * In CI a sample of N, other ones each time; `FAULTS=all` for all of them, `FAULTS=5` for every fifth, `FAULTS=eio:17` for one;
 * `MINUTES=n` ends after so many.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { callsOf, compiledFaults, faultKinds, faultRun, killedFolder } from './testing/fault-runs.js';
import { isTimeUp, sweepMsMax } from './testing/sweep-time.js';

const library = compiledFaults(mkdtempSync(join(tmpdir(), 'town-faults-')));
const writer = fileURLToPath(new URL('./testing/write-until-killed.js', import.meta.url));
const wanted = process.env['FAULTS'] ?? '';
/** Runs of one kind from one beginning, unless all are wanted. */
const sample = 40;
const atOnce = 2;

t.setTimeout(sweepMsMax);
t.teardown(() => library !== null && rmSync(dirname(library), { recursive: true, force: true }));

/** The numbers to try: all, or evenly spread ones that begin at a random place. */
function numbersOf(calls: number): number[] {
  const [, one] = /:(\d+)$/.exec(wanted) ?? [];
  if (one !== undefined) return [Number(one)];
  const step = wanted === 'all' ? 1 : Number(wanted) || Math.max(1, calls / sample);
  const first = wanted === 'all' ? 0 : Math.random() * step;
  return Array.from(
    { length: Math.floor((calls - first) / step) },
    (_, index) => Math.floor(first + index * step) + 1,
  );
}

for (const beginning of ['a new folder', 'a folder whose writer was killed']) {
  t.test(
    `whatever call on the disk fails, from ${beginning} on, nothing acknowledged is lost`,
    { skip: library === null && process.env['CI'] !== 'true' && 'needs a C compiler (cc or g++)' },
    async (t) => {
      if (library === null) return t.fail('in CI there is a C compiler');
      const from = beginning === 'a new folder' ? null : await killedFolder(writer);
      t.teardown(() => from !== null && rmSync(dirname(from.folder), { recursive: true, force: true }));
      for (const [index, kind] of faultKinds.entries()) {
        const share = ((from === null ? 0 : faultKinds.length) + index + 1) / (2 * faultKinds.length);
        if (/:/.test(wanted) && !wanted.startsWith(`${kind}:`)) continue;
        const run = { library, from, kind };
        const queue = numbersOf(await callsOf(t, run));
        const failed: string[] = [];
        let runs = 0;
        let hits = 0;
        const lane = async (): Promise<void> => {
          for (let at = queue.shift(); at !== undefined && !isTimeUp(share); at = queue.shift()) {
            const { hit, problems, about } = await faultRun(t, { ...run, at });
            runs += 1;
            if (hit) hits += 1;
            if (process.env['FAULTS_TELL']) t.comment(about);
            if (problems.length > 0) failed.push(`${problems.join('; ')} (${about})`);
          }
        };
        await Promise.all(Array.from({ length: atOnce }, lane));
        t.same(failed, [], `${kind}: ${hits} faults in ${runs} runs`);
        if (runs > 0) t.ok(hits > 0, `${kind}: the faults reach SQLite and git`);
      }
    },
  );
}
