/** The offline keys of a charter, the statements that they sign, and their one form. */
import t from 'tap';
import { charterText, makerspaceCharter, parseCharter, type Charter } from './charter.js';
import { sha256 } from './hash.js';
import type { JsonObject } from './ids.js';
import {
  assertRecovery,
  joinRecoveries,
  parseRecovery,
  signRecovery,
  type Recovery,
  type RecoveryStatement,
} from './recovery.js';
import { nodeIdOf, publicKeyOf } from './signature.js';
import { secretOf } from './testing/small-town.js';

const OFFLINE = ['drawer', 'bank', 'aunt'];
const keys = { k: 2, keys: OFFLINE.map((word) => publicKeyOf(secretOf(word))) };

const nodeOf = (name: string) => {
  const key = publicKeyOf(secretOf(name));
  return { id: nodeIdOf(key), key, name };
};

const signedBy = (statement: RecoveryStatement, words: readonly string[]): Recovery =>
  words.reduce((recovery, word) => signRecovery(recovery, secretOf(word)), {
    statement,
    sigs: [],
  } as Recovery);

const withoutKeys = ({ recovery: _, ...charter }: Charter): Charter => charter;

t.test('statement, signatures and keys have one form', (t) => {
  const charter: Charter = {
    ...makerspaceCharter({ name: 'T', node: nodeOf('alpha'), dapps: [] }),
    recovery: keys,
  };
  const badKeys = (recovery: JsonObject | Charter['recovery'], message: RegExp): void => {
    t.throws(() => parseCharter({ ...charter, recovery }), { code: 'bad-charter', message });
  };
  t.equal(charterText(parseCharter(charter)), charterText(charter));
  badKeys({ k: 4, keys: keys.keys }, /4 signatures of 3/);
  badKeys({ k: 1, keys: [keys.keys[0] as string, keys.keys[0] as string] }, /named twice/);
  badKeys({ k: 1, keys: [nodeOf('alpha').key] }, /that of a node/);
  badKeys({ k: 0, keys: keys.keys }, /does not hold at/);

  const town = sha256('town');
  const statement: RecoveryStatement = {
    ...{ v: 1, town, line: 'main', epoch: 1, height: 3, parent: sha256('merge'), nodes: {} },
    ...{ validators: [nodeOf('alpha').id], quorum: 'majority' },
  };
  const authority = { town, epoch: 0, charter };
  const good = signedBy(statement, ['aunt', 'drawer']);
  t.same(assertRecovery(good, authority).validators, [nodeOf('alpha').id]);
  t.same(parseRecovery(JSON.parse(JSON.stringify(good))), good);
  t.same(signedBy(statement, ['drawer', 'aunt']), good, 'whoever signs first');
  t.throws(() => parseRecovery({ ...good, sigs: [...good.sigs].reverse() }), { code: 'bad-recovery' });
  t.throws(() => parseRecovery({ ...good, sigs: [good.sigs[0], good.sigs[0]] }), { code: 'bad-recovery' });
  t.throws(() => parseRecovery({ ...good, more: 1 }), { code: 'bad-recovery' });
  t.throws(() => assertRecovery(good, { ...authority, epoch: 1 }), { message: /the town is in epoch 1/ });
  t.throws(() => assertRecovery(good, { ...authority, charter: withoutKeys(charter) }), {
    code: 'no-recovery',
  });
  t.throws(() => joinRecoveries([good, signedBy({ ...statement, height: 4 }, ['bank'])]), {
    message: /different/,
  });
  const beta = nodeOf('beta');
  const alien = signedBy(
    { ...statement, nodes: { [beta.id]: { name: 'beta', key: beta.key, roles: [] } } },
    OFFLINE,
  );
  t.throws(() => assertRecovery(alien, authority), { message: /none of the new validators/ });
  t.end();
});
