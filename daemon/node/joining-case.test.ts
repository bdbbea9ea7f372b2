/** A fresh board that is asked to do two things at once: join twice, or be set up while it joins. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import { sha256 } from '../ledger/hash.js';
import { Store } from '../store/store.js';
import { startBroker } from '../sync/broker.js';
import type { Asker } from '../sync/joining-host.js';
import { eventually } from '../testing/eventually.js';
import { systemClock } from './clock.js';
import { readPackages } from './dapp-set.js';
import { initTown } from './init-town.js';
import { Joining } from './joining-case.js';
import { isJoining } from './joining-files.js';
import { readNodeKeys } from './key-files.js';
import { SetupLock } from './setup-lock.js';
import { JoiningHostOverMqtt } from './testing/joining-host-over-mqtt.js';

const packagesFolder = fileURLToPath(new URL('../../packages', import.meta.url));
const packages = await readPackages(packagesFolder);
const dapps = packages.map(({ manifest, digest }) => ({
  ...{ name: manifest.name, version: manifest.version },
  digest,
}));

t.setTimeout(600_000);

async function freshBoard(t: Test) {
  const broker = await startBroker(0);
  const asked: { readonly id: string; readonly asker: Asker }[] = [];
  const host = new JoiningHostOverMqtt(dapps, `mqtt://127.0.0.1:${broker.port}`, (_host, id, asker) => {
    asked.push({ id, asker });
  });
  const folder = await mkdtemp(join(tmpdir(), 'mergetown-fresh-'));
  await initTown(folder, { name: 'Own', preset: 'makerspace', packagesFolder, clock: systemClock });
  const store = await Store.open(folder, { onFatal: (error) => Promise.reject(error) });
  await store.setMeta('setup-token', sha256('token'));
  const board = { needsSetup: true, joined: 0 };
  const setupLock = new SetupLock();
  const joining = new Joining({
    ...{ folder, store, packages, setupLock },
    keys: await readNodeKeys(folder),
    clock: systemClock,
    status: () => ({
      ...{ needsSetup: board.needsSetup, height: 0 },
      town: { id: sha256('own'), name: 'Own', preset: 'makerspace' },
    }),
    onJoined: () => void (board.joined += 1),
  });
  t.teardown(async () => {
    await joining.stop();
    await store.close();
    await host.stop();
    await broker.close();
    await rm(folder, { recursive: true, force: true });
  });
  const start = (code: string) => joining.start({ token: 'token', code, name: 'Back room' });
  const letIn = async (): Promise<void> => {
    const { id, asker } = await eventually('a steward is asked', () => asked.at(-1));
    host.approve(id, asker, asker.name);
  };
  return { board, folder, host, joining, letIn, setupLock, start };
}

t.test('asked to join twice at once, it asks once and joins once', async (t) => {
  const { board, host, joining, letIn, setupLock, start } = await freshBoard(t);
  const code = host.invite();
  const views = await Promise.all([start(code), start(code), joining.resume()]);
  t.match(views[0], { state: 'asking' });
  t.match(views[1], { town: 'Wólka' });
  await letIn();
  await eventually('it has joined', () => joining.view().state === 'joined');
  await sleep(300);
  t.equal(board.joined, 1);
  t.equal(host.asked.length, 1);
  await t.rejects(start(host.invite()), { code: 'busy' });
  await t.rejects(
    setupLock.whileSettingUp(() => Promise.resolve()),
    { code: 'joining' },
    'nobody becomes steward of the town that is set aside',
  );
});

t.test('of two invitations at once the later one counts', async (t) => {
  const { board, host, joining, letIn, start } = await freshBoard(t);
  await Promise.all([start(host.invite('hub')), start(host.invite('door'))]);
  await sleep(300);
  await letIn();
  await eventually('it has joined', () => joining.view().state === 'joined');
  await sleep(300);
  t.equal(board.joined, 1);
});

t.test('a setup that is under way when the welcome comes is waited for, and wins', async (t) => {
  const { board, folder, host, joining, letIn, setupLock, start } = await freshBoard(t);
  await start(host.invite());
  let finish = (): void => undefined;
  const setup = setupLock.whileSettingUp(() => new Promise<void>((resolve) => (finish = resolve)));
  await letIn();
  await eventually('the welcome is here', () =>
    setupLock
      .whileSettingUp(() => Promise.resolve())
      .then(
        () => false,
        ({ code }: { code: string }) => code === 'joining',
      ),
  );
  t.not(joining.view().state, 'joined');
  board.needsSetup = false;
  finish();
  await setup;
  await eventually('it keeps its own town', () => joining.view().state === 'failed');
  t.match(joining.view().error, { code: 'setup-used' });
  t.notOk(await isJoining(folder));
  t.equal(board.joined, 0);
  await setupLock.whileSettingUp(() => Promise.resolve());
});
