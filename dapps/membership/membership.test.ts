import t from 'tap';
import { inProcess, MemoryLedger } from '../sdk/typescript/memory-ledger.js';
import { membership } from './membership.js';

const steward = { member: 'm0000000000000001', roles: ['steward'] };
const ada = 'p000000000000000a';
const ben = 'p000000000000000b';
const profile = { enc: 1, key: 'p000000000000000a.2026-11', iv: 'A'.repeat(16), ct: 'B'.repeat(40) };
const reason = { ...profile, ct: 'R'.repeat(40) };

function register() {
  const ledger = new MemoryLedger('membership', {}, 2);
  const exchange = inProcess(membership);
  for (const member of ['m000000000000000a', 'm000000000000000b', 'm000000000000000c'])
    ledger.set('kernel', 'members', member, { roles: ['member'], status: 'active' });
  const submit = (
    verb: string,
    body: Parameters<typeof ledger.submit>[3],
    { at = ledger.now + 1, by = steward } = {},
  ) => {
    ledger.now = at;
    return ledger.submit(exchange, verb, by, body);
  };
  const person = (id: string) => ledger.get('membership', 'people', id);
  const sound = async () => (await ledger.test(exchange)).t;
  return { ledger, exchange, submit, person, sound };
}

t.test('a person is added once, with a sealed profile, and can be updated', async (t) => {
  const { ledger, submit, person, sound } = register();
  t.match(await submit('add', { person: ada, profile }), { t: 'accept' });
  const added = ledger.now;
  t.same(person(ada), { status: 'active', profile, member: null, added });
  t.match(await submit('add', { person: ada, profile }), { t: 'reject', code: 'person-exists' });
  const fresh = { ...profile, ct: 'C'.repeat(40) };
  t.match(await submit('update', { person: ada, profile: fresh }), { t: 'accept' });
  t.match(person(ada), { profile: fresh, added });
  t.match(await submit('update', { person: ben, profile }), { t: 'reject', code: 'unknown-person' });
  t.equal(await sound(), 'pass');
});

t.test('personal fields in plain are refused, whatever they look like', async (t) => {
  const { submit, person } = register();
  for (const plain of [
    { name: 'Ada' },
    'Ada',
    null,
    [profile],
    { ...profile, name: 'Ada' },
    { ...profile, enc: 2 },
    { ...profile, iv: 'Ada' },
    { ...profile, ct: 'Ada Lovelace, 12 Main Street' },
  ])
    t.match(await submit('add', { person: ada, profile: plain }), {
      t: 'reject',
      code: 'plain-personal-data',
    });
  t.match(await submit('add', { person: ada, profile, name: 'Ada' }), { t: 'reject', code: 'bad-body' });
  t.match(await submit('add', { person: 'Ada', profile }), { t: 'reject', code: 'bad-body' });
  t.equal(person(ada), null);
  for (const plain of ['unpaid', '', undefined, { ...reason, why: 'unpaid' }])
    t.match(await submit('suspend', { person: ada, ...(plain === undefined ? {} : { reason: plain }) }), {
      t: 'reject',
      code: 'plain-personal-data',
    });
});

t.test('a suspension holds until it is ended, and one of an unknown person waits for them', async (t) => {
  const { ledger, submit, person, sound } = register();
  await submit('add', { person: ada, profile });
  const added = ledger.now;
  t.match(await submit('suspend', { person: ada, reason }), { t: 'accept' });
  t.match(person(ada), { status: 'suspended', reason });
  t.match(await submit('reinstate', { person: ada }), { t: 'accept' });
  t.same(person(ada), { status: 'active', profile, member: null, added });
  t.match(await submit('reinstate', { person: ada }), { t: 'reject', code: 'not-suspended' });

  t.match(await submit('suspend', { person: ben, reason }), { t: 'accept' });
  t.equal(person(ben), null);
  await submit('add', { person: ben, profile });
  t.match(person(ben), { status: 'suspended', reason });
  t.equal(ledger.get('membership', 'suspensions', ben), null);
  t.match(await submit('reinstate', { person: 'p00000000000000cc' }), {
    t: 'reject',
    code: 'unknown-person',
  });
  t.equal(await sound(), 'pass');
});

t.test('a suspension newer than a reinstatement holds, though it goes first in the merge', async (t) => {
  const { ledger, submit, person } = register();
  await submit('add', { person: ada, profile });
  const at = ledger.now;
  await submit('suspend', { person: ada, reason }, { at: at + 10 });
  t.match(await submit('reinstate', { person: ada }, { at: at + 5 }), { code: 'restricted-later' });
  t.match(person(ada), { status: 'suspended' });
  await submit('suspend', { person: ben, reason }, { at: at + 10 });
  t.match(await submit('reinstate', { person: ben }, { at: at + 5 }), { code: 'restricted-later' });
  t.match(await submit('reinstate', { person: ben }, { at: at + 11 }), { t: 'accept' });
  t.match(await submit('reinstate', { person: ada }, { at: at + 11 }), { t: 'accept' });
});

t.test('members link themselves only; a steward links anybody', async (t) => {
  const { submit } = register();
  await submit('add', { person: ada, profile });
  await submit('add', { person: ben, profile });
  const by = { member: 'm000000000000000a', roles: ['member'] };
  t.match(await submit('link', { person: ada, member: 'm000000000000000b' }, { by }), { code: 'not-you' });
  t.match(await submit('link', { person: ada, member: 'm000000000000000a' }, { by }), { t: 'accept' });
  t.match(await submit('link', { person: ben, member: 'm000000000000000b' }), { t: 'accept' });
});

t.test('a person and a credit member are linked once, both ways', async (t) => {
  const { ledger, exchange, submit, person, sound } = register();
  await submit('add', { person: ada, profile });
  await submit('add', { person: ben, profile });
  t.match(await submit('link', { person: ada, member: 'm0000000000000009' }), { code: 'unknown-member' });
  t.match(await submit('link', { person: 'p00000000000000cc', member: 'm000000000000000a' }), {
    code: 'unknown-person',
  });
  t.match(await submit('link', { person: ada, member: 'm000000000000000a' }), { t: 'accept' });
  t.match(person(ada), { member: 'm000000000000000a' });
  t.match(await submit('link', { person: ben, member: 'm000000000000000a' }), { code: 'already-linked' });
  t.match(await submit('link', { person: ada, member: 'm000000000000000b' }), { code: 'already-linked' });
  t.equal(await sound(), 'pass');

  ledger.set('kernel', 'members', 'm000000000000000a', null);
  t.match(await ledger.test(exchange, ['e'.repeat(64)]), {
    t: 'veto',
    code: 'bad-link',
    entries: ['e'.repeat(64)],
  });
  ledger.set('kernel', 'members', 'm000000000000000a', {});
  ledger.set('membership', 'links', 'm000000000000000c', { person: ben });
  t.match(await ledger.test(exchange), { t: 'veto', code: 'bad-link' });
});
