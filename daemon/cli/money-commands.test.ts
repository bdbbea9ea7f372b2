/** `town allowance`, `town due` and how members stand: against the real daemon, and what is wrong with the words. */
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { AllowancesView } from '../node/money-cases.js';
import type { MemberView, StatusView } from '../node/use-cases.js';
import { runTown, startDaemon, type Ended } from './run-town.fixture.js';
import { serve } from './served-town.fixture.js';

// Each command is a process of its own.
t.setTimeout(600_000);

const recorded = { entry: 'e'.repeat(64), state: 'pending' };
const nothing = { balance: null, locked: null, incoming: null, here: true };
const members = [
  { id: 'm0123456789abcdef', name: 'Ada', roles: ['steward'], status: 'active', ...nothing },
  { id: 'mfedcba9876543210', name: 'Bob', roles: [], status: 'suspended', ...nothing },
];
const allowance = {
  ...{ member: 'mfedcba9876543210', memberName: 'Bob', node: '0123456789abcdef', nodeName: 'shed' },
  ...{ here: false, amount: 40, coming: 10, fence: { n: 7, until: 1_700_000_000_000 } },
};
const due = {
  ...{ id: 'd'.repeat(64), member: 'mfedcba9876543210', memberName: 'Bob', to: 'vault', toName: null },
  ...{ amount: 12, entry: 'd'.repeat(64), since: 1_700_000_000_000, can: ['waive'] },
};

t.test('what is asked of the daemon, and how it is told', async (t) => {
  const { town, asked } = await serve(t, {
    'GET /api/members': [200, members],
    'GET /api/allowances': [200, { most: 200, fenceWaitMs: 604_800_000, items: [allowance] }],
    'POST /api/allowances/fences': [200, recorded],
    'GET /api/dues': [200, [due]],
    [`POST /api/dues/${due.id}/payments`]: [200, recorded],
    [`POST /api/dues/${due.id}/waiver`]: [200, recorded],
    'POST /api/members/mfedcba9876543210/suspension': [200, recorded],
    'DELETE /api/members/mfedcba9876543210/suspension': [200, recorded],
    'POST /api/members/leave': [200, recorded],
  });
  const done = async (...words: string[]): Promise<string> => {
    const ended = await town(...words);
    t.equal(ended.code, 0, `town ${words.join(' ')} → ${ended.stderr}`);
    return ended.stdout;
  };
  t.match(await done('allowance', 'list'), /Bob +shed +40 +10 more once merged, closes 2023-11-14/);
  t.match(await done('allowance', 'fence', 'bob', 'shed'), /goes back 7 days after this is merged/);
  t.same(asked[asked.length - 1]?.body, {
    member: 'mfedcba9876543210',
    node: '0123456789abcdef',
    cosigners: [],
  });
  t.match(await done('due', 'list'), /dddddddddddd +Bob +the town +12 +2023-11-14 .* +waive/);
  t.match(await done('due', 'pay', 'dddd', '5'), /5 credits of what is due are paid to the town/);
  t.match(await done('due', 'waive', 'dddd'), /Bob does not owe the 12 credits any more/);
  t.match(await done('member', 'list'), /Bob +suspended/);
  t.match(await done('member', 'suspend', 'Bob', '--reason', 'noise'), /Bob is suspended/);
  t.same(asked[asked.length - 1]?.body, { reason: 'noise' });
  t.match(await done('member', 'reinstate', 'Bob'), /Bob is reinstated/);
  t.match(await done('member', 'leave', '--yes'), /You have left the town/);
  const unsure = await town('member', 'leave');
  t.equal(unsure.code, 2, 'nobody leaves by accident');
  t.match((await town('allowance', 'open', 'shed', '0')).stderr, /whole number of credits, 1 or more/);
  t.match((await town('due', 'pay', 'ffff')).stderr, /There is no due/);
});

t.test('at a real board: put, pay, take back', async (t) => {
  const place = t.testdir();
  const [folder, state] = [join(place, 'town'), join(place, 'state')];
  const town = (...words: string[]): Promise<Ended> =>
    runTown(['--json', ...words], {
      env: { TOWN_DATA: folder, XDG_STATE_HOME: state, TOWN_PASSPHRASE: 'seven green bottles hanging' },
    });
  const done = async <T>(t: Test, ...words: string[]): Promise<T> => {
    const ended = await town(...words);
    t.equal(ended.code, 0, `town ${words.join(' ')} → ${ended.stderr}`);
    return JSON.parse(ended.stdout || 'null') as T;
  };
  await done(t, 'init', '--name', 'Testhausen');
  const daemon = await startDaemon(folder);
  t.teardown(() => daemon.stop());
  await done(t, 'setup', daemon.setupLink as string, '--name', 'Ada');
  await done(t, 'merge');
  const { node } = await done<StatusView>(t, 'status');
  await done(t, '--wait', 'allowance', 'open', node.name, '80');
  const { items } = await done<AllowancesView>(t, 'allowance', 'list');
  t.match(items, [{ amount: 80, coming: 0, here: true, nodeName: node.name }]);
  await done(t, '--wait', 'allowance', 'pay', 'vault', '30', '--memo', 'wood');
  t.match(await town('allowance', 'pay', 'vault', '51'), { code: 1, stderr: /"allowance-short"/ });
  await done(t, '--wait', 'allowance', 'return');
  const [ada] = await done<MemberView[]>(t, 'member', 'list');
  t.equal(ada?.balance, 470);
  t.same((await done<AllowancesView>(t, 'allowance', 'list')).items, []);
});
