import t from 'tap';
import fc from 'fast-check';
import { inProcess, MemoryLedger } from '../sdk/typescript/memory-ledger.js';
import type { JsonObject } from '../sdk/typescript/contract.js';
import { detailsOf, gigs, type Gig } from './gigs.js';
import { parametersOf } from './parameters.js';

const ada = { member: 'm000000000000000a', roles: ['member'] };
const ben = { member: 'm000000000000000b', roles: ['member'] };
const cem = { member: 'm000000000000000c', roles: ['member', 'steward'] };
const PRICE = 100;
const DAY = 24 * 3600 * 1000;
const parameters = {
  priceMin: 1,
  priceMax: 1000,
  rateWindowMs: 7 * DAY,
  disputeWindowMs: 7 * DAY,
  payoutPercent: [20, 40, 60, 80, 100],
  arbiterRole: 'steward',
};

function town() {
  const ledger = new MemoryLedger('gigs', parameters, 3);
  ledger.set('kernel', 'accounts', 'vault', { available: 10_000, locked: 0 });
  for (const { member } of [ada, ben, cem])
    ledger.set('kernel', 'accounts', `member.${member}`, { available: 500, locked: 0 });
  const exchange = inProcess(gigs);
  const balance = (who: { member: string }) => ledger.balance(`member.${who.member}`).available;
  const vault = () => ledger.balance('vault').available;
  const supply = () =>
    [ada, ben, cem].reduce((sum, { member }) => {
      const { available, locked } = ledger.balance(`member.${member}`);
      return sum + available + locked;
    }, vault());
  const details = detailsOf('Mend the lathe', 'The belt slips.');
  const open = async (price = PRICE) =>
    (
      await ledger.submit(exchange, 'open', ada, {
        title: 'Mend the lathe',
        description: 'The belt slips.',
        price,
      })
    ).entry;
  const step = (verb: string, by: typeof ada, gig: string, more: JsonObject = {}) =>
    ledger.submit(exchange, verb, by, { gig, details, ...more });
  const gig = (id: string) => ledger.get('gigs', 'gigs', id) as unknown as Gig;
  const sound = async () => (await ledger.test(exchange)).t;
  /** Opens a gig and brings it to a status on the usual way. */
  const bring = async (to: 'open' | 'taken' | 'accepted' | 'submitted' | 'rated' | 'disputed', stars = 3) => {
    const id = await open();
    const way: [string, typeof ada, JsonObject][] = [
      ['take', ben, {}],
      ['accept', ada, {}],
      ['submit', ben, {}],
      ['complete', ada, { stars }],
      ['dispute', ben, {}],
    ];
    for (const [verb, by, more] of way) {
      if (gig(id).status === to) break;
      await step(verb, by, id, more);
    }
    return id;
  };
  return { ledger, exchange, balance, vault, supply, open, step, gig, sound, bring, details };
}

t.test('opening a gig locks its price out of the opener’s balance', async (t) => {
  const { ledger, balance, open, gig, sound, details } = town();
  const id = await open();
  t.equal(balance(ada), 400);
  t.match(ledger.get('kernel', 'locks', `gigs.${id}`), { from: `member.${ada.member}`, amount: PRICE });
  t.match(gig(id), { status: 'open', opener: ada.member, taker: null, price: PRICE, details });
  t.equal(await sound(), 'pass');
});

t.test('what does not make a gig is refused with the reason', async (t) => {
  const { ledger, exchange, open, balance } = town();
  const tries: [JsonObject, string][] = [
    [{ title: '', description: '', price: 5 }, 'bad-body'],
    [{ title: 'x'.repeat(81), description: '', price: 5 }, 'bad-body'],
    [{ title: 'x\ny', description: '', price: 5 }, 'bad-body'],
    [{ title: 'x', description: 'y'.repeat(2001), price: 5 }, 'bad-body'],
    [{ title: 'x', description: '', price: 0 }, 'bad-body'],
    [{ title: 'x', description: '', price: 1001 }, 'bad-body'],
    [{ title: 'x', description: '', price: '5' }, 'bad-body'],
    [{ title: 'x', description: '', price: 5, vault: true }, 'bad-body'],
    [{ title: 'x', description: '' }, 'bad-body'],
  ];
  for (const [body, code] of tries)
    t.match(await ledger.submit(exchange, 'open', ada, body), { t: 'reject', code });
  t.match(await ledger.submit(exchange, 'open', null, { title: 'x', description: '', price: 5 }), {
    t: 'reject',
    code: 'members-only',
  });
  t.match(await ledger.submit(exchange, 'frobnicate', ada, {}), { t: 'reject', code: 'unknown-verb' });
  t.match(await ledger.submit(exchange, 'constructor', ada, {}), { t: 'reject', code: 'unknown-verb' });
  await open(400);
  await open(400);
  t.equal(balance(ada), 100, 'the second one was beyond the balance: the kernel refused the lock');
});

t.test('five stars pay the whole price at once', async (t) => {
  const { balance, vault, step, gig, sound, bring } = town();
  const id = await bring('submitted');
  t.match(await step('complete', ada, id, { stars: 5 }), { t: 'accept', notices: [{ member: ben.member }] });
  t.match(gig(id), { status: 'completed', stars: 5, payout: PRICE });
  t.same([balance(ada), balance(ben), vault()], [400, 600, 10_000]);
  t.equal(await sound(), 'pass');
});

t.test('fewer stars wait for the taker, then pay their share; the rest goes to the vault', async (t) => {
  for (const [stars, paid] of [
    [1, 20],
    [2, 40],
    [3, 60],
    [4, 80],
  ] as const) {
    const { balance, vault, step, gig, sound, bring } = town();
    const id = await bring('rated', stars);
    t.match(gig(id), { status: 'rated', stars, payout: paid });
    t.equal(balance(ben), 500, 'nothing is paid yet');
    t.equal(await sound(), 'pass');
    t.match(await step('accept-rating', ada, id), { t: 'reject', code: 'not-yours' });
    t.match(await step('accept-rating', ben, id), { t: 'accept' });
    t.match(gig(id), { status: 'completed', stars, payout: paid });
    t.same([balance(ada), balance(ben), vault()], [400, 500 + paid, 10_000 + PRICE - paid]);
    t.equal(await sound(), 'pass');
  }
});

t.test('payouts are rounded down, and a payout of nothing posts everything to the vault', async (t) => {
  const { ledger, exchange, vault, balance, details, open, step } = town();
  const id = await open(3);
  for (const [verb, by, more] of [
    ['take', ben, {}],
    ['accept', ada, {}],
    ['submit', ben, {}],
    ['complete', ada, { stars: 1 }],
  ] as const)
    await step(verb, by, id, more);
  const said = await ledger.submit(exchange, 'accept-rating', ben, { gig: id, details });
  t.match(said, { postings: [{ op: 'post', id, parts: [{ to: 'vault', amount: 3 }] }] });
  t.same([balance(ben), vault()], [500, 10_003]);
});

t.test('a dispute is settled with any share, by an arbiter who is no party to it', async (t) => {
  for (const [sharePercent, paid] of [
    [0, 0],
    [33, 33],
    [100, 100],
  ] as const) {
    const { balance, step, gig, sound, bring, vault } = town();
    const id = await bring('disputed');
    t.equal(await sound(), 'pass');
    t.match(await step('settle', { ...ben, roles: ['steward'] }, id, { sharePercent }), {
      code: 'party-to-it',
    });
    t.match(await step('settle', { ...cem, roles: ['member'] }, id, { sharePercent }), {
      code: 'not-an-arbiter',
    });
    t.match(await step('settle', cem, id, { sharePercent: 101 }), { code: 'bad-body' });
    t.match(await step('settle', cem, id, { sharePercent }), { t: 'accept' });
    t.match(gig(id), { status: 'settled', payout: paid });
    t.same(
      [balance(ada), balance(ben), vault()],
      [500 - paid, 500 + paid, 10_000],
      'the rest goes to the opener',
    );
    t.equal(await sound(), 'pass');
  }
});

t.test(
  'silence pays: unrated work at 100 %, an undisputed rating at its payout, neither before its time',
  async (t) => {
    const unrated = town();
    const first = await unrated.bring('submitted');
    unrated.ledger.now += 7 * DAY - 1;
    t.match(await unrated.step('close', cem, first), { t: 'reject', code: 'too-early' });
    unrated.ledger.now += 1;
    t.match(await unrated.step('close', cem, first), { t: 'accept' });
    t.match(unrated.gig(first), { status: 'completed', stars: null, payout: PRICE });
    t.equal(unrated.balance(ben), 600);

    const rated = town();
    const second = await rated.bring('rated', 2);
    rated.ledger.now += 7 * DAY;
    t.match(await rated.step('dispute', ben, second), { t: 'reject', code: 'too-late' });
    t.match(await rated.step('close', cem, second), { t: 'accept' });
    t.match(rated.gig(second), { status: 'completed', stars: 2, payout: 40 });
    t.same([rated.balance(ben), rated.vault()], [540, 10_060]);
  },
);

t.test('withdrawing and declining open the gig again; cancelling gives the price back', async (t) => {
  const { balance, step, gig, sound, bring } = town();
  const taken = await bring('taken');
  await step('decline', ada, taken);
  t.match(gig(taken), { status: 'open', taker: null });
  t.match(await step('take', cem, taken), { t: 'accept' });
  t.match(await step('cancel', ada, taken), { t: 'accept', notices: [{ member: cem.member }] });
  t.match(gig(taken), { status: 'cancelled' });
  t.equal(balance(ada), 500);
  const accepted = await bring('accepted');
  t.match(await step('cancel', ada, accepted), { code: 'wrong-status' });
  t.match(await step('withdraw', ben, accepted), { t: 'accept' });
  t.match(gig(accepted), { status: 'open', taker: null });
  t.equal(await sound(), 'pass');
});

t.test(
  'every step is only for the party that owns it, in the status that allows it, on the details agreed',
  async (t) => {
    const { ledger, exchange, step, bring, gig } = town();
    const id = await bring('open');
    t.match(await step('take', ada, id), { code: 'own-gig' });
    t.match(await step('submit', ben, id), {
      code: 'wrong-status',
      reason: 'This step needs a gig that is accepted; this one is open.',
    });
    t.match(await ledger.submit(exchange, 'take', ben, { gig: id, details: 'f'.repeat(64) }), {
      code: 'details-differ',
    });
    t.match(await ledger.submit(exchange, 'take', ben, { gig: id }), { code: 'bad-body' });
    t.match(await step('take', ben, 'e'.repeat(64)), { code: 'unknown-gig' });
    await step('take', ben, id);
    for (const verb of ['accept', 'decline', 'cancel'])
      t.match(await step(verb, ben, id), { t: 'reject', code: 'not-yours' }, verb);
    t.match(await step('withdraw', ada, id), { code: 'not-yours' });
    await step('accept', ada, id);
    t.match(await step('submit', cem, id), { code: 'not-yours' });
    await step('submit', ben, id);
    t.match(await step('complete', ben, id, { stars: 5 }), { code: 'not-yours' });
    t.match(await step('complete', ada, id, { stars: 6 }), { code: 'bad-body' });
    t.equal(gig(id).status, 'submitted');
  },
);

t.test('the test vetoes a gig without its lock, a wrong one, and a lock without its gig', async (t) => {
  const { ledger, exchange, bring } = town();
  const id = await bring('accepted');
  const lock = ledger.get('kernel', 'locks', `gigs.${id}`) as JsonObject;
  ledger.set('kernel', 'locks', `gigs.${id}`, { ...lock, amount: 99 });
  t.match(await ledger.test(exchange, [id]), { t: 'veto', entries: [id], code: 'lock-differs' });
  ledger.set('kernel', 'locks', `gigs.${id}`, null);
  t.match(await ledger.test(exchange), { t: 'veto', code: 'lock-differs' });
  ledger.set('kernel', 'locks', `gigs.${id}`, lock);
  ledger.set('kernel', 'locks', `another.${id}`, lock);
  ledger.set('kernel', 'locks', `zebra.${id}`, lock);
  t.match(await ledger.test(exchange), { t: 'pass' }, 'locks of other dapps are not its business');
  ledger.set('kernel', 'locks', `gigs.${'9'.repeat(64)}`, lock);
  t.match(await ledger.test(exchange), { t: 'veto', code: 'lock-differs' });
});

t.test('whatever anybody tries in any order, credits are conserved and the locks fit the gigs', async (t) => {
  const verbs = [...Object.keys(gigs.verbs)].filter((verb) => verb !== 'open');
  const move = fc.record({
    verb: fc.constantFrom('open', ...verbs),
    by: fc.constantFrom(ada, ben, cem),
    gig: fc.nat(3),
    stars: fc.integer({ min: 1, max: 5 }),
    sharePercent: fc.integer({ min: 0, max: 100 }),
    days: fc.constantFrom(0, 0, 0, 8),
  });
  const property = fc.assert(
    fc.asyncProperty(fc.array(move, { maxLength: 60 }), async (moves) => {
      const { ledger, exchange, supply, sound, details } = town();
      const before = supply();
      const opened: string[] = [];
      for (const { verb, by, gig, stars, sharePercent, days } of moves) {
        ledger.now += days * DAY;
        const id = opened[gig % Math.max(1, opened.length)] ?? 'd'.repeat(64);
        const more = verb === 'complete' ? { stars } : verb === 'settle' ? { sharePercent } : {};
        const body: JsonObject =
          verb === 'open'
            ? { title: 'Mend the lathe', description: 'The belt slips.', price: 1 + stars * 37 }
            : { gig: id, details, ...more };
        const said = await ledger.submit(exchange, verb, by, body);
        if (verb === 'open' && said.t === 'accept') opened.push(said.entry);
        if (said.t !== 'accept' && said.t !== 'reject') return false;
      }
      return supply() === before && (await sound()) === 'pass';
    }),
    { numRuns: 150 },
  );
  await t.resolves(property);
});

t.test('a charter without gig parameters, or with nonsense, gets the published ones', async (t) => {
  const context = (given: JsonObject) => ({ town: '', height: 1, time: 0, tau: 0, parameters: given });
  t.match(parametersOf(context({})), {
    payoutPercent: [20, 40, 60, 80, 100],
    arbiterRole: 'steward',
    priceMin: 1,
  });
  t.match(parametersOf(context({ payoutPercent: [20, 40, 60, 80, 101], rateWindowMs: -1 })), {
    payoutPercent: [20, 40, 60, 80, 100],
    rateWindowMs: 7 * DAY,
  });
});
