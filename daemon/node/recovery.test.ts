/** Too few validators are left: what the offline keys sign begins a new epoch, at real nodes that meet at a real broker. */
import t, { type Test } from 'tap';
import {
  certificateOf,
  certificateText,
  parseCertificate,
  type Certificate,
} from '../consensus/certificate.js';
import { proveMerge } from '../consensus/proof.js';
import { signVote, valueIdOf } from '../consensus/vote.js';
import { parseCharter, type Charter } from '../ledger/charter.js';
import { hexOf, sha256 } from '../ledger/hash.js';
import type { JsonObject } from '../ledger/ids.js';
import {
  joinRecoveries,
  readRecovery,
  signRecovery,
  type Recovery,
  type RecoveryStatement,
} from '../ledger/recovery.js';
import { publicKeyOf } from '../ledger/signature.js';
import { secretOf } from '../ledger/testing/small-town.js';
import { agree, foundTown, keysOf, until, withSealing, type CoreNode } from './testing/core-town.js';

t.setTimeout(600_000);

const NAMES = ['alpha', 'beta', 'gamma'];
const OFFLINE = ['drawer', 'bank', 'aunt'];
const keys = { k: 2, keys: OFFLINE.map((word) => publicKeyOf(secretOf(word))) };
const withKeys = (charter: Charter): Charter => ({ ...charter, recovery: keys });

/** What begins an epoch after what a node has merged last. */
function statementAfter(
  { head, core }: Pick<CoreNode, 'head' | 'core'>,
  validators: readonly string[],
  change: Partial<RecoveryStatement> = {},
): RecoveryStatement {
  return {
    ...{ v: 1, town: core.main.town, line: 'main', epoch: core.main.epoch + 1 },
    ...{ height: head.height, parent: head.id, nodes: {}, quorum: 'majority' },
    validators: validators.map((name) => keysOf(name).id),
    ...change,
  };
}

const signedBy = (statement: RecoveryStatement, words: readonly string[]): Recovery =>
  words.reduce((recovery, word) => signRecovery(recovery, secretOf(word)), {
    statement,
    sigs: [],
  } as Recovery);

async function town(t: Test) {
  const founded = await foundTown(t, { names: NAMES, charter: withKeys });
  const [alpha, beta, gamma] = founded.nodes(...NAMES) as [CoreNode, CoreNode, CoreNode];
  return { ...founded, alpha, beta, gamma };
}

/** What somebody signs for the merge after that node's last one. */
const placeAfter = ({ core, head }: CoreNode, epoch: number) => ({
  ...{ town: core.main.town, line: 'main', epoch, height: head.height + 1, round: 0, parent: head.id },
});

const nilVoteBy = (name: string, after: CoreNode, epoch: number) =>
  signVote(
    { ...placeAfter(after, epoch), step: 'prevote', value: null },
    keysOf(name).id,
    keysOf(name).secretKey,
  );

/** A merge of whatever bytes, with the certificate that these make of it. */
function proofBy(names: readonly string[], after: CoreNode, epoch: number) {
  const raw = Buffer.from('what an old image signs');
  const content = { ...placeAfter(after, epoch), step: 'precommit', value: valueIdOf(raw) } as const;
  const votes = names.map((name) => signVote(content, keysOf(name).id, keysOf(name).secretKey));
  return { raw, certificate: certificateText(certificateOf(votes)) };
}

const certificateOfHead = ({ store, head }: CoreNode): Certificate =>
  parseCertificate(store.certificate(head.height) ?? '');

t.test('with two of three validators gone the town goes on, and whoever comes back follows', async (t) => {
  const { alpha, start, stop } = await town(t);
  await stop('beta');
  await stop('gamma');
  const waiting = await alpha.claim('ada', 'notes.put', { key: 'waits', value: 1 });
  const { main, merger } = alpha.core;
  const before = alpha.head;
  const statement = statementAfter(alpha, ['alpha']);
  const once = signedBy(statement, ['drawer']);
  const recovery = joinRecoveries([once, signedBy(statement, ['aunt'])]);

  const refused = async (bad: Recovery, message: RegExp): Promise<void> => {
    await t.rejects(merger.recover(bad), { code: 'bad-recovery', message });
  };
  await refused(once, /1 of its keys signed, 2 must/);
  await refused(signedBy(statement, ['drawer', 'thief']), /is no key of recovery/);
  await refused(
    signedBy({ ...statement, town: sha256('elsewhere') }, ['drawer', 'aunt']),
    /for another town/,
  );
  await refused(
    { ...recovery, statement: { ...statement, validators: [keysOf('beta').id] } },
    /signature of .* does not hold/,
  );
  await refused(
    signedBy({ ...statement, validators: [keysOf('delta').id] }, ['drawer', 'aunt']),
    /not one of/,
  );
  t.equal(main.epoch, 0, 'none of these began anything');

  t.equal(await merger.recover(recovery), 'begins');
  t.equal(await merger.recover(recovery), 'begins', 'once more changes nothing');
  const other = signedBy({ ...statement, quorum: 'two-thirds' }, ['drawer', 'aunt']);
  t.equal(await merger.recover(other), 'past', 'nor does another one for the same epoch');
  await until('it merges alone', () => alpha.note('waits') === '1', [alpha]);
  t.same(readRecovery(main.state), statement, 'the state says what began the epoch');
  t.same(main.charter.validators, [alpha.keys.id]);
  const proof = certificateOfHead(alpha);
  t.match({ epoch: proof.epoch, recovery: proof.recovery }, { epoch: 1, recovery });
  t.equal(await merger.recover(recovery), 'past');

  const late = await start('beta');
  await until('the one that was away follows', () => agree([alpha, late]), [alpha, late]);
  t.equal(late.core.main.epoch, 1);
  t.match(late.store.entry(waiting.id), { state: 'merged' });
  const fresh = await late.claim('ada', 'notes.put', { key: 'late', value: 2 });
  await until('what it records is merged', () => alpha.note('late') === '2' && agree([alpha, late]), [
    alpha,
    late,
  ]);
  t.match(late.store.entry(fresh.id), { state: 'merged' });
  t.equal(certificateOfHead(late).recovery, undefined, 'the next merge of the epoch needs no recovery');
  t.same(
    certificateOfHead(late).votes.map(({ node }) => node),
    [alpha.keys.id],
  );
  t.same(late.alarms, []);

  // A card from an old image goes on in the epoch that it knows.
  const forged = proofBy(['beta', 'gamma'], alpha, 0);
  t.throws(() => merger.isProven(forged.raw, forged.certificate), {
    code: 'bad-certificate',
    message: /of epoch 0, and this is epoch 1/,
  });
  t.equal(merger.receive({ t: 'vote', vote: nilVoteBy('gamma', alpha, 0) }), null);

  // A stranger, along the sets and epochs.
  const first = alpha.store.merge(before.height + 1);
  const text = alpha.store.certificate(before.height + 1) ?? '';
  const parent = {
    ...{ town: main.town, line: 'main', height: before.height, id: before.id, epoch: 0 },
    charter: parseCharter({ ...main.charter, validators: NAMES.map((name) => keysOf(name).id) }),
  };
  const raw = first?.raw ?? new Uint8Array();
  const proven = proveMerge(parseCertificate(text), raw, parent);
  t.same(proven.charter.validators, [alpha.keys.id]);
  const { recovery: _, ...bare } = parseCertificate(text);
  t.throws(() => proveMerge(bare, raw, parent), {
    code: 'bad-certificate',
    message: /of epoch 1, and this is epoch 0/,
  });
  t.throws(() => proveMerge({ ...bare, recovery: once }, raw, parent), { code: 'bad-recovery' });
  t.throws(() => proveMerge(parseCertificate(text), raw, { ...parent, epoch: 1 }), { code: 'bad-recovery' });
  t.throws(() => parseCertificate(certificateText({ ...bare, recovery: {} as Recovery })), {
    code: 'bad-certificate',
  });
});

t.test('a recovery outlives a restart, and the votes of the epoch before count no more', async (t) => {
  const { alpha, start, stop } = await town(t);
  await stop('beta');
  await stop('gamma');
  await alpha.claim('ada', 'notes.put', { key: 'a', value: 1 });
  const { height } = alpha.head;
  // Somebody's vote begins the height, though nobody else is there to hold what would be merged.
  const asked = async (epoch: number): Promise<void> => {
    t.equal(alpha.core.merger.receive({ t: 'vote', vote: nilVoteBy('beta', alpha, epoch) }), null);
  };
  const epochsVotedIn = (): readonly number[] => [
    ...new Set(
      alpha.store
        .consensusLog(height + 1)
        .filter(({ kind }) => kind === 'vote')
        .map(({ text }) => (JSON.parse(text) as { epoch: number }).epoch),
    ),
  ];
  await asked(0);
  await until('it has voted in vain', () => epochsVotedIn().includes(0), [alpha]);
  // The other one of the two that are left is away when the epoch begins.
  const recovery = signedBy(statementAfter(alpha, ['alpha', 'beta']), ['bank', 'aunt']);
  await alpha.core.merger.recover(recovery);
  const forged = proofBy(['beta', 'gamma'], alpha, 0);
  t.throws(() => alpha.core.merger.isProven(forged.raw, forged.certificate), {
    code: 'bad-certificate',
    message: /epoch 1 has begun/,
  });
  await asked(1);
  await until('it votes anew', () => epochsVotedIn().includes(1), [alpha]);
  t.equal(alpha.head.height, height, 'alone it is no quorum of the new set either');
  const later = statementAfter(alpha, ['alpha'], { height: height + 5, parent: sha256('not here yet') });
  t.equal(await alpha.core.merger.recover(signedBy(later, ['bank', 'aunt'])), 'ahead');
  t.equal(alpha.core.main.epoch, 1, 'what begins later takes nothing away from what has begun');
  await stop('alpha');
  const again = await start('alpha');
  t.equal(again.core.main.epoch, 1);
  t.same(
    again.core.main.charter.validators,
    ['alpha', 'beta'].map((name) => keysOf(name).id),
  );
  const beta = await start('beta');
  await until('both merge', () => agree([again, beta]) && beta.note('a') === '1', [again, beta]);
  t.equal(beta.core.main.epoch, 1, 'the other one was told');
  t.match(certificateOfHead(beta), { epoch: 1, recovery });
  t.same([...again.alarms, ...beta.alarms], []);
});

t.test('what begins an epoch later holds after a restart too, once it has begun', async (t) => {
  const { beta, gamma, start, stop } = await town(t);
  await stop('alpha');
  const first = signedBy(statementAfter(beta, NAMES), ['drawer', 'bank']);
  await beta.core.merger.recover(first);
  await beta.claim('ada', 'notes.put', { key: 'a', value: 1 });
  await until('the two are in the first epoch', () => agree([beta, gamma]) && gamma.note('a') === '1', [
    beta,
    gamma,
  ]);
  await stop('beta');
  const second = signedBy(statementAfter(gamma, ['alpha', 'beta']), ['drawer', 'aunt']);
  await stop('gamma');
  // It was away: it is given both, and what the second goes on from is not here.
  const alpha = await start('alpha');
  t.equal(await alpha.core.merger.recover(first), 'begins');
  t.equal(await alpha.core.merger.recover(second), 'ahead');
  const again = await start('gamma');
  await until('it has what the second goes on from', () => alpha.core.main.epoch === 2, [alpha, again]);
  await stop('gamma');
  t.equal(alpha.core.merger.receive({ t: 'vote', vote: nilVoteBy('beta', alpha, 2) }), null);
  const hasVoted = (): boolean => alpha.store.consensusLog(alpha.head.height + 1).length > 0;
  await until('it signs in the second epoch', hasVoted, [alpha]);
  await stop('alpha');
  const back = await start('alpha');
  t.equal(back.core.main.epoch, 2, 'it does not go back to an epoch that it has signed against');
});

t.test('who merged more in the old epoch is left behind, and what it recorded comes in again', async (t) => {
  const { alpha, start, stop, beta, gamma } = await town(t);
  await stop('alpha');
  const mine = await gamma.claim('ada', 'notes.put', { key: 'old', value: 1 });
  await until('the two merge without the third', () => agree([beta, gamma]) && gamma.note('old') === '1', [
    beta,
    gamma,
  ]);
  const behind = gamma.head;
  await stop('beta');
  await stop('gamma');
  const left = await start('alpha');
  t.equal(left.head.id, alpha.head.id);
  await left.core.merger.recover(signedBy(statementAfter(left, ['alpha']), ['drawer', 'bank']));
  await left.claim('ada', 'notes.put', { key: 'new', value: 2 });
  await until('the town goes on', () => left.note('new') === '2', [left]);

  const stray = await start('gamma');
  await until('it learns that it was left behind', () => stray.core.main.divergedFrom !== null, [
    left,
    stray,
  ]);
  t.match(stray.alarms.join(), /diverged: The town went on in epoch 1 from merge/);
  t.equal(stray.head.id, behind.id, 'what it has it keeps, and merges no more');
  t.equal(stray.core.main.divergedFrom?.epoch, 1);
  await until('its entry is in the new history', () => left.note('old') === '1', [left, stray]);
  t.match(left.store.entry(mine.id), { state: 'merged' });
  await t.rejects(stray.claim('ada', 'notes.put', { key: 'late', value: 3 }), { code: 'diverged' });
  await stop('gamma');
  const once = await start('gamma');
  t.equal(once.core.main.divergedFrom?.epoch, 1, 'it knows after a restart');
});

t.test('a statement that comes after the next merge leaves nobody behind who did not say so', async (t) => {
  const { alpha, beta, gamma } = await town(t);
  const all = [alpha, beta, gamma];
  const recovery = signedBy(statementAfter(alpha, ['alpha']), ['drawer', 'bank']);
  await alpha.claim('ada', 'notes.put', { key: 'meanwhile', value: 1 });
  await until('the quorum to be there again', () => agree(all) && alpha.note('meanwhile') === '1', all);
  const { merger, main } = alpha.core;
  await t.rejects(merger.recover(recovery, false), { code: 'leaves-behind', message: /up to merge/ });
  t.match({ diverged: main.divergedFrom, epoch: main.epoch }, { diverged: null, epoch: 0 });
  await alpha.claim('ada', 'notes.put', { key: 'goes-on', value: 1 });
  await until('the town to go on', () => agree(all) && gamma.note('goes-on') === '1', all);
  t.equal(await merger.recover(recovery, true), 'diverged');
  t.equal(await merger.recover(recovery, false), 'diverged', 'who knows it already is not asked again');
});

t.test('who was left behind is heard after the key of the town has changed', async (t) => {
  const charter = (base: Charter): Charter => ({
    ...withSealing(withKeys(base)),
    validators: NAMES.map((name) => keysOf(name).id),
  });
  const names = [...NAMES, 'delta'];
  const founded = await foundTown(t, { names, first: NAMES, charter, keepsTownKeys: true });
  const { rings, start, stop } = founded;
  const [beta, gamma] = founded.nodes('beta', 'gamma') as [CoreNode, CoreNode];
  await stop('alpha');
  const mine = await gamma.claim('ada', 'notes.put', { key: 'old', value: 1 });
  const two = [beta, gamma];
  await until('the two merge without the third', () => agree(two) && gamma.note('old') === '1', two);
  await stop('beta');
  await stop('gamma');

  const left = await start('alpha');
  await left.core.merger.recover(signedBy(statementAfter(left, ['alpha']), ['drawer', 'bank']));
  // The next key is made at a height that who was left behind never comes to.
  for (const key of ['new', 'newer']) {
    await left.claim('ada', 'notes.put', { key, value: 2 });
    await until('the town goes on', () => left.note(key) === '2', [left]);
  }
  await left.claim('ada', 'charter.change', { set: {}, remove: [`/nodes/${keysOf('delta').id}`] });
  const keyOf = (name: string): string => hexOf(rings.get(name)?.current.key ?? new Uint8Array());
  const first = keyOf('alpha');
  await until('another key', () => keyOf('alpha') !== first, [left]);
  const stray = await start('gamma');
  const both = [left, stray];
  await until('it learns that it was left behind', () => stray.core.main.divergedFrom !== null, both);
  await until('its entry is in the new history', () => left.note('old') === '1', both);
  t.match(left.store.entry(mine.id), { state: 'merged' });
  t.equal(keyOf('gamma'), keyOf('alpha'), 'it seals as they do');
  t.match(left.core.main.charter.nodes, { [stray.keys.id]: {} });
});

t.test('of two statements for one epoch the second begins nothing, and people are told', async (t) => {
  const { alpha, start, stop } = await town(t);
  await stop('beta');
  await stop('gamma');
  const { merger, main } = alpha.core;
  const ours = signedBy(statementAfter(alpha, ['alpha']), ['drawer', 'bank']);
  const rival = signedBy(statementAfter(alpha, ['beta']), ['drawer', 'aunt']);
  const weak = signedBy(statementAfter(alpha, ['gamma']), ['drawer']);
  const told = (): readonly string[] => alpha.alarms.filter((text) => /rival-recovery/.test(text));
  const proofOf = (recovery: Recovery): string => {
    const { certificate } = proofBy(['beta'], alpha, 1);
    return certificateText({ ...parseCertificate(certificate), recovery });
  };
  const raw = Buffer.from('what an old image signs');
  const sent = (recovery: Recovery) => merger.receiveRecovery(recovery as unknown as JsonObject);
  t.match(sent(weak), { code: 'bad-recovery' }, 'too few signatures, whoever brings it');
  t.throws(() => merger.isProven(raw, proofOf(weak)), { code: 'bad-recovery' });
  t.equal(main.epoch, 0);

  t.equal(await merger.recover(ours), 'begins');
  t.throws(() => merger.isProven(raw, proofOf(rival)), {
    code: 'bad-certificate',
    message: /another statement/,
  });
  t.equal(sent(rival), null);
  t.equal(told().length, 1, 'once');
  t.same(main.recovery, ours);
  await alpha.claim('ada', 'notes.put', { key: 'a', value: 1 });
  await until('it merges by the first', () => alpha.note('a') === '1', [alpha]);
  t.equal(sent(rival), null);
  t.equal(sent(ours), null, 'what has begun begins nothing again');
  t.same([main.epoch, main.divergedFrom], [1, null]);
  t.equal(told().length, 1);

  // One more epoch, from the history that shall count.
  const other = await start('beta');
  await until('the other one follows', () => agree([alpha, other]), [alpha, other]);
  const next = statementAfter(alpha, ['alpha', 'beta']);
  t.equal(await merger.recover(signedBy(next, ['bank', 'aunt'])), 'begins');
  await other.claim('ada', 'notes.put', { key: 'b', value: 2 });
  await until('both go on', () => agree([alpha, other]) && alpha.note('b') === '2', [alpha, other]);
  t.equal(other.core.main.epoch, 2);
  t.throws(() => merger.isProven(raw, proofBy(['alpha', 'beta'], alpha, 1).certificate), {
    code: 'bad-certificate',
    message: /of epoch 1, and this is epoch 2/,
  });
});

t.test('a town whose only board was lost goes on with a board that has a key of its own', async (t) => {
  const { alpha, start, stop } = await town(t);
  await stop('beta');
  await stop('gamma');
  const brings = { name: 'attic', key: keysOf('delta').key, roles: ['door'] };
  const delta = keysOf('delta').id;
  const statement = statementAfter(alpha, ['delta'], { nodes: { [delta]: brings } });
  await alpha.core.merger.recover(signedBy(statement, ['drawer', 'bank']));
  await alpha.claim('ada', 'notes.put', { key: 'a', value: 1 });
  await stop('alpha');
  // What a restored backup is: the same ledger, another key.
  const left = await start('alpha');
  const fresh = await start('delta');
  const { height } = fresh.head;
  t.equal(height, 0);
  // It has to be told by hand, since it does not know the nodes that would tell it; it begins once it has what the statement names.
  t.equal(await fresh.core.merger.recover(signedBy(statement, ['drawer', 'bank'])), 'ahead');
  await until('it caught up and merges alone', () => agree([left, fresh]) && left.note('a') === '1', [
    left,
    fresh,
  ]);
  t.same(fresh.core.main.charter.validators, [delta]);
  t.equal(fresh.core.main.charter.nodes[delta]?.name, 'attic');
});
