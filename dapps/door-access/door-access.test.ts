import t from 'tap';
import { inProcess, MemoryLedger } from '../sdk/typescript/memory-ledger.js';
import type { JsonObject } from '../sdk/typescript/contract.js';
import { doorAccess } from './door-access.js';

const steward = { member: 'm0000000000000001', roles: ['steward'] };
const ada = 'p000000000000000a';
const ben = 'p000000000000000b';
const node = '0123456789abcdef';
const red = '1'.repeat(64);
const blue = '2'.repeat(64);
const record = { enc: 1, key: 'k', iv: 'A'.repeat(16), ct: 'B'.repeat(40) };
const lost = { ...record, ct: 'L'.repeat(40) };
const unpaid = { ...record, ct: 'U'.repeat(40) };

async function house() {
  const ledger = new MemoryLedger('door-access', {}, 2);
  const exchange = inProcess(doorAccess);
  for (const person of [ada, ben])
    ledger.set('membership', 'people', person, { status: 'active', profile: record });
  const submit = (verb: string, body: JsonObject, at = ledger.now + 1) => {
    ledger.now = at;
    return ledger.submit(exchange, verb, steward, body);
  };
  const rights = async (args: JsonObject = {}) =>
    (
      (await ledger.query(exchange, 'rights', args)) as unknown as {
        value: { doors: JsonObject; badges: JsonObject };
      }
    ).value;
  const sound = async () => (await ledger.test(exchange)).t;
  await submit('add-door', { door: 'front', name: 'Front door', node });
  await submit('add-door', { door: 'shop', name: 'Workshop', node });
  return { ledger, exchange, submit, rights, sound };
}

t.test('an enrolled badge is in the rights table with its doors and its end', async (t) => {
  const { submit, rights, sound } = await house();
  t.match(await submit('enrol', { badge: red, person: ada, doors: '*' }), { t: 'accept' });
  t.match(await submit('enrol', { badge: blue, person: ben, doors: ['shop', 'front', 'shop'], until: 99 }), {
    t: 'accept',
  });
  t.same(await rights(), {
    doors: { front: { mode: 'normal' }, shop: { mode: 'normal' } },
    badges: {
      [red]: { person: ada, status: 'active', doors: '*' },
      [blue]: { person: ben, status: 'active', doors: ['front', 'shop'], until: 99 },
    },
  });
  t.match(await submit('enrol', { badge: red, person: ada, doors: ['front'] }), { t: 'accept' });
  t.same(
    (await rights()).badges[red],
    { person: ada, status: 'active', doors: ['front'] },
    'given other doors',
  );
  t.equal(await sound(), 'pass');
});

t.test('enrolling needs a known person, doors that exist, and a badge of nobody else', async (t) => {
  const { submit } = await house();
  const cases: [JsonObject, string][] = [
    [{ badge: red, person: 'p00000000000000cc', doors: '*' }, 'unknown-person'],
    [{ badge: red, person: ada, doors: ['attic'] }, 'unknown-door'],
    [{ badge: red, person: ada, doors: [] }, 'bad-body'],
    [{ badge: red, person: ada, doors: [7] }, 'bad-body'],
    [{ badge: '04 A2 2B', person: ada, doors: '*' }, 'bad-body'],
    [{ badge: red, person: ada, doors: '*', name: 'Ada' }, 'bad-body'],
  ];
  for (const [body, code] of cases) t.match(await submit('enrol', body), { t: 'reject', code });
  await submit('enrol', { badge: red, person: ada, doors: '*' });
  t.match(await submit('enrol', { badge: red, person: ben, doors: '*' }), {
    t: 'reject',
    code: 'badge-taken',
  });
});

t.test('a revoked badge is refused with its reason until it is reactivated', async (t) => {
  const { submit, rights } = await house();
  await submit('enrol', { badge: red, person: ada, doors: '*' });
  for (const plain of ['lost by Ada', { ...lost, why: 'lost' }])
    t.match(await submit('revoke', { badge: red, reason: plain }), { code: 'plain-personal-data' });
  t.match(await submit('revoke', { badge: red, reason: lost }), { t: 'accept' });
  t.same((await rights()).badges[red], { person: ada, doors: '*', status: 'revoked', reason: lost });
  t.match(await submit('enrol', { badge: red, person: ada, doors: ['front'] }), { t: 'accept' });
  t.same(
    (await rights()).badges[red],
    { person: ada, doors: ['front'], status: 'revoked', reason: lost },
    'enrolled anew it stays revoked',
  );
  await submit('enrol', { badge: red, person: ada, doors: '*' });
  t.match(await submit('reactivate', { badge: red }), { t: 'accept' });
  t.same((await rights()).badges[red], { person: ada, doors: '*', status: 'active' });
  t.match(await submit('reactivate', { badge: red }), { code: 'badge-active' });
});

t.test(
  'a badge enrolled while its person is suspended is kept, and works once they are reinstated',
  async (t) => {
    const { ledger, submit, rights, sound } = await house();
    ledger.set('membership', 'people', ben, { status: 'suspended', reason: unpaid });
    t.match(await submit('enrol', { badge: red, person: ben, doors: '*' }), { t: 'accept' });
    t.match((await rights()).badges[red], { person: ben, status: 'suspended', reason: unpaid });
    ledger.set('membership', 'people', ben, { status: 'active' });
    t.match((await rights()).badges[red], { person: ben, status: 'active' });
    t.equal(await sound(), 'pass');
  },
);

t.test('a revocation or lockdown of what is not known yet waits and then holds', async (t) => {
  const { ledger, submit, rights, sound } = await house();
  t.match(await submit('revoke', { badge: blue, reason: lost }), { t: 'accept' });
  await submit('enrol', { badge: blue, person: ben, doors: '*' });
  t.match((await rights()).badges[blue], { status: 'revoked', reason: lost });
  t.equal(ledger.get('door-access', 'revocations', blue), null);
  await submit('lockdown', { door: 'attic', reason: 'fire' });
  await submit('add-door', { door: 'attic', name: 'Attic', node });
  t.same((await rights()).doors['attic'], { mode: 'lockdown' });
  await submit('revoke', { badge: red, reason: lost });
  t.match(await submit('reactivate', { badge: red }), { t: 'accept' });
  t.match(await submit('reactivate', { badge: red }), { code: 'unknown-badge' });
  t.equal(await sound(), 'pass');
});

t.test('what lifts a restriction must be newer than it, whatever came first in the merge', async (t) => {
  const { ledger, submit, rights } = await house();
  await submit('enrol', { badge: red, person: ada, doors: '*' });
  const at = ledger.now;
  await submit('revoke', { badge: red, reason: lost }, at + 10);
  for (const early of [at + 5, at + 10])
    t.match(await submit('reactivate', { badge: red }, early), { code: 'restricted-later' });
  await submit('revoke', { badge: red, reason: unpaid }, at + 7);
  t.match(await submit('reactivate', { badge: red }, at + 9), { code: 'restricted-later' });
  t.match((await rights()).badges[red], { status: 'revoked' });
  await submit('lockdown', { door: 'shop', reason: 'fire' }, at + 20);
  t.match(await submit('unlock', { door: 'shop' }, at + 15), { code: 'restricted-later' });
  t.match((await rights()).doors['shop'], { mode: 'lockdown' });
  await submit('revoke', { badge: blue, reason: lost }, at + 30);
  await submit('lockdown', { door: 'attic', reason: 'not seen yet' }, at + 30);
  t.match(await submit('reactivate', { badge: blue }, at + 25), { code: 'restricted-later' });
  t.match(await submit('unlock', { door: 'attic' }, at + 25), { code: 'restricted-later' });
  await submit('enrol', { badge: blue, person: ben, doors: '*' }, at + 26);
  t.match(await submit('reactivate', { badge: blue }, at + 27), { code: 'restricted-later' });
  t.match(await submit('reactivate', { badge: blue }, at + 31), { t: 'accept' });
  t.match(await submit('unlock', { door: 'shop' }, at + 21), { t: 'accept' });
});

t.test('the badges of a suspended person are suspended with them', async (t) => {
  const { ledger, submit, rights } = await house();
  await submit('enrol', { badge: red, person: ada, doors: '*' });
  ledger.set('membership', 'people', ada, { status: 'suspended', reason: unpaid });
  t.same((await rights()).badges[red], { person: ada, doors: '*', status: 'suspended', reason: unpaid });
});

t.test('a lockdown closes one door until it is unlocked', async (t) => {
  const { submit, rights } = await house();
  t.match(await submit('lockdown', { door: 'shop', reason: 'flood' }), { t: 'accept' });
  t.same((await rights()).doors, { front: { mode: 'normal' }, shop: { mode: 'lockdown' } });
  t.match(await submit('unlock', { door: 'shop' }), { t: 'accept' });
  t.match(await submit('unlock', { door: 'shop' }), { code: 'not-locked-down' });
  t.match(await submit('unlock', { door: 'attic' }), { code: 'unknown-door' });
  t.match(await submit('add-door', { door: 'shop', name: 'Again', node }), { code: 'door-exists' });
});

t.test(
  'a door event is a fact: never denied, irregular where it breaks a rule, and it changes no state',
  async (t) => {
    const { ledger, exchange } = await house();
    const event = { door: 'front', kind: 'tap', outcome: 'granted', code: 'granted', record, table: 3 };
    const before = ledger.snapshot();
    const see = (body: JsonObject, from = node) => ledger.submit(exchange, 'event', null, body, from);
    t.same(await see(event).then(({ t, ...said }) => [t, 'irregular' in said]), ['accept', false]);
    t.match(await see({ ...event, door: 'attic' }), { t: 'accept', irregular: { code: 'unknown-door' } });
    t.match(await see(event, 'f'.repeat(16)), { t: 'accept', irregular: { code: 'not-your-door' } });
    t.match(await see({ ...event, record: { person: ada } }), { irregular: { code: 'plain-personal-data' } });
    t.match(await see({ ...event, person: ada }), { irregular: { code: 'bad-body' } });
    t.match(await see({ ...event, table: -1 }), { irregular: { code: 'bad-body' } });
    t.match(await ledger.submit(exchange, 'event', steward, event), { irregular: { code: 'not-a-node' } });
    t.equal(ledger.snapshot(), before);
  },
);

t.test('the test vetoes badges of unknown people and for unknown doors', async (t) => {
  const { ledger, exchange, submit } = await house();
  await submit('enrol', { badge: red, person: ada, doors: ['front'] });
  ledger.set('door-access', 'doors', 'front', null);
  t.match(await ledger.test(exchange), { t: 'veto', code: 'unknown-door' });
  ledger.set('door-access', 'doors', 'front', { name: 'Front door', node, mode: 'normal' });
  ledger.set('membership', 'people', ada, null);
  t.match(await ledger.test(exchange), { t: 'veto', code: 'unknown-person' });
});

t.test('a rights table too large for one line comes in pages', async (t) => {
  const { ledger, rights } = await house();
  const all = Array.from({ length: 3100 }, (_, i) => i.toString(16).padStart(64, '0'));
  for (const badge of all)
    ledger.set('door-access', 'badges', badge, { person: ada, doors: '*', status: 'active', enrolled: 0 });
  const first = (await rights()) as unknown as { badges: JsonObject; next?: string };
  t.equal(Object.keys(first.badges).length, 3000);
  const second = await rights({ after: first.next as string });
  t.same([...Object.keys(first.badges), ...Object.keys(second.badges)], all);
  t.notOk('next' in second);
  const long = { ...lost, ct: 'L'.repeat(8000) };
  for (const badge of all.slice(0, 300))
    ledger.set('door-access', 'badges', badge, { person: ada, doors: '*', status: 'revoked', reason: long });
  const found: string[] = [];
  for (let after: string | undefined = ''; after !== undefined;) {
    const page = (await rights({ after })) as unknown as { badges: JsonObject; next?: string };
    t.ok(JSON.stringify(page).length < 1_000_000, 'also where the reasons are long');
    found.push(...Object.keys(page.badges));
    after = page.next;
  }
  t.same(found, all);
});
