/** Three real daemons through an outage, over the embedded broker and over Mosquitto: what every test on this harness stands on. */
import t, { type Test } from 'tap';
import type { EntryView, Recorded } from '../node/use-cases.js';
import { eventually } from './eventually.js';
import { hasMosquitto, startMosquitto } from './test-broker.js';
import { STEWARD_NAME as ADA, TownOfNodes } from './town-of-nodes.js';

t.setTimeout(600_000);

async function goThroughAnOutage(t: Test, brokerPort?: number): Promise<void> {
  const town = await TownOfNodes.open({
    folder: t.testdir(),
    ...(brokerPort === undefined ? {} : { brokerPort }),
  });
  t.teardown(() => town.close());
  const [first, , third] = town.boards;
  if (!first || !third) throw new Error('There are three boards.');
  t.match((await first.status()).validators, { count: 3, quorum: 2, mayBeOff: 1, heard: 3 });

  third.way?.cut();
  const near = await first.post<Recorded>(ADA, '/api/people', { name: 'Near' });
  const far = await third.post<Recorded>(ADA, '/api/people', { name: 'Far' });
  const { height } = await third.status();
  const stateOf = async (board: typeof first, { entry }: Recorded): Promise<string> =>
    (await board.get<{ entry: EntryView }>(`/api/ledger/show/${entry}`)).entry.state;
  await eventually('the two merge', async () => (await stateOf(first, near)) === 'merged', {
    withinMs: 180_000,
  });
  t.equal((await third.status()).height, height, 'the one that was cut off merges nothing alone');
  t.equal(await stateOf(third, far), 'pending');

  third.way?.heal();
  await town.converged();
  for (const board of town.boards)
    t.same(
      [await stateOf(board, near), await stateOf(board, far)],
      ['merged', 'merged'],
      `${board.key} has what both sides recorded`,
    );

  await third.kill();
  await first.post(ADA, '/api/people', { name: 'Meanwhile' });
  await town.converged();
  await town.start(third);
  await town.converged();
  await first.stop();
  await town.start(first);
  await town.converged();
  t.same(await town.gitProblems(), [], 'stock git finds one main and every repository whole');
}

t.test('a cut, a kill and a restart end in one history, over the embedded broker', (t) =>
  goThroughAnOutage(t),
);

t.test('the same over Mosquitto', { skip: !hasMosquitto && 'mosquitto is not installed' }, async (t) => {
  const broker = await startMosquitto(t.testdir(), 0);
  t.teardown(() => broker.kill());
  await goThroughAnOutage(t, broker.port);
});
