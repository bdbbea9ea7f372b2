/** Backups of real daemons: made while they run, restored into new folders, and let into the town again. */
import { createReadStream, createWriteStream, existsSync } from 'node:fs';
import { copyFile, mkdir, readFile, readdir, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ReadableStream } from 'node:stream/web';
import { createGunzip } from 'node:zlib';
import { Decrypter, generateX25519Identity, identityToRecipient } from 'age-encryption';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { backUp } from './node/backup.js';
import { systemClock } from './node/clock.js';
import { readNodeKeys } from './node/key-files.js';
import { restore } from './node/restore.js';
import type { PersonView } from './node/use-cases.js';
import { eventually } from './testing/eventually.js';
import { gitSays } from './testing/left-on-disk.js';
import { setUp, signIn, startTown } from './testing/running-town.js';
import { CONVERGE_MS_MAX, STEWARD_NAME, TownOfNodes } from './testing/town-of-nodes.js';

t.setTimeout(600_000);

const SECRET = 'four words that rhyme';
const REFUSED = new Set(['backup-damaged', 'no-backup', 'wrong-passphrase']);
const lock = { passphrase: SECRET };

/** The plain archive inside a backup: what somebody with its passphrase can read. */
async function plainOf(root: string, file: string): Promise<Buffer> {
  const decrypter = new Decrypter();
  decrypter.addPassphrase(SECRET);
  const sealed = Readable.toWeb(createReadStream(file)) as globalThis.ReadableStream<Uint8Array>;
  const plain = Readable.fromWeb((await decrypter.decrypt(sealed)) as unknown as ReadableStream);
  const target = join(root, 'plain.tar');
  await pipeline(plain, createGunzip(), createWriteStream(target));
  return readFile(target);
}

async function noSuchThing(t: Test, folder: string, what: string): Promise<void> {
  const left = existsSync(folder) ? await readdir(folder) : [];
  t.same(left, [], what);
}

t.test('a backup of a running town has all of it but what is the node itself', async (t) => {
  const root = t.testdir();
  const folder = join(root, 'town');
  const file = join(root, 'town.age');
  const town = await startTown(folder);
  t.teardown(() => town.stop());
  const { api } = await setUp(town);
  await api('POST', '/api/people', { name: 'Bob Badge' });
  await api('POST', '/api/ledger/merge');
  await api('POST', '/api/people', { name: 'Clara Late' });
  const before = (await api('GET', '/api/status')).body as { height: number; main: string };

  const made = await backUp(folder, file, { lock, clock: systemClock });
  t.equal((await stat(file)).mode & 0o777, 0o600);
  t.ok(made.height >= before.height);
  t.notOk(existsSync(join(folder, '.backup')), 'nothing is left in the data folder');

  const plain = await plainOf(root, file);
  const { secretKey, sealingSecret, townKey } = await readNodeKeys(folder);
  const holds = (bytes: Uint8Array): boolean =>
    plain.includes(Buffer.from(bytes)) || plain.includes(Buffer.from(bytes).toString('hex'));
  t.ok(holds(townKey), 'the search finds what is in it');
  t.notOk(holds(secretKey), 'not the key that signs for the node');
  t.notOk(holds(sealingSecret), 'nor the one that things are sealed to');
  t.notOk(plain.includes('Bob Badge'), 'names are as encrypted in it as in the ledger');

  await t.rejects(restore(file, folder, { key: lock }), { code: 'folder-not-empty' });
  const copy = join(root, 'copy');
  await t.rejects(restore(file, copy, { key: { passphrase: 'other words that rhyme' } }), {
    code: 'wrong-passphrase',
  });
  const back = await restore(file, copy, { key: lock });
  t.not(back.newNode, back.node);
  t.equal((await readNodeKeys(copy)).id, back.newNode);
  const gitOf = (where: string): Promise<string> => gitSays(where, 'rev-parse', 'main');
  t.match(await gitSays(copy, 'fsck', '--strict', '--full'), /^$/);
  t.equal(await gitOf(copy), await gitSays(copy, 'rev-parse', `${await gitOf(copy)}^{commit}`));

  const observer = await startTown(copy);
  t.teardown(() => observer.stop());
  const there = await signIn(observer, STEWARD_NAME);
  const people = (await there('GET', '/api/people')).body as PersonView[];
  t.ok(
    people.some(({ name }) => name === 'Bob Badge'),
    'who may read names there reads them here',
  );
  const refused = await there('POST', '/api/people', { name: 'Dora' });
  t.match(refused, { body: { error: { code: 'observing' } } });
  const status = (await there('GET', '/api/status')).body;
  t.match(status, { alarm: { code: 'observing' }, gate: { connected: false } });
});

t.test('a board that is lost comes back from its backup as a new node of its town', async (t) => {
  const root = t.testdir();
  const town = await TownOfNodes.prepare({ folder: root, names: ['House', 'Workshop', 'Workshop again'] });
  t.teardown(() => town.close());
  await town.found();
  const [house, workshop, again] = town.boards;
  if (!house || !workshop || !again) throw new Error('There are three boards.');
  await town.join(workshop);
  await eventually(
    'both have one main',
    async () => (await house.status()).main === (await workshop.status()).main,
    { withinMs: CONVERGE_MS_MAX },
  );
  await town.giveKey(STEWARD_NAME, house, workshop);
  await workshop.post(STEWARD_NAME, '/api/people', { name: 'Bob Badge' });
  await town.converged();
  const file = join(root, 'workshop.age');
  const made = await backUp(workshop.folder, file, { lock, clock: systemClock });
  await house.post(STEWARD_NAME, '/api/people', { name: 'Clara Later' });
  await town.converged();
  await workshop.close();

  const back = await restore(file, again.folder, { key: lock });
  t.equal(back.height, made.height);
  await town.join(again);
  const { node } = await again.status();
  t.equal(node.id, back.newNode);
  await again.post(STEWARD_NAME, '/api/people', { name: 'Dora' });
  t.notOk(existsSync(join(again.folder, 'restored.json')), 'it does not observe any more');
  await town.converged();
  const people = await house.get<PersonView[]>('/api/people');
  t.equal(people.length, 4, 'the others have what was recorded here and there, and the steward');
  t.equal((await again.status()).main, (await house.status()).main);
});

t.test('a backup that was changed anywhere is refused, and leaves nothing', async (t) => {
  const root = t.testdir();
  const folder = join(root, 'town');
  const town = await startTown(folder);
  await setUp(town);
  await town.stop();
  const identity = await generateX25519Identity();
  const recipients = [await identityToRecipient(identity)];
  const key = { identities: [identity] };
  const file = join(root, 'town.age');
  const { size } = await backUp(folder, file, { lock: { recipients }, clock: systemClock });
  await restore(file, join(root, 'whole'), { key });
  t.match(await readdir(root), ['town', 'town.age', 'whole'].sort(), 'a whole one is restored');
  const nothing = join(root, 'nothing');
  await mkdir(nothing);
  const target = join(nothing, 'target');
  const bytes = await readFile(file);
  const outcome = (other: string): Promise<string> =>
    restore(other, target, { key }).then(
      () => 'restored',
      (error: { code?: string }) => String(error.code),
    );
  await fc.assert(
    fc.asyncProperty(fc.nat(size - 1), fc.nat(7), async (at, bit) => {
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] as number) ^ (1 << bit);
      const other = join(root, 'changed.age');
      await writeFile(other, changed);
      return REFUSED.has(await outcome(other));
    }),
    { numRuns: 60 },
  );
  const cut = join(root, 'cut.age');
  await fc.assert(
    fc.asyncProperty(fc.nat(size - 1), async (length) => {
      await copyFile(file, cut);
      await truncate(cut, length);
      return REFUSED.has(await outcome(cut));
    }),
    { numRuns: 30 },
  );
  await noSuchThing(t, nothing, 'nothing half-done stays');
});
