/**
 * A flipped bit anywhere in a data folder: `town verify` finds it, or it changes nothing (a free page, bytes that nobody reads).
 * What is found is repaired, or named as what this node has no second copy of. FLIPS=n tries n places instead of 150; FLIP_SEED=n other
 * ones; FLIP_REPAIRS=n repairs every nth that is found instead of every sixth; MINUTES=n ends after so many.
 */
import { randomInt } from 'node:crypto';
import { cpSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync, chmodSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { spawnSync } from 'node:child_process';
import t from 'tap';
import { makeTown, meaningOf } from '../testing/whole-town.js';
import { repairTown } from './repair-town.js';
import type { ProblemKind } from './verify-report.js';
import { verifyTown } from './verify-town.js';
import { isTimeUp, sweepMsMax } from '../store/testing/sweep-time.js';

t.setTimeout(sweepMsMax);
const packagesFolder = fileURLToPath(new URL('../../packages', import.meta.url));
const flips = Number(process.env['FLIPS'] ?? 150);
const repairEvery = Number(process.env['FLIP_REPAIRS'] ?? 6);
const withoutGit = spawnSync('git', ['--version']).error !== undefined && process.env['CI'] !== 'true';

/**
 * No second copy and no sum says what should stand there; their form is checked. The log of the last run, locks and the SQLite index
 * of the log are made anew.
 */
const UNKNOWABLE = /^(config\.json|gate\/|lock|daemon\.json|town\.db-shm|sessions|ledger\.git\/info\/)/;

/** Of these the node may have no second copy: what git alone has, keys, files that only their form is known of. */
const SINGLE: readonly ProblemKind[] = ['history', 'keys', 'files'];

const verifyOptions = { packagesFolder, driver: 'process' as const };

/** How a repair ended: everything is there again, or what is not is named. @throws Error where it is neither */
async function repaired(folder: string, entries: number): Promise<'repaired' | 'named'> {
  const { report, lost, done } = await repairTown(folder, verifyOptions);
  const told = `${JSON.stringify(report.problems)} lost: ${lost.join(' ')} done: ${done.join(' ')}`;
  if (report.problems.some(({ kind, repair }) => !SINGLE.includes(kind) || repair === ''))
    throw new Error(`Something is left that has a second copy here: ${told}`);
  if (!report.ok || lost.length > 0) return 'named';
  if (report.checked.entries !== entries)
    throw new Error(`${report.checked.entries} entries instead of ${entries}, and none named: ${told}`);
  return 'repaired';
}

function filesOf(folder: string, name = ''): string[] {
  return readdirSync(join(folder, name), { withFileTypes: true }).flatMap((entry) => {
    const child = name === '' ? entry.name : `${name}/${entry.name}`;
    if (entry.isDirectory()) return filesOf(folder, child);
    return entry.isFile() ? [child] : [];
  });
}

/** A place, the same for the same seed: files by turns, so that small ones get their share, the bit anywhere in the file. */
function places(folder: string, count: number, seed: number): { file: string; bit: number }[] {
  const files = filesOf(folder).filter(
    (name) => !UNKNOWABLE.test(name) && statSync(join(folder, name)).size > 0,
  );
  let state = seed >>> 0;
  const next = (below: number): number => {
    // mulberry32
    state = (state + 0x6d2b79f5) >>> 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return Math.floor((((x ^ (x >>> 14)) >>> 0) / 2 ** 32) * below);
  };
  // Half of them in the database, which is most of the bytes and has most of what could go unseen.
  return Array.from({ length: count }, (_, i) => {
    const databases = files.filter((name) => name.startsWith('town.db'));
    const file = (i % 2 === 0 ? databases[next(databases.length)] : files[next(files.length)]) as string;
    return { file, bit: next(statSync(join(folder, file)).size * 8) };
  });
}

function flip(path: string, bit: number): void {
  const { mode } = statSync(path);
  const bytes = readFileSync(path);
  bytes[bit >> 3] = (bytes[bit >> 3] as number) ^ (1 << (bit & 7));
  chmodSync(path, 0o600);
  writeFileSync(path, bytes);
  chmodSync(path, mode);
}

for (const how of ['old', 'killed'] as const)
  t.test(
    `every flipped bit of a town (${how}) is found, or changes nothing`,
    { skip: withoutGit },
    async (t) => {
      const town = join(t.testdir({}), 'town');
      await makeTown(town, how);
      const seed = Number(process.env['FLIP_SEED'] ?? randomInt(2 ** 31));
      t.comment(`FLIP_SEED=${seed}`);
      const folder = join(t.testdirName, 'copy');
      cpSync(town, folder, { recursive: true });
      const verify = () => verifyTown(folder, { ...verifyOptions, untilWrong: true });
      const { checked } = await verifyTown(folder, verifyOptions);
      const whole = await verify();
      t.same(whole.problems, [], 'the town is whole before');
      const meaning = meaningOf(folder);
      const tally = { tried: 0, found: 0, harmless: 0, repaired: 0, named: 0 };
      for (const { file, bit } of places(town, Math.ceil(flips / 2), seed)) {
        if (isTimeUp(how === 'old' ? 0.5 : 1)) break;
        tally.tried += 1;
        if (tally.tried % 100 === 0) t.comment(JSON.stringify(tally));
        cpSync(town, folder, { recursive: true, force: true });
        flip(join(folder, file), bit);
        const what = `bit ${bit} of ${file} (FLIP_SEED=${seed})`;
        const report = await verify().catch((error: Error) =>
          t.fail(`${what}: ${error.stack ?? error.message}`),
        );
        if (report === false || report === true) continue;
        if (!report.ok) {
          tally.found += 1;
          if (tally.found % repairEvery !== 0) continue;
          try {
            tally[await repaired(folder, checked.entries)] += 1;
          } catch (error) {
            t.fail(`${what} was found (${report.problems[0]?.where}) and not repaired: ${String(error)}`);
          }
          // A repair adds files.
          rmSync(folder, { recursive: true, force: true });
        } else {
          tally.harmless += 1;
          let after = 'cannot be read';
          try {
            after = meaningOf(folder);
          } catch (error) {
            after = (error as Error).message;
          }
          if (after !== meaning) t.fail(`${what} was not found and is not harmless: ${after.slice(0, 200)}`);
        }
      }
      t.ok(tally.found > tally.harmless, JSON.stringify(tally));
      t.ok(tally.repaired > tally.named, 'most have a second copy');
    },
  );
