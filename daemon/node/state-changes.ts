/**
 * What the entries of a merge changed in the state: found by replaying that merge on the state before it, which git has. What
 * is told is only what the replay and the merge agree on.
 */
import type { EntryId, Millis } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import type { Manifests } from '../ledger/judge.js';
import { readCharter } from '../ledger/kernel.js';
import { parseCommit, parseTrailers } from '../ledger/git-object.js';
import { branchName, readBranch, type BranchPart } from '../ledger/order.js';
import { replay, type ReplayResult } from '../ledger/replay.js';
import { State, type StateWrite } from '../ledger/state.js';
import { verifyEntry } from '../ledger/entry.js';
import type { BlockRow, EntryRow, MergeRow } from '../store/rows.js';
import type { ObjectSource } from '../store/repository-reader.js';
import { readState } from '../store/snapshot.js';
import type { Store } from '../store/store.js';
import type { Conversations } from './drive.js';
import { Serial } from './drive.js';
import { MAIN, type MainLine } from './main-line.js';

/** A town with more values than that is not read as a whole to tell of one entry. */
const VALUES_MAX = 50_000;
const BLOCKS_MAX = 4096;
const MERGES_KEPT = 4;
const WAITING_MAX = 8;

/** One value: canonical JSON; null: not there. */
export interface StateChange {
  /** `<dapp>/<collection>/<key>`. */
  readonly path: string;
  readonly before: string | null;
  readonly after: string | null;
}

export interface MergeChanges {
  /** What the merge as a whole changed. */
  readonly all: readonly StateChange[];
  readonly byEntry: ReadonlyMap<EntryId, readonly StateChange[]>;
}

export interface StateChangesParts {
  readonly store: Store;
  readonly main: MainLine;
  readonly manifests: Manifests;
  readonly conversations: () => Conversations;
  readonly readObject: ObjectSource['read'];
}

const pathOf = ({ dapp, collection, key }: StateWrite): string => `${dapp}/${collection}/${key}`;

export class StateChanges {
  private readonly kept = new Map<number, MergeChanges>();
  private readonly tasks = new Serial(WAITING_MAX);

  constructor(private readonly parts: StateChangesParts) {}

  /** Null where it cannot be told: the town is too large, other versions of the dapps judged it, or git lacks something. */
  async of(merge: MergeRow): Promise<MergeChanges | null> {
    const known = this.kept.get(merge.height);
    if (known) return known;
    if (merge.height === 0) return null;
    try {
      const changes = await this.tasks.run(
        () => this.replayed(merge),
        () => new TownError('busy', 'Merges are being replayed already.'),
      );
      if (changes) this.keep(merge.height, changes);
      return changes;
    } catch (error) {
      if (error instanceof TownError) return null;
      throw error;
    }
  }

  private keep(height: number, changes: MergeChanges): void {
    this.kept.set(height, changes);
    for (const oldest of this.kept.keys()) {
      if (this.kept.size <= MERGES_KEPT) return;
      this.kept.delete(oldest);
    }
  }

  private async replayed(merge: MergeRow): Promise<MergeChanges | null> {
    const { store, main, manifests } = this.parts;
    const parent = store.merge(merge.height - 1);
    if (parent === null) return null;
    const state = await this.stateAt(parent);
    if (state === null || !this.areDappsOurs(state)) return null;
    const { parts, judged } = await this.partsOf(merge, state);
    const input = {
      ...{ town: main.town, line: MAIN, height: merge.height, time: merge.time, parent: parent.id },
      ...{ state, parts, manifests, baseTime: (base: MergeRow['id']) => main.timeOf(base) },
    };
    const result = await this.parts.conversations().run(replay(input));
    return isTheSame(merge, judged, result) ? changesOf(state, result) : null;
  }

  private async stateAt(merge: MergeRow): Promise<State | null> {
    const rows: StateWrite[] = [];
    for await (const row of readState({ read: this.parts.readObject }, merge.oid))
      if (rows.push(row) > VALUES_MAX) return null;
    return State.from(rows);
  }

  /** Whether the dapps of that time are those that answer now. */
  private areDappsOurs(state: State): boolean {
    const texts = [readCharter(state), this.parts.main.charter].map(({ dapps }) =>
      JSON.stringify(dapps.map(({ name, digest, enabled }) => [name, digest, enabled])),
    );
    return texts[0] === texts[1];
  }

  /** What the merge folded in, for the replay; and the entries as it judged them, wherever they stand by now. */
  private async partsOf(
    merge: MergeRow,
    state: State,
  ): Promise<{ readonly parts: readonly BranchPart[]; readonly judged: ReadonlyMap<EntryId, EntryRow> }> {
    const { store } = this.parts;
    const branches = new Map<string, BlockRow[]>();
    for (const block of store.blocksOfMerge(merge.height, BLOCKS_MAX)) {
      const name = branchName(block.node, block.line);
      branches.set(name, [...(branches.get(name) ?? []), block]);
    }
    const parts: BranchPart[] = [];
    const judged = new Map<EntryId, EntryRow>();
    for (const [, blocks] of [...branches].sort(([a], [b]) => (a < b ? -1 : 1))) {
      const { node, line } = blocks[0] as BlockRow;
      const tau = (readBranch(state, node, line)?.tau ?? 0) as Millis;
      const full = [];
      for (const { id, seq } of blocks.sort((a, b) => a.seq - b.seq)) {
        const rows = await store.archive.blockEntries(id);
        for (const row of rows) judged.set(row.id, row);
        const entries = rows.map(({ bytes }) => verifyEntry(Buffer.from(bytes).toString('utf8')));
        full.push({ id, seq, entries });
      }
      parts.push({ node, line, tau, blocks: full });
    }
    return { parts, judged };
  }
}

/** Whether the replay comes to what the merge says, entry by entry. */
function isTheSame(
  { raw }: MergeRow,
  judged: ReadonlyMap<EntryId, EntryRow>,
  { receipt, testedBy }: ReplayResult,
): boolean {
  const { message } = parseCommit(raw).fields;
  const tested = parseTrailers(message).get('Tested-by') ?? [];
  return (
    tested.join() === testedBy.join() &&
    receipt.entries.every(({ id, writes }) => judged.get(id)?.writes === writes)
  );
}

function changesOf(before: State, { writes, writesOf }: ReplayResult): MergeChanges {
  const now = new Map<string, string | null>();
  const byEntry = new Map<EntryId, readonly StateChange[]>();
  const textBefore = ({ dapp, collection, key }: StateWrite): string | null =>
    before.get(dapp, collection, key) ?? null;
  for (const [id, list] of writesOf ?? []) {
    const changes = list.map((write) => {
      const path = pathOf(write);
      const was = now.has(path) ? (now.get(path) ?? null) : textBefore(write);
      now.set(path, write.value);
      return { path, before: was, after: write.value };
    });
    byEntry.set(id, changes);
  }
  const all = writes.map((write) => ({ path: pathOf(write), before: textBefore(write), after: write.value }));
  return { all, byEntry };
}
