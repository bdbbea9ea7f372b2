/** A flipped bit in the file of a key is named as what it is, and set right. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { hexOf } from '../ledger/hash.js';
import type { MemberId } from '../ledger/ids.js';
import { memberIdOf, publicKeyOf } from '../ledger/signature.js';
import { BROKER_KEYS, brokerKeysText, readBrokerKeys } from './broker-keys.js';
import { mendKeyFiles, verifyKeyFiles } from './key-check.js';
import { KeyStore, makeNodeKeys, NODE_KEYS, putTownKeys, readNodeKeys, RING } from './key-files.js';
import { readKeptKey, readKeyText } from './key-text.js';
import { readRing, TownKeys } from './town-keys.js';
import { Findings } from './verify-report.js';

const PASSPHRASE = 'correct horse battery';
const seed = new Uint8Array(32).fill(9);
const member: MemberId = memberIdOf(publicKeyOf(seed));

function* flips(bytes: Buffer, every = 1): Generator<Buffer> {
  for (let bit = 0; bit < bytes.length * 8; bit += every) {
    const flipped = Buffer.from(bytes);
    flipped[bit >> 3] = (flipped[bit >> 3] as number) ^ (1 << (bit & 7));
    yield flipped;
  }
}

async function wrongIn(folder: string): Promise<readonly string[]> {
  const findings = new Findings();
  await verifyKeyFiles(folder, findings);
  return findings.problems.map(({ where, what }) => `${where}: ${what}`);
}

t.test('whatever bit of the file of a key flips is found and set right', async (t) => {
  const folder = t.testdir();
  const keys = await makeNodeKeys(folder);
  const store = await KeyStore.open(folder);
  await store.put(member, 'Zoë “Ada” Müller', seed, PASSPHRASE, 1_000);
  await store.settle(publicKeyOf(seed));
  await TownKeys.found(folder, keys.townKey, 7);
  const broker = {
    v: 1 as const,
    authorityKey: 'PEM',
    authority: 'AAAA',
    guest: 'guest',
    out: '/srv/broker',
  };
  writeFileSync(join(folder, 'keys', BROKER_KEYS), brokerKeysText(broker));
  t.same(await wrongIn(folder), []);
  const files = [...Object.values(NODE_KEYS), RING, BROKER_KEYS, join('members', `${member}.json`)];
  for (const name of files) {
    const path = join(folder, 'keys', name);
    const whole = readFileSync(path);
    const isMember = name.startsWith('members');
    for (const flipped of flips(whole)) {
      const text = flipped.toString('utf8');
      const found = isMember
        ? readKeptKey(text)
        : name === RING
          ? readRing(text)
          : name === BROKER_KEYS
            ? readBrokerKeys(text)
            : readKeyText(name, text);
      if (found?.t === 'key') t.fail(`${name} is taken as ${text}`);
    }
    for (const flipped of flips(whole, isMember ? 397 : 97)) {
      writeFileSync(path, flipped);
      const [wrong, ...others] = await wrongIn(folder);
      t.match(wrong, `keys/${name}: `);
      t.same(others, []);
      t.same(await mendKeyFiles(folder), [`keys/${name}: one flipped bit was set right.`]);
      t.same(readFileSync(path), whole);
    }
  }
  t.same(await readNodeKeys(folder), keys);
});

t.test('two flipped bits, or a key of another file, are named and left as they are', async (t) => {
  const folder = t.testdir();
  await makeNodeKeys(folder);
  const path = join(folder, 'keys', NODE_KEYS.town);
  const whole = readFileSync(path, 'utf8');
  const digit = whole.startsWith('7') ? '4' : '7';
  const other = `${digit}${whole.slice(1, 63)}${whole[63] === '7' ? '0' : '7'}${whole.slice(64)}`;
  for (const text of [other, readFileSync(join(folder, 'keys', NODE_KEYS.badge), 'utf8')]) {
    writeFileSync(path, text);
    t.match(await wrongIn(folder), [/^keys\/town\.key: A bit of it has flipped/]);
    t.same(await mendKeyFiles(folder), []);
    await t.rejects(readNodeKeys(folder), { code: 'no-keys', message: /town\.key has flipped/ });
    t.equal(readFileSync(path, 'utf8'), text);
  }
});

t.test('that a hub has no badge key is no damage; files from before there were sums are read', async (t) => {
  const folder = t.testdir();
  const { townKey } = await makeNodeKeys(folder);
  await putTownKeys(folder, { townKey: hexOf(townKey), badgeKey: null });
  t.same(await wrongIn(folder), []);
  t.equal((await readNodeKeys(folder)).badgeKey, null);
  for (const end of ['\n', '']) {
    writeFileSync(join(folder, 'keys', NODE_KEYS.town), `${hexOf(townKey)}${end}`);
    t.same((await readNodeKeys(folder)).townKey, townKey);
    t.same(await wrongIn(folder), []);
  }
  const store = await KeyStore.open(folder);
  await store.put(member, 'Ada', seed, PASSPHRASE);
  const path = join(folder, 'keys', 'members', `${member}.json`);
  const { sum, ...before } = JSON.parse(readFileSync(path, 'utf8')) as { sum: string };
  t.match(sum, /^[0-9a-f]{16}$/);
  writeFileSync(path, JSON.stringify(before));
  t.same(await wrongIn(folder), []);
  t.equal((await KeyStore.open(folder)).nameOf(member), 'Ada');
});

t.test('a damaged key of a member keeps nobody else from signing in, and is said', async (t) => {
  const folder = t.testdir();
  await makeNodeKeys(folder);
  const store = await KeyStore.open(folder);
  await store.put(member, 'Ada', seed, PASSPHRASE);
  const other = new Uint8Array(32).fill(3);
  await store.put(memberIdOf(publicKeyOf(other)), 'Ben', other, PASSPHRASE);
  const path = join(folder, 'keys', 'members', `${member}.json`);
  const whole = readFileSync(path, 'utf8');
  writeFileSync(path, whole.replace('"Ada"', '"Aea"'));
  const again = await KeyStore.open(folder);
  t.same(again.flipped, [`${member}.json`]);
  t.equal((await again.unlock('Ben', PASSPHRASE)).name, 'Ben');
  await t.rejects(again.unlock('Ada', PASSPHRASE), {
    code: 'wrong-passphrase',
    advice: /town verify --repair/,
  });
  t.same(await mendKeyFiles(folder), [`keys/members/${member}.json: one flipped bit was set right.`]);
  t.equal((await (await KeyStore.open(folder)).unlock('Ada', PASSPHRASE)).member, member);
});
