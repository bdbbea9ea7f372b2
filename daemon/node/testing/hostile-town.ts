/** For tests: a town of the real nodes alpha and beta, whose third validator gamma is played by the test. */
import { join } from 'node:path';
import type { Test } from 'tap';
import { sha256 } from '../../ledger/hash.js';
import type { Sha256 } from '../../ledger/ids.js';
import type { HeadsBody } from '../../sync/bodies.js';
import { startBroker } from '../../sync/broker.js';
import { agree, CoreNode, genesisOf, keysOf, scratchFolder, until } from './core-town.js';
import { HostileNode } from './hostile-node.js';

export const NAMES = ['alpha', 'beta', 'gamma'];
export const hash = (word: string): Sha256 => sha256(word);
export const stranger = keysOf('stranger');

/** The real nodes alpha and beta, and gamma, whom the test plays. */
export async function townWithLiar(
  t: Test,
  { url, before }: { url?: string; before?: (gamma: HostileNode) => Promise<void> } = {},
) {
  const folder = scratchFolder();
  const broker = url === undefined ? await startBroker(0) : null;
  const address = url ?? `mqtt://127.0.0.1:${broker?.port}`;
  const genesis = genesisOf(NAMES);
  const town = genesis.merge.content;
  const gamma = await HostileNode.open('gamma', town, address, NAMES);
  await before?.(gamma);
  const start = (name: string): Promise<CoreNode> =>
    CoreNode.start({ folder: join(folder.path, name), name, genesis, url: address });
  const [alpha, beta] = (await Promise.all(['alpha', 'beta'].map(start))) as [CoreNode, CoreNode];
  const all = [alpha, beta];
  t.teardown(async () => {
    for (const node of all) await node.stop();
    await gamma.client.endAsync(true);
    await broker?.close();
    folder.remove();
  });
  await alpha.claim('ada', 'member.found', {}, ['alpha']);
  await until('the founding', () => agree(all) && alpha.head.height > 0, all);
  return { alpha, beta, gamma, all, town, url: address };
}

let notes = 0;

/** Both record something, merge it, and complain of nothing but what they should. */
export async function goOn(t: Test, all: readonly CoreNode[], alarms: RegExp | null = null): Promise<void> {
  const heights = all.map(({ head }) => head.height);
  const keys = await Promise.all(
    all.map(async (node) => {
      const key = `on-${(notes += 1)}`;
      await node.claim('ada', 'notes.put', { key, value: notes });
      return key;
    }),
  );
  const merged = (): boolean => keys.every((key) => all.every((node) => node.note(key) !== undefined));
  await until('the town to go on', () => merged() && new Set(all.map(({ head }) => head.id)).size === 1, all);
  t.ok(
    all.every(({ head }, i) => head.height > (heights[i] as number)),
    'the nodes go on merging',
  );
  const undeserved = all.flatMap((node) => node.alarms).filter((alarm) => !alarms?.test(alarm));
  t.same(undeserved, [], 'no alarm that is not deserved');
}

const countOf = (node: CoreNode, code: string): number => node.refused()[code] ?? 0;

/** Does something, and waits until each of these nodes has refused something by that name. */
export async function refusedBy(nodes: readonly CoreNode[], code: string, act: () => unknown): Promise<void> {
  const before = nodes.map((node) => countOf(node, code));
  await act();
  const all = (): boolean => nodes.every((node, i) => countOf(node, code) > (before[i] as number));
  await until(`a refusal ${code}`, all, nodes, 90_000);
}

/** As people do with `town sync`: who failed before is asked again at once. */
export function syncAll(nodes: readonly CoreNode[]): void {
  for (const { peering } of nodes) void peering.syncNow();
}

export const headsOf = ({ head }: CoreNode, tips: HeadsBody['tips'] = {}, more = 0): HeadsBody => ({
  height: head.height + more,
  main: more > 0 ? hash('a promise') : head.id,
  tips,
});
