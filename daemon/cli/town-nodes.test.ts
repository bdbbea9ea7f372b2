/** The `town` command against real daemons: a second board is invited, let in, made a validator, and misses. */
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { NodeInvited, NodesView } from '../node/node-cases.js';
import type { EntryView, StatusView } from '../node/use-cases.js';
import { runTown, startDaemon, type Daemon, type Ended } from './run-town.fixture.js';

t.setTimeout(600_000);

const place = t.testdir();
const env = { XDG_STATE_HOME: join(place, 'state'), TOWN_PASSPHRASE: 'seven green bottles hanging' };
const folders = { first: join(place, 'first'), second: join(place, 'second') };
const daemons: { first?: Daemon; second?: Daemon } = {};

const town = (...words: string[]): Promise<Ended> =>
  runTown(words, { env: { ...env, TOWN_DATA: folders.first } });

/** A command at the first board that must go well; its JSON answer. */
async function done<T>(t: Test, ...words: string[]): Promise<T> {
  const ended = await town('--json', ...words);
  t.equal(ended.code, 0, `town ${words.join(' ')} → ${ended.stderr}`);
  return JSON.parse(ended.stdout) as T;
}

/** A command at the first board that must not; what it says. */
async function refused(t: Test, ...words: string[]): Promise<string> {
  const ended = await town(...words);
  t.equal(ended.code, 1, `town ${words.join(' ')} is refused: ${ended.stdout}`);
  t.equal(ended.stdout, '');
  t.match(ended.stderr, /^error: .+\.\n( {2}.+\n)?$/, 'one line what, one line what to do');
  return ended.stderr;
}

const list = (t: Test): Promise<NodesView> => done<NodesView>(t, 'node', 'list');

/** Asks every so often, for a minute at most. */
async function until(t: Test, holds: (view: NodesView) => boolean, what: string): Promise<NodesView> {
  const end = Date.now() + 60_000;
  for (;;) {
    const view = await list(t);
    if (holds(view)) return view;
    if (Date.now() > end) throw new Error(`waited a minute for: ${what}: ${JSON.stringify(view)}`);
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
}

const otherOf = ({ nodes }: NodesView) => nodes.find(({ self }) => !self);
let withdrawn: NodeInvited;
let second: string;

t.test('a town of one board says so', async (t) => {
  daemons.first = await startDaemon(folders.first);
  await done(t, 'setup', daemons.first.setupLink!, '--name', 'Ada');
  // Also makes the rest of this file fast.
  await done(t, 'charter', 'set', '/pace/interactiveMs=0', '--wait');
  const view = await list(t);
  t.match(view, {
    nodes: [{ self: true, validator: true, state: 'merged' }],
    validators: { count: 1, quorum: 1, mayBeOff: 0, heard: 1 },
    broker: { embedded: true },
    invitations: [],
  });
  t.match((await town('node', 'list')).stdout, /1 validator, which must sign each merge; none may be off/);
  t.match((await town('sync')).stdout, /no other node yet.*town node invite/);
  const { stdout } = await town('status');
  t.match(stdout, /^nodes +no other node yet$/m);
  t.match(await refused(t, 'node', 'remove', view.nodes[0]!.name), /cannot take out itself/);
  t.match(await refused(t, 'node', 'validator', view.nodes[0]!.id, 'off'), /nobody could make a merge/);
});

t.test('an invitation is made, listed and taken back', async (t) => {
  t.match(await refused(t, 'node', 'approve', '--yes'), /No node waits.*\n.*town node invite/);
  withdrawn = await done<NodeInvited>(t, 'node', 'invite', '--role', 'hub', '--hours', '1');
  t.match(withdrawn, { link: `mergetown:join#${withdrawn.code}`, qr: { svg: /^<svg/ } });
  t.ok(withdrawn.expiresAt > Date.now() && withdrawn.expiresAt <= Date.now() + 3_600_000);
  const shown = await town('node', 'invite');
  t.match(shown.stdout, /link {2}mergetown:join#\S+\ncode {2}\S+\n\n█+\n/);
  t.match(shown.stdout, /Only this machine reaches the broker/, 'the embedded one listens on loopback');
  t.match((await list(t)).invitations, [{ state: 'open' }, { state: 'open' }]);
  t.match(await refused(t, 'node', 'approve', withdrawn.id, '--yes'), /No node has shown.*\n.*town join/);
  t.match(await refused(t, 'node', 'refuse', withdrawn.id, 'why not'), /No node has shown/);
  await done(t, 'node', 'withdraw', withdrawn.id.slice(0, 8));
  t.match((await list(t)).invitations, [{ state: 'open' }], 'the other one stands');
  t.match(await refused(t, 'node', 'withdraw', withdrawn.id), /no invitation with the id/);
  t.match(await refused(t, 'node', 'invite', '--broker', 'http://board'), /mqtt:\/\/192/);
});

t.test('a second board shows an invitation, waits, and is let in after its id was compared', async (t) => {
  const { id, code } = await done<NodeInvited>(t, 'node', 'invite');
  const joining = runTown(
    ['--json', '--data', folders.second, 'join', code, '--name', 'Workshop', '--port', '0', '--no-start'],
    { env },
  );
  const waiting = await until(
    t,
    ({ invitations }) => invitations?.some(({ state }) => state === 'asked') === true,
    'somebody to ask',
  );
  const asked = waiting.invitations!.find(({ state }) => state === 'asked');
  t.match(asked, { id, asker: { name: 'Workshop' } });
  second = asked!.asker!.node;
  const unsure = await town('node', 'approve');
  t.equal(unsure.code, 2, 'nobody is let in by a command that nobody confirmed');
  t.ok(unsure.stderr.includes(second));
  t.match((await town('node', 'list')).stdout, new RegExp(`town node approve ${second}`));
  const approved = await done<{ entry: string; state: string }>(t, 'node', 'approve', '--yes', '--wait');
  t.match(approved, { state: 'merged' });
  const joined = await joining;
  t.equal(joined.code, 0, joined.stderr);
  t.ok(joined.stdout.includes(second), 'it says its own id');
  t.match(otherOf(await list(t)), { id: second, name: 'Workshop', validator: false, state: 'merged' });
  t.match(await refused(t, 'node', 'approve', id, '--yes'), /it has its keys already/);
});

t.test('a node that is not heard becomes no validator by mistake', async (t) => {
  const said = await refused(t, 'node', 'validator', 'workshop', 'on');
  t.match(said, new RegExp(`not connected.*\n.*town node validator ${second} on --anyway`));
});

t.test('the second board runs, is heard, and signs merges', async (t) => {
  daemons.second = await startDaemon(folders.second);
  await until(t, (view) => otherOf(view)?.connected === true, 'the second board to be heard');
  const synced = await done<NodesView>(t, 'sync');
  const height = synced.nodes.find(({ self }) => self)?.height;
  t.match(otherOf(synced), { height, ahead: { merges: 0 }, behind: { merges: 0 } });
  t.match((await town('sync')).stdout, /has all that these have: Workshop\./);
  await done(t, 'node', 'validator', 'Workshop', 'on', '--wait');
  const { entry } = await done<{ entry: string }>(t, 'person', 'add', 'Bob', '--wait');
  const { entry: shown } = await done<{ entry: EntryView }>(t, 'show', entry);
  const merge = await done<{ merge: { attestedBy: string[] } }>(t, 'show', shown.merge!);
  t.ok(merge.merge.attestedBy.includes(second), 'both have signed it');
  t.match(await refused(t, 'node', 'remove', 'Workshop'), /is a validator\.\n.*Take that back/);
  t.match(await done<StatusView>(t, 'status'), {
    validators: { count: 2, quorum: 2, mayBeOff: 0, heard: 2 },
    peers: { count: 1, connected: 1 },
  });
});

t.test('it steps back from signing, and is taken out', async (t) => {
  await done(t, 'node', 'validator', 'Workshop', 'off', '--wait');
  await done(t, 'node', 'remove', second.slice(0, 6), '--wait');
  t.equal(otherOf(await list(t)), undefined);
  t.match(await refused(t, 'node', 'remove', 'Workshop'), /There is no node/);
});

t.teardown(async () => {
  await daemons.second?.stop();
  await daemons.first?.stop();
});
