/** A real town on the disk for tests that damage it: founded, used and stopped by the daemon itself. */
import { createHash } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { Store } from '../store/store.js';
import { endGate } from './left-on-disk.js';
import { doorsServe, setUp, startTown, type Api } from './running-town.js';

/** Starts a daemon on `folder` (process driver, simulated board), records people, badges and taps over several merges, and stops it. `old`: as after years, most entries in git alone. */
export async function makeTown(folder: string, how: 'stopped' | 'killed' | 'old' = 'stopped'): Promise<void> {
  const town = await startTown(folder, { driver: 'process' });
  let ended = false;
  try {
    const { api } = await setUp(town);
    await doorsServe(town);
    for (let i = 0; i < 3; i += 1) {
      await recordPerson(api, i);
      await done(api, 'POST', '/api/ledger/merge');
    }
    // Some that no merge has judged.
    await recordPerson(api, 3);
    if (how === 'killed') {
      await town.kill();
      ended = true;
      await endGate(folder);
    }
  } finally {
    if (!ended) await town.stop();
  }
  if (how === 'old') await archiveMost(folder);
}

async function archiveMost(folder: string): Promise<void> {
  const store = await Store.open(folder, { onFatal: () => undefined });
  try {
    while ((await store.archiveStep({ entriesKept: 12, recordsPerDoor: 4 })) > 0);
  } finally {
    await store.close();
  }
}

async function recordPerson(api: Api, i: number): Promise<void> {
  const { person } = await done(api, 'POST', '/api/people', {
    name: `Person ${i}`,
    contact: `person${i}@example.org`,
  });
  const badgeNumber = `123:${4500 + i}`;
  await done(api, 'POST', '/api/badges', { person, badgeNumber });
  for (let tap = 0; tap < 6; tap += 1) await done(api, 'POST', '/api/doors/front/tap', { badgeNumber });
}

async function done(
  api: Api,
  method: string,
  path: string,
  input?: object,
): Promise<{ [field: string]: unknown }> {
  const { status, body } = await api(method, path, input);
  if (status >= 300) throw new Error(`${method} ${path} gave ${status}: ${JSON.stringify(body)}`);
  return body as { [field: string]: unknown };
}

/** What a town's folder says, whatever bytes say it: every row of every table, and every ref and object as stock git reads them. */
export function meaningOf(folder: string): string {
  const hash = createHash('sha256');
  const db = new Database(join(folder, 'town.db'), { readonly: true });
  try {
    hash.update(String(db.pragma('user_version', { simple: true })));
    const tables = db
      .prepare("SELECT name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY name")
      .raw()
      .all() as [string, string][];
    for (const [name, sql] of tables) {
      hash.update(`${name} ${sql}`);
      if (!/^CREATE TABLE/.test(sql)) continue;
      for (const row of db.prepare(`SELECT * FROM "${name}"`).raw().safeIntegers().iterate())
        for (const value of row as unknown[])
          hash.update(value instanceof Uint8Array ? value : `${typeof value} ${String(value)};`);
    }
  } finally {
    db.close();
  }
  const git = (...words: string[]): Buffer =>
    execFileSync('git', ['-C', join(folder, 'ledger.git'), ...words], {
      stdio: ['ignore', 'pipe', 'pipe'],
      maxBuffer: 256 * 1024 * 1024,
    });
  hash.update(git('for-each-ref')).update(git('symbolic-ref', 'HEAD'));
  hash.update(git('cat-file', '--batch-all-objects', '--batch', '--unordered').length.toString());
  for (const line of git('cat-file', '--batch-all-objects', '--batch-check').toString().split('\n'))
    hash.update(line);
  git('fsck', '--strict', '--full');
  return hash.digest('hex');
}
