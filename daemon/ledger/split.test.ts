/** A town that splits from another: what it takes along is part of its id, and nothing signed for the one counts in the other. */
import t from 'tap';
import { accountOf, VAULT } from './accounts.js';
import { canonicalize } from './canonical.js';
import { makerspaceCharter } from './charter.js';
import { sha256 } from './hash.js';
import type { Millis } from './ids.js';
import { makeGenesis, readGenesis, stateForSplit, type Split } from './merge.js';
import { nodeIdOf, publicKeyOf } from './signature.js';
import type { StateWrite } from './state.js';
import { secretOf, T0 } from './testing/small-town.js';

const key = publicKeyOf(secretOf('node'));
const node = { id: nodeIdOf(key), key, name: 'board' };
const charter = makerspaceCharter({ name: 'Neustadt', node, dapps: [] });
const account = (name: string, available: number): StateWrite => ({
  ...{ dapp: 'kernel', collection: 'accounts', key: name },
  value: canonicalize({ available, locked: 0 }),
});
const other = (collection: string): StateWrite => ({
  ...{ dapp: 'kernel', collection, key: 'x', value: '{}' },
});
const split = (...rows: StateWrite[]): Split => ({
  origin: { town: sha256('old town'), merge: sha256('merge'), height: 7 },
  state: rows,
});
const sound = split(
  account(VAULT, 999_500),
  account(accountOf('m1'), 500),
  other('branches'),
  other('nodes'),
);
const found = (from?: Split) =>
  makeGenesis(charter, sha256('nonce'), node.id, T0 as Millis, secretOf('node'), from);

t.test('it begins with the state of the old one, without branches, drafts and nodes', async (t) => {
  const { merge, writes } = found(sound);
  t.same(
    writes.map(({ collection, key: name }) => `${collection}/${name}`),
    ['accounts/vault', 'accounts/member.m1', 'charter/charter'],
  );
  t.not(merge.town, found().merge.town);
  t.same(readGenesis(merge.raw, charter, sha256('nonce'), sound).writes, writes);
  t.same(stateForSplit(stateForSplit(sound.state)), stateForSplit(sound.state), 'what is taken is all taken');
});

t.test('what it took along is part of its id: with any other state or origin it is no genesis', async (t) => {
  const { raw } = found(sound).merge;
  const others: (Split | undefined)[] = [
    undefined,
    split(account(VAULT, 999_501), account(accountOf('m1'), 499)),
    split(account(VAULT, 1_000_000)),
    { ...sound, origin: { ...sound.origin, height: 8 } },
  ];
  for (const from of others)
    t.throws(() => readGenesis(raw, charter, sha256('nonce'), from), { code: 'bad-genesis' });
  t.throws(() => readGenesis(found().merge.raw, charter, sha256('nonce'), sound), { code: 'bad-genesis' });
});

t.test('credits neither come into being nor get lost by it', async (t) => {
  t.throws(() => found(split(account(VAULT, 999_999))));
});
