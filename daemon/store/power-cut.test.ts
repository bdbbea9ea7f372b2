/**
 * The same promise against a power cut: ext4 drops whatever was not flushed. `ROUNDS=n` for more of them, `DATA=writeback` for the
 * other order in which ext4 writes data and journal. Needs root.
 */
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { OwnFileSystem } from './testing/own-file-system.js';
import { powerCutRounds } from './testing/power-cut-rounds.js';
import { sweepMsMax } from './testing/sweep-time.js';

const program = fileURLToPath(new URL('./testing/write-until-killed.js', import.meta.url));
const disk = OwnFileSystem.make(process.env['DATA']);

t.setTimeout(sweepMsMax);

t.test(
  'a power cut loses nothing acknowledged and leaves a clean repository',
  { skip: disk === null && 'needs root, loop devices, mkfs.ext4 and Python 3' },
  async (t) => {
    t.teardown(() => disk!.remove());
    await powerCutRounds(t, { disk: disk!, program, rounds: 100, withinMs: 400 });
  },
);
