/** What goes beside the database when records are erased or over: copies that still have the keys, and files that name people. */
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import t from 'tap';
import type { MemberId } from '../ledger/ids.js';
import { memberIdOf, publicKeyOf } from '../ledger/signature.js';
import { forgetFiles } from './erased-files.js';
import { KeyStore } from './key-files.js';
import { SET_ASIDE } from './joining-files.js';

const PASSPHRASE = 'correct horse battery';
const NAME = 'Zyxanthe';

function put(folder: string, name: string): void {
  mkdirSync(dirname(join(folder, name)), { recursive: true });
  writeFileSync(join(folder, name), NAME);
}

const filesOf = (folder: string): string[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .sort();

t.test('no copy of the database outlives a key that it has', async (t) => {
  const folder = t.testdir();
  const stays = ['config.json', 'gate/journal', 'keys/node.key', 'ledger.git/HEAD', 'town.db', 'town.db-wal'];
  const goes = [
    'town.db.before-3',
    'town.db.before-4.tmp',
    'damaged/1700000000000-town.db',
    'damaged/1700000000000-town.db-wal',
    'gate/journal.bad-1700000000000',
    '.backup/town.db',
    // Of a repair that was killed.
    '.rebuilt/town.db',
    '.rebuilt/town.db-wal',
    // Of the town that a board had before it joined another one.
    `${SET_ASIDE}2026-01-01T00-00-00-000Z/town.db`,
    `${SET_ASIDE}2026-01-01T00-00-00-000Z/town.db-wal`,
    `${SET_ASIDE}2026-01-01T00-00-00-000Z/keys/members/m0123456789abcdef.json`,
  ];
  for (const name of [...stays, ...goes]) put(folder, name);
  await forgetFiles(folder);
  t.same(filesOf(folder), stays);
  await forgetFiles(folder);
});

t.test('no key file that nobody signs with keeps the name of somebody erased', async (t) => {
  const folder = t.testdir();
  const members = join(folder, 'keys', 'members');
  const seed = (byte: number): Uint8Array => new Uint8Array(32).fill(byte);
  const idOf = (byte: number): MemberId => memberIdOf(publicKeyOf(seed(byte)));
  const member = idOf(1);
  let store = await KeyStore.open(folder);
  // A setup that the power ended: another key of the same name, of a member who never was.
  await store.put(idOf(2), NAME, seed(2), PASSPHRASE);
  await store.layAside(NAME);
  await store.put(member, NAME, seed(1), PASSPHRASE);
  // A second key, revoked since: its file is named by the key.
  await store.put(member, `${NAME} at the desk`, seed(3), PASSPHRASE);
  await store.layAside(`${NAME} at the desk`);
  await store.put(idOf(4), 'Ben', seed(4), PASSPHRASE);
  // Killed between the file and its name.
  put(members, `.${member}.json.4711.0a0b0c0d.tmp`);
  store = await KeyStore.open(folder);
  t.notOk(
    readdirSync(members).some((name) => name.endsWith('.tmp')),
    'a half of a file goes at the next start',
  );
  await store.forgetNames([member]);
  t.same(readdirSync(members).sort(), [`${idOf(4)}.json`, `${member}.json`].sort());
  t.equal(store.nameOf(member), member);
  t.equal(store.nameOf(idOf(4)), 'Ben');
});
