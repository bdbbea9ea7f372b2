/**
 * A whole heart (entries signed and judged, blocks, votes, merges replayed, state, repository) that is killed, and whose power is cut,
 * at random moments: nothing acknowledged is lost, and it goes on in the same folder with nothing done by hand.
 * `ROUNDS=n` for more rounds, `DATA=writeback` for the other order in which ext4 writes data and journal.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { killedRounds } from '../store/testing/killed-rounds.js';
import { OwnFileSystem } from '../store/testing/own-file-system.js';
import { powerCutRounds } from '../store/testing/power-cut-rounds.js';
import { heartProblems } from './testing/heart-problems.js';
import { sweepMsMax } from '../store/testing/sweep-time.js';

const program = fileURLToPath(new URL('./testing/merge-until-killed.js', import.meta.url));
const disk = OwnFileSystem.make(process.env['DATA']);

t.setTimeout(sweepMsMax);

t.test('a heart that is killed at any moment loses nothing and goes on', (t) =>
  killedRounds(t, {
    program,
    rounds: 70,
    share: 0.5,
    withinMs: 1500,
    newFolder: () => {
      const folder = mkdtempSync(join(tmpdir(), 'town-crash-'));
      return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
    },
    also: heartProblems,
  }),
);

t.test(
  'a heart whose power is cut at any moment loses nothing and goes on',
  { skip: disk === null && 'needs root, loop devices, mkfs.ext4 and Python 3' },
  async (t) => {
    t.teardown(() => disk!.remove());
    await powerCutRounds(t, { disk: disk!, program, rounds: 40, withinMs: 1500, also: heartProblems });
  },
);
