/** Allowances, dues and the standing of members at the real daemon, by its API. */
import t from 'tap';
import {
  apiOf,
  PASSPHRASE,
  setUp,
  signIn,
  startTown,
  type Api,
  type RunningTown,
} from '../testing/running-town.js';
import type { AllowancesView, DueView } from './money-cases.js';
import type { EntryView, MemberView, StatusView } from './use-cases.js';

t.setTimeout(600_000);

const merge = async (api: Api): Promise<void> => void (await api('POST', '/api/ledger/merge'));
const allowances = async (api: Api): Promise<AllowancesView> => (await api('GET', '/api/allowances')).body;
const memberNamed = async (api: Api, name: string): Promise<MemberView> =>
  ((await api('GET', '/api/members')).body as MemberView[]).find((each) => each.name === name) as MemberView;

/** A town with the steward Ada and the member Bob, in which nothing is merged unless it is asked for. */
async function startSlow(folder: string): Promise<{ town: RunningTown; ada: Api; bob: Api }> {
  const town = await startTown(folder);
  const { api: ada } = await setUp(town);
  await ada('POST', '/api/charter/changes', { set: { '/pace/interactiveMs': 3_600_000 }, remove: [] });
  await merge(ada);
  const invited = await ada('POST', '/api/members/invitations', { name: 'Bob' });
  await apiOf(town)('POST', '/api/members/join', { code: invited.body.code, passphrase: PASSPHRASE });
  await merge(ada);
  return { town, ada, bob: await signIn(town, 'Bob') };
}

t.test('credits are put at a node, paid there however many ask at once, and come back', async (t) => {
  const { town, ada, bob } = await startSlow(t.testdir());
  t.teardown(() => town.stop());
  const { node } = (await bob('GET', '/api/status')).body as StatusView;
  const adaId = (await memberNamed(ada, 'Ada')).id;
  const pay = (amount: number, to = adaId) =>
    bob('POST', '/api/allowances/payments', { to, amount, memo: 'coffee' });

  t.match((await pay(1)).body.error, { code: 'allowance-short' }, 'there is none yet');
  t.match((await bob('POST', '/api/allowances', { node: node.id, amount: 201 })).body.error, {
    code: 'allowance-too-large',
  });
  t.equal((await bob('POST', '/api/allowances', { node: node.id, amount: 100 })).status, 200);
  t.match((await allowances(bob)).items, [{ amount: 0, coming: 100, here: true, fence: null }]);
  t.match((await pay(1)).body.error, { code: 'allowance-short', message: /100 more are on their way/ });
  await merge(ada);
  t.match((await allowances(bob)).items, [{ amount: 100, coming: 0, nodeName: node.name }]);
  t.same((await allowances(ada)).items.length, 1, 'a steward sees it too');

  const tries = await Promise.all(Array.from({ length: 15 }, () => pay(10)));
  t.equal(tries.filter(({ status }) => status === 200).length, 10, 'no more than there is');
  t.ok(
    tries.filter(({ status }) => status !== 200).every(({ body }) => body.error.code === 'allowance-short'),
  );
  await merge(ada);
  const { items } = (await ada('GET', '/api/ledger/log?limit=50')).body as { items: EntryView[] };
  const payments = items.filter(({ type }) => type === 'allowance.pay');
  t.equal(payments.length, 10);
  t.ok(
    payments.every(({ verdict }) => verdict === 'accepted'),
    'this node promises nothing that it cannot keep',
  );
  t.match(payments[0]?.says, / paid 10 credits of Bob to Ada$/);
  t.equal(payments[0]?.body['memo'], 'coffee', 'the note is sealed, and read where it may be');
  t.equal((await memberNamed(ada, 'Ada')).balance, 600);

  t.match((await bob('POST', '/api/allowances/returns', {})).body.error, { code: 'no-allowance' });
  await bob('POST', '/api/allowances', { node: node.id, amount: 50 });
  await merge(ada);
  t.equal((await pay(20, 'vault')).status, 200, 'the town itself can be paid');
  t.equal((await bob('POST', '/api/allowances/returns', {})).status, 200);
  t.match((await pay(1)).body.error, { code: 'allowance-short' });
  await merge(ada);
  t.equal((await memberNamed(ada, 'Bob')).balance, 380);
  t.match((await ada('GET', '/api/status')).body.supply, { allowances: 0, suspense: 0 });
});

t.test('who is suspended only looks; who leaves is gone; a fenced allowance pays no more', async (t) => {
  const folder = t.testdir();
  const started = await startSlow(folder);
  const { ada, bob } = started;
  let { town } = started;
  t.teardown(() => town.stop());
  const { node } = (await bob('GET', '/api/status')).body as StatusView;
  const bobId = (await memberNamed(ada, 'Bob')).id;
  const adaId = (await memberNamed(ada, 'Ada')).id;
  await bob('POST', '/api/allowances', { node: node.id, amount: 100 });
  await merge(ada);

  t.match((await bob('POST', `/api/members/${adaId}/suspension`, {})).body.error, { code: 'not-allowed' });
  t.match((await ada('POST', `/api/members/${adaId}/suspension`, {})).body.error, { code: 'last-steward' });
  const reason = 'left the laser on';
  t.equal((await ada('POST', `/api/members/${bobId}/suspension`, { reason })).status, 200);
  t.equal((await memberNamed(ada, 'Bob')).status, 'suspended');
  for (const [path, body] of [
    ['/api/credits/transfer', { to: adaId, amount: 1 }],
    ['/api/allowances', { node: node.id, amount: 1 }],
    ['/api/allowances/payments', { to: adaId, amount: 1 }],
  ] as const)
    t.match((await bob('POST', path, body)).body.error, { code: 'member-suspended' }, path);
  t.equal((await bob('GET', '/api/allowances')).status, 200, 'looking is allowed');
  t.equal((await ada('POST', '/api/credits/transfer', { to: bobId, amount: 5 })).status, 200);
  await merge(ada);
  t.equal((await memberNamed(ada, 'Bob')).balance, 405, 'and receiving');
  t.equal((await ada('DELETE', `/api/members/${bobId}/suspension`)).status, 200);
  const { items } = (await ada('GET', '/api/ledger/log?limit=10')).body as { items: EntryView[] };
  t.match(
    items.map(({ says }) => says),
    [/^Ada reinstated the member Bob$/, /./, /^Ada suspended the member Bob: left the laser on$/],
  );

  const fence = { member: bobId, node: node.id };
  t.equal((await ada('POST', '/api/allowances/fences', fence)).status, 200);
  await merge(ada);
  t.match((await bob('POST', '/api/allowances/payments', { to: adaId, amount: 1 })).body.error, {
    code: 'allowance-fenced',
  });
  t.match((await allowances(bob)).items, [{ amount: 100, fence: { n: Number } }]);
  t.same((await bob('GET', '/api/dues')).body as DueView[], []);

  t.equal((await bob('POST', '/api/members/leave')).status, 200);
  t.match((await bob('POST', '/api/credits/transfer', { to: adaId, amount: 1 })).body.error, {
    code: 'member-left',
  });
  t.match((await ada('POST', '/api/credits/transfer', { to: bobId, amount: 1 })).body.error, {
    code: 'member-left',
  });
  await merge(ada);
  t.match(await memberNamed(ada, 'Bob'), { status: 'left', balance: 0, roles: [] });

  await town.stop();
  town = await startTown(folder);
  const again = await signIn(town, 'Ada');
  t.match(await memberNamed(again, 'Bob'), { status: 'left' });
  t.equal((await again('POST', '/api/allowances/returns', { member: bobId })).status, 200);
  await merge(again);
  t.match((await again('GET', '/api/status')).body.supply, { allowances: 0, suspense: 100 });
  t.equal(
    (await again('POST', '/api/credits/grant', { to: adaId, amount: 100, reason: 'found', from: 'suspense' }))
      .status,
    200,
  );
  await merge(again);
  t.match((await again('GET', '/api/status')).body.supply, { suspense: 0 });
});
