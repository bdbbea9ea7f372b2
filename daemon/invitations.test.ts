/**
 * A real daemon whose invitations are shown by those who may not come in: twice, too late, taken back, of another town. Each is
 * told why, the host counts it by its name, and nothing in the town has moved.
 */
import { randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import t from 'tap';
import { hexOf } from './ledger/hash.js';
import type { Millis, NodeId, Sha256 } from './ledger/ids.js';
import { systemClock, type Clock } from './node/clock.js';
import { readPackages } from './node/dapp-set.js';
import { joinTown } from './node/join-town.js';
import type { NodeInvited, NodesView } from './node/node-cases.js';
import type { StatusView } from './node/use-cases.js';
import { startBroker } from './sync/broker.js';
import { invitationCode, readInvitationCode } from './sync/invitation.js';
import { answerTopic, startAsking, stepAsker, type AskerOutput } from './sync/joining-asker.js';
import { joinTopic, sealJoining } from './sync/joining.js';
import { MqttTransport } from './sync/mqtt-transport.js';
import { eventually } from './testing/eventually.js';
import { apiOf, setUp, signIn, startTown, type Api, type RunningTown } from './testing/running-town.js';

t.setTimeout(600_000);

const HOUR_MS = 3_600_000;
const packagesFolder = fileURLToPath(new URL('../packages', import.meta.url));

/** A clock that is wrong by so much. */
const clockAhead = (ms: number): Clock => ({ ...systemClock, now: () => (Date.now() + ms) as Millis });

/** For a daemon's process: the time in which nobody came by has passed. */
const timePasses = (ms: number): string =>
  `data:text/javascript,const now = Date.now; Date.now = () => now() + ${ms};`;

interface Host {
  readonly town: RunningTown;
  readonly api: Api;
}

/** Sets a town up, with nothing left that would still be merged. */
async function founded(town: RunningTown): Promise<Host> {
  const { api } = await setUp(town);
  await api('POST', '/api/ledger/merge');
  return { town, api };
}

const seen = async ({ api }: Host): Promise<NodesView> => (await api('GET', '/api/nodes')).body as NodesView;

const statusOf = async ({ town }: Host): Promise<StatusView> =>
  (await apiOf(town)('GET', '/api/status')).body as StatusView;

/** What may not move, whoever asks: main, what is recorded, who is a node. */
async function standing(host: Host) {
  const { main, pendingEntries, alarm } = await statusOf(host);
  const { nodes } = await seen(host);
  return { main, pendingEntries, alarm, nodes: nodes.map(({ id }) => id) };
}

async function invite({ api }: Host): Promise<NodeInvited> {
  const { status, body } = await api('POST', '/api/nodes/invitations', { role: 'door' });
  if (status !== 200) throw new Error(JSON.stringify(body));
  return body as NodeInvited;
}

const stateOf = async (host: Host, id: string) =>
  (await seen(host)).invitations?.find((invitation) => invitation.id === id)?.state;

const asked = (host: Host, id: string): Promise<string> =>
  eventually(
    'a node waits for the steward',
    async () => (await seen(host)).invitations?.find((each) => each.id === id)?.asker?.node,
  );

const refusals = async (host: Host, code: string): Promise<number> =>
  (await seen(host)).refused.find((each) => each.code === code)?.count ?? 0;

t.test('who shows an invitation and may not come in is told why, and the host stands still', async (t) => {
  const root = t.testdir();
  const packages = await readPackages(packagesFolder);
  const broker = await startBroker(0);
  const url = `mqtt://127.0.0.1:${broker.port}`;
  const stopped = new AbortController();
  const start = (name: string, preload?: string): Promise<RunningTown> =>
    startTown(join(root, name), {
      arguments: ['--broker', url],
      ...(preload === undefined ? {} : { preload }),
    });
  let host = await start('host').then(founded);
  t.teardown(async () => {
    stopped.abort();
    await host.town.stop();
    await broker.close();
  });
  const restart = async (preload?: string): Promise<void> => {
    await host.town.kill();
    const town = await start('host', preload);
    host = { town, api: await signIn(town, 'Ada') };
  };
  const folderOf = (name: string): string => join(root, name);
  /** A board that asks to join. Resolves to `joined`, or to why it is not let in. */
  const shows = (name: string, code: string, clock = systemClock): Promise<string> => {
    const { signal } = stopped;
    const options = { code, name, packages, clock, signal, onProgress: () => undefined };
    return joinTown(folderOf(name), options).then(
      () => 'joined',
      (error: { code?: string; message: string }) => error.code ?? error.message,
    );
  };
  const isFree = async (name: string): Promise<boolean> =>
    !(await readdir(folderOf(name))).some((file) => /^(town\.db|joining\.json|joined\.json)/.test(file));

  await t.test('used twice', async (t) => {
    const { id, link } = await invite(host);
    const first = shows('first', link);
    const node = await asked(host, id);
    const before = await standing(host);
    t.equal(await shows('thief', link), 'invitation-used');
    t.ok(await isFree('thief'), 'it has nothing of the town');
    t.equal(await refusals(host, 'invitation-used'), 1);
    t.equal(await asked(host, id), node, 'the one that came first waits as before');
    t.same(await standing(host), before);

    await host.api('POST', `/api/nodes/invitations/${id}/approve`, { node });
    await host.api('POST', '/api/ledger/merge');
    t.equal(await first, 'joined');
    const after = await standing(host);
    t.same(after.nodes.toSorted(), [...before.nodes, node].toSorted());
    t.equal(await shows('late', link), 'invitation-used', 'also when all is over');
    await restart();
    t.equal(await shows('thief', link), 'invitation-used', 'also after a cut of the power');
    t.equal(await refusals(host, 'invitation-used'), 1);
    t.same(await standing(host), after);
  });

  await t.test('taken back', async (t) => {
    const { id, link } = await invite(host);
    const waits = shows('unwanted', link);
    await asked(host, id);
    const before = await standing(host);
    t.equal((await host.api('DELETE', `/api/nodes/invitations/${id}`)).status, 204);
    t.equal(await waits, 'invitation-withdrawn');
    t.equal(await stateOf(host, id), 'withdrawn');
    t.ok(await isFree('unwanted'));

    const unseen = await invite(host);
    await host.api('DELETE', `/api/nodes/invitations/${unseen.id}`);
    t.equal(await stateOf(host, unseen.id), undefined, 'nobody has seen it: it is gone');
    const { expires } = readInvitationCode(unseen.link, 0);
    // Nobody tells it anything, as with a wrong code: it gives up when the invitation runs out, in three seconds by its clock.
    const late = shows('too-late', unseen.link, clockAhead(expires - Date.now() - 3_000));
    t.equal(await late, 'invitation-expired');
    t.ok((await refusals(host, 'unknown-invitation')) >= 1);
    t.same(await standing(host), before);
  });

  await t.test('for another town', async (t) => {
    const otherTown = await start('other');
    t.teardown(() => otherTown.stop());
    const other = await founded(otherTown);
    const [ours, theirs] = [await invite(host), await invite(other)].map(({ link }) =>
      readInvitationCode(link, 0),
    );
    if (!ours || !theirs) throw new Error('Both have invited.');
    const before = [await standing(host), await standing(other)];

    // Rewritten to name this town, theirs is one that this host never made.
    const unknown = await refusals(host, 'unknown-invitation');
    const forged = invitationCode({ ...theirs, town: ours.town, host: ours.host });
    const lost = shows('lost', forged, clockAhead(theirs.expires - Date.now() - 3_000));
    t.equal(await lost, 'invitation-expired');
    t.ok((await refusals(host, 'unknown-invitation')) > unknown);

    // With a secret of this host, but signed for the other town.
    const state = startAsking({
      invitation: { ...ours, town: theirs.town },
      name: 'Astray',
      secretKey: randomBytes(32),
      sealingSecret: randomBytes(32),
      nonce: hexOf(randomBytes(16)),
    });
    const asker = { ...state, invitation: ours };
    const outputs = await new Promise<readonly AskerOutput[]>((told) => {
      const transport: MqttTransport = new MqttTransport({
        url,
        subscriptions: [answerTopic(asker)],
        events: {
          connected: () =>
            transport.publish(
              joinTopic(ours.town as Sha256, ours.id, 'ask'),
              sealJoining(ours, 'ask', asker.ask),
              false,
            ),
          disconnected: () => undefined,
          tooLarge: () => undefined,
          delivered: ({ topic, payload, retained }) => {
            const text = Buffer.from(payload).toString('utf8');
            told(stepAsker(asker, { t: 'message', topic, payload: text, retained, now: Date.now() }).outputs);
          },
        },
      });
      t.teardown(() => transport.stop());
      transport.start();
    });
    t.match(outputs, [{ t: 'failed', error: { code: 'other-town' } }]);
    t.equal(await refusals(host, 'other-town'), 1);
    t.equal(await stateOf(host, ours.id), 'open', 'who may use it still can');
    t.same([await standing(host), await standing(other)], before);
    t.same((await seen(other)).refused, [], 'the other town was not bothered');
  });

  await t.test('expired', async (t) => {
    const { id, link } = await invite(host);
    const before = await standing(host);
    const asks = await refusals(host, 'invitation-expired');
    t.equal(await shows('too-slow', link, clockAhead(25 * HOUR_MS)), 'invitation-expired');
    t.equal(await refusals(host, 'invitation-expired'), asks, 'who knows the time does not even ask');

    await restart(timePasses(25 * HOUR_MS));
    t.equal(await stateOf(host, id), 'expired');
    t.equal(await shows('slow-clock', link), 'invitation-expired', 'the clock of the host counts');
    t.equal(await refusals(host, 'invitation-expired'), 1);
    t.ok(await isFree('slow-clock'));
    t.same(await standing(host), before);
    await restart();
    const first = shows('slow-clock', link);
    const node: NodeId | string = await asked(host, id);
    t.type(node, 'string', 'the same board is heard while the invitation holds');
    await host.api('POST', `/api/nodes/invitations/${id}/refuse`, { reason: 'Not today.' });
    t.equal(await first, 'turned-away');
  });
});
