/**
 * Nothing acknowledged is lost, whenever the process ends; the repository is clean before and after completion. Round after round in
 * one folder, so that damage would add up. `ROUNDS=n` for more of them.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { killedRounds } from './testing/killed-rounds.js';
import { sweepMsMax } from './testing/sweep-time.js';

const program = fileURLToPath(new URL('./testing/write-until-killed.js', import.meta.url));

t.setTimeout(sweepMsMax);

t.test('killed at any moment, nothing acknowledged is lost and git stays clean', (t) =>
  killedRounds(t, {
    program,
    rounds: 130,
    withinMs: 400,
    newFolder: () => {
      const folder = mkdtempSync(join(tmpdir(), 'town-crash-'));
      return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
    },
  }),
);
