/** What must hold when a simulated town has come together: one history, every promise kept, and all of it follows from genesis. */
import type { ToContract } from '../ledger/contract-protocol.js';
import type { EntryId, Sha256 } from '../ledger/ids.js';
import type { Genesis } from '../ledger/merge.js';
import type { StateReader } from '../ledger/state.js';
import { View } from '../node/view.js';
import { TOWN_BEGINS, type SimulatedDapp } from './founding.js';
import type { SimulatedProcess } from './simulated-node.js';
import { replayAsStranger } from './stranger.js';
import { settled, type Chance } from './timeline.js';
import { FORBIDDEN_KEY, SPENDER_KEY } from './workload.js';
import type { Watch } from './watch.js';

const ENTRIES_MAX = 100_000;
const KEYS_MAX = 1_000;

export interface EndReport {
  readonly entries: number;
  /** The main that all nodes ended on, for telling two runs apart. */
  readonly main: Sha256 | null;
  /** Whether the same credits were recorded as spent on two sides. */
  readonly spentTwice: boolean;
}

export interface EndParts {
  readonly processes: readonly SimulatedProcess[];
  readonly genesis: Genesis;
  readonly dapp: SimulatedDapp;
  readonly watch: Watch;
  readonly chance: Chance;
  readonly forbids: readonly EntryId[];
}

/** What people see of a view: accounts, notes, what is forbidden. */
const viewText = (state: StateReader): string =>
  JSON.stringify(
    [
      ['kernel', 'accounts'],
      ['kernel', 'locks'],
      ['kernel', 'incoming'],
      ['notes', 'notes'],
      ['notes', 'forbidden'],
    ].map(([dapp, collection]) =>
      state
        .keys(dapp as string, collection as string, '', KEYS_MAX)
        .map((key) => [key, state.get(dapp as string, collection as string, key)]),
    ),
  );

/** A view that was kept up entry by entry is the one that is judged anew from what is durable. */
export async function checkViews(
  processes: readonly SimulatedProcess[],
  { manifest, contract }: SimulatedDapp,
  watch: Watch,
): Promise<void> {
  const answer = contract();
  const clock = { now: () => TOWN_BEGINS, after: () => () => undefined };
  const contracts = { exchange: async (_dapp: string, message: ToContract) => answer(message) };
  for (const { core, store, node, startedAt } of processes) {
    if (startedAt === null) continue;
    const fresh = new View(core.main, store, node, new Map([[manifest.name, manifest]]), clock, contracts);
    let both = false;
    void Promise.all([core.view.settle(), fresh.settle()]).then(() => (both = true));
    await settled();
    // One that is at work, or waits for its disk, is not looked at.
    if (both && !store.isWriting && viewText(core.view.state) !== viewText(fresh.state))
      watch.breach(`the view of node ${node} is not what it is when judged anew`);
  }
}

/** Looks at everything once all nodes have one main. */
export async function checkEnd(parts: EndParts): Promise<EndReport> {
  const { processes, watch, chance, dapp, genesis } = parts;
  const [first] = processes as [SimulatedProcess, ...SimulatedProcess[]];
  const told = verdictsOf(first, watch);
  for (const process of processes) {
    if (verdictsOf(process, watch) !== told)
      watch.breach(`node ${process.node} has other entries or verdicts than node ${first.node}`);
    for (const { id, type } of watch.acknowledged) {
      const entry = process.store.entry(id);
      if (entry === null || entry.state === 'pending')
        watch.breach(
          `node ${process.node} has no verdict on ${type} ${id.slice(0, 8)}, which was acknowledged`,
        );
    }
    const rows = [...process.store.allState()];
    const isSame = rows.every(
      ({ dapp, collection, key, value }) => process.core.main.state.get(dapp, collection, key) === value,
    );
    if (!isSame || JSON.stringify(rows) !== JSON.stringify([...first.store.allState()]))
      watch.breach(
        `the state of node ${process.node} is not the durable one, or not that of node ${first.node}`,
      );
  }
  const spends = checkSpends(first, watch);
  for (const id of parts.forbids) checkForbidden(first, watch, id);
  const shown = chance.pick(processes);
  const state = await replayAsStranger(genesis, shown.store, dapp);
  const isSame = [...first.store.allState()].every(
    ({ dapp, collection, key, value }) => state.get(dapp, collection, key) === value,
  );
  if (!isSame) watch.breach('a stranger who replays the history comes to another state');
  return {
    entries: first.store.counts().entries,
    main: first.core.main.head.id,
    spentTwice: spends > 1,
  };
}

/** Entries with their verdicts; what waits of who is apart, not everybody has. */
const verdictsOf = ({ store }: SimulatedProcess, watch: Watch): string =>
  JSON.stringify(
    store
      .log(ENTRIES_MAX)
      .filter(({ state, node }) => state !== 'pending' || !watch.isApart(node))
      .map(({ id, state, code, height, n, node }) => [node, n, id, state, code, height])
      .sort(),
  );

/** Also those that were durable when their node crashed, and nobody was told. @returns how many were merged */
function checkSpends({ store }: SimulatedProcess, watch: Watch): number {
  const spends = store
    .log(ENTRIES_MAX)
    .filter(({ type, by, verdict }) => type === 'credit.transfer' && by === SPENDER_KEY && verdict !== null);
  const accepted = spends.filter(({ verdict }) => verdict === 'accepted').length;
  if (accepted !== Math.min(spends.length, 1))
    watch.breach(`of ${spends.length} spends of the same credits ${accepted} were accepted`);
  return spends.length;
}

/** Restrictions go first: nothing that is merged with one or after it gets by. */
function checkForbidden({ store }: SimulatedProcess, watch: Watch, by: EntryId): void {
  const forbid = store.entry(by);
  if (forbid?.verdict !== 'accepted') return;
  const since = forbid.height ?? 0;
  for (const { id, type, verdict, height, bytes } of store.log(ENTRIES_MAX)) {
    if (type !== 'notes.put' || verdict !== 'accepted' || (height ?? 0) < since) continue;
    const { body } = JSON.parse(Buffer.from(bytes).toString('utf8')) as { body: { key: string } };
    if (body.key === FORBIDDEN_KEY)
      watch.breach(`${id.slice(0, 8)} was accepted at height ${height}, forbidden since ${since}`);
  }
}
