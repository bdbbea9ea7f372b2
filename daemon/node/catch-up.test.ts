/** A node that was away stands on the town's newest state long before the history is here, and loses nothing on the way. */
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { startBroker } from '../sync/broker.js';
import {
  agree,
  CoreNode,
  genesisOf,
  scratchFolder,
  until,
  type CoreNodeOptions,
} from './testing/core-town.js';
import { BEHIND_MIN } from './catch-up.js';

t.setTimeout(600_000);

const NAMES = ['alpha', 'beta', 'gamma'];
/** Values in the state: enough for several messages and for folders of folders. */
const VALUES = 700;

/** Alpha merges; gamma is away from the first merge on, and keeps what it has recorded. */
async function townWithoutGamma(t: Test, validators: readonly string[] = ['alpha']) {
  const folder = scratchFolder();
  const broker = await startBroker(0);
  const url = `mqtt://127.0.0.1:${broker.port}`;
  const genesis = genesisOf(NAMES, (charter) => ({
    ...charter,
    validators: validators.map((name) => idOf(charter, name)),
  }));
  const running = new Set<CoreNode>();
  const start = async (name: string, more: Partial<CoreNodeOptions> = {}): Promise<CoreNode> => {
    const node = await CoreNode.start({ folder: join(folder.path, name), name, genesis, url, ...more });
    running.add(node);
    return node;
  };
  const stop = async (node: CoreNode): Promise<void> => {
    running.delete(node);
    await node.stop();
  };
  t.teardown(async () => {
    for (const node of running) await node.stop();
    await broker.close();
    folder.remove();
  });
  const alpha = await start('alpha');
  const gamma = await start('gamma');
  await alpha.claim('ada', 'member.found', {}, ['alpha']);
  await alpha.core.merger.mergeNow();
  await until('the founding', () => agree([alpha, gamma]) && alpha.head.height > 0, [alpha, gamma]);
  await stop(gamma);
  const note = async (key: string): Promise<void> => {
    await alpha.claim('ada', 'notes.put', { key, value: `${key} ${'x'.repeat(100)}` });
  };
  /** So many merges, of which the first fills the state. */
  const goOn = async (merges: number): Promise<void> => {
    for (let i = 0; i < VALUES; i += 50)
      await Promise.all(Array.from({ length: 50 }, (_, k) => note(`v${i + k}`)));
    for (let i = 0; i < merges; i += 1) {
      await note(`m${i}`);
      await alpha.core.merger.mergeNow();
    }
  };
  const late = join(folder.path, 'gamma', 'ahead.objects');
  return { folder, url, start, stop, alpha, note, goOn, late };
}

const idOf = (charter: ReturnType<typeof charterOf>, name: string): string =>
  Object.entries(charter.nodes).find(([, node]) => node.name === name)?.[0] as string;
const charterOf = (node: CoreNode) => node.core.main.charter;

const seen = (node: CoreNode, key: string): string | undefined =>
  node.core.view.state.get('notes', 'notes', key);

/** Holds up what comes of the history until it is told to go on. */
function heldUp(node: CoreNode): () => void {
  let release = (): void => undefined;
  const gate = new Promise<void>((resolve) => (release = resolve));
  const { merger } = node.core;
  const { adoptDecided } = merger;
  merger.adoptDecided = async (...merge) => {
    await gate;
    return adoptDecided.apply(merger, merge);
  };
  return release;
}

t.test('it is of use at once, and goes through the history behind', async (t) => {
  const { start, alpha, goOn, note, late } = await townWithoutGamma(t);
  await goOn(BEHIND_MIN + 4);
  const gamma = await start('gamma', { catchesUp: true });
  const release = heldUp(gamma);
  await until('a state ahead', () => gamma.core.main.ahead !== null, [gamma]);
  t.equal(gamma.head.height, 1, 'of the history nothing is here');
  t.equal(seen(gamma, 'm3'), alpha.note('m3'));
  t.equal(seen(gamma, `v${VALUES - 1}`), alpha.note(`v${VALUES - 1}`));
  t.ok(existsSync(late));
  await gamma.claim('ada', 'notes.put', { key: 'own', value: 'while catching up' });
  t.equal(seen(gamma, 'own'), '"while catching up"', 'it records, judged on what it stands on');
  await t.rejects(
    gamma.core.appender.promise('allowance.spend', {}, () => undefined),
    { code: 'catching-up' },
  );
  await note('later');
  await alpha.core.merger.mergeNow();
  await until('the state to follow the town', () => seen(gamma, 'later') !== undefined, [gamma]);
  t.equal(seen(gamma, 'own'), '"while catching up"');
  release();
  await until('the history', () => gamma.core.main.ahead === null && agree([alpha, gamma]), [alpha, gamma]);
  t.equal(alpha.note('own'), '"while catching up"');
  await until('what was fetched ahead to be gone', () => !existsSync(late), [gamma]);
  t.same([...alpha.alarms, ...gamma.alarms], []);
  t.same(gamma.refused(), {});
});

t.test(
  'interrupted while it fetches, it goes on with what it has; started without the others, it stands where it stood',
  async (t) => {
    const { start, stop, alpha, goOn, late, url } = await townWithoutGamma(t);
    await goOn(BEHIND_MIN + 4);
    await stop(alpha);
    // Small answers, so that there are many.
    const slow = await start('alpha', { peering: { bytesPerSecond: 32 * 1024 } });
    const given = { objects: 0 };
    const { sendWhileOnline } = slow.peering;
    slow.peering.sendWhileOnline = (kind, to, body) => {
      if (kind === 'have' && 'objects' in body) given.objects += JSON.stringify(body).length;
      sendWhileOnline.call(slow.peering, kind, to, body);
    };
    const first = await start('gamma', { catchesUp: true });
    heldUp(first);
    await until('some of the state', () => existsSync(late) && statSync(late).size > 0, [first]);
    await stop(first);
    const before = { size: existsSync(late) ? statSync(late).size : 0, given: given.objects };
    t.ok(before.size > 0, 'what came is kept');
    const second = await start('gamma', { catchesUp: true });
    heldUp(second);
    await until('a state ahead', () => second.core.main.ahead !== null, [second]);
    t.equal(seen(second, 'm3'), slow.note('m3'));
    await stop(second);
    const alone = await start('gamma', { catchesUp: true, url: url.replace(/\d+$/, '1') });
    t.equal(alone.core.main.ahead?.head.height, slow.head.height);
    t.equal(seen(alone, 'm3'), slow.note('m3'));
    await stop(alone);
    const last = await start('gamma', { catchesUp: true });
    await until('the history', () => agree([slow, last]), [slow, last]);
    t.same(last.alarms, []);
  },
);

t.test(
  'where the validators were exchanged it follows them, and trusts none that they did not make one',
  async (t) => {
    const { start, alpha } = await townWithoutGamma(t);
    const beta = await start('beta');
    await until('beta', () => agree([alpha, beta]), [alpha, beta]);
    const charter = charterOf(alpha);
    for (const validators of [['alpha', 'beta'], ['beta']]) {
      const set = { '/validators': validators.map((name) => idOf(charter, name)) };
      await alpha.claim('ada', 'charter.change', { set, remove: [] });
      await alpha.core.merger.mergeNow().catch(() => undefined);
      await until(
        'the validators to change',
        () => agree([alpha, beta]) && charterOf(beta).validators.length === validators.length,
        [alpha, beta],
      );
    }
    await until('beta alone', () => charterOf(alpha).validators.join() === beta.keys.id, [alpha, beta]);
    const height = alpha.head.height;
    for (let i = 0; i < BEHIND_MIN + 2; i += 1) {
      await alpha.claim('ada', 'notes.put', { key: `m${i}`, value: i });
      await until(`merge ${i}`, () => agree([alpha, beta]) && alpha.note(`m${i}`) !== undefined, [
        alpha,
        beta,
      ]);
    }
    const gamma = await start('gamma', { catchesUp: true });
    const release = heldUp(gamma);
    await until(
      'the newest state',
      () => gamma.core.main.ahead?.head.id === beta.head.id && seen(gamma, 'm0') === '0',
      [gamma],
    );
    t.ok(beta.head.height > height);
    release();
    await until('the history', () => agree([alpha, beta, gamma]), [alpha, beta, gamma]);
    t.same(gamma.alarms, []);
  },
);
