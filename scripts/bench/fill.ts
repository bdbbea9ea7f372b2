/**
 * Fills a town fast: as a node that was away takes in what others recorded, block by block, and merges it with a full replay.
 * Left out beside what a door does: each event's own transaction, its judgement on the view, its row among the door's records, and
 * the way through a pipe to the contract. What comes to stand in database and git is the same.
 */
import { makeBlock, NO_BLOCK } from '../../daemon/ledger/block.js';
import { rememberVerified, signEntry, type VerifiedEntry } from '../../daemon/ledger/entry.js';
import type { JsonObject, Millis, NodeId } from '../../daemon/ledger/ids.js';
import { publicKeyOf } from '../../daemon/ledger/signature.js';
import { branchRef } from '../../daemon/node/blocks.js';
import type { Core } from '../../daemon/node/core.js';
import type { NodeKeys } from '../../daemon/node/key-files.js';
import { blockRow, entryRow } from '../../daemon/node/new-rows.js';
import type { Store } from '../../daemon/store/store.js';

/** As many events as a block of 128 KiB holds, nearly. */
const entriesPerBlock = 100;
/** Git and the archive follow as they would in the pauses of a town. */
const mergesPerSettling = 10;

/** What is to be recorded, by whom. */
export interface Statement {
  readonly type: string;
  readonly body: JsonObject;
  readonly kind: 'claim' | 'fact';
  readonly secretKey: Uint8Array;
}

/** The town that is filled, and how it merges and comes to rest. */
interface Filled {
  readonly store: Store;
  readonly core: Core;
  readonly keys: NodeKeys;
  merge(): Promise<unknown>;
  settle(): Promise<unknown>;
}

export class Filler {
  private n: number;
  private at: number;
  private merges = 0;

  constructor(private readonly town: Filled) {
    const { store, core, keys } = town;
    this.n = Math.max(store.lastN(keys.id, 'main'), 0);
    this.at = core.main.head.time;
  }

  /** Records so many, in the order they are made, then merges them. Nothing else may be recorded from then on through the core. */
  async merged(count: number, make: (index: number) => Statement): Promise<void> {
    for (let done = 0; done < count; done += entriesPerBlock) {
      const some = Math.min(entriesPerBlock, count - done);
      await this.block(Array.from({ length: some }, (_, i) => make(done + i)));
    }
    await this.town.merge();
    if ((this.merges += 1) % mergesPerSettling === 0) await this.town.settle();
  }

  private async block(statements: readonly Statement[]): Promise<void> {
    const { store, core, keys } = this.town;
    const { head, town } = core.main;
    const node = keys.id as NodeId;
    const made = statements.map((statement) => ({ statement, entry: this.signed(statement, node) }));
    const entries = made.map(({ entry }) => entry);
    rememberVerified(entries.map(({ id }) => id));
    const before = store.lastBlock(node, 'main');
    const place = { town, line: 'main', node, seq: (before?.seq ?? 0) + 1, base: head.id };
    const { block, objects } = makeBlock(
      { ...place, prev: before?.id ?? NO_BLOCK },
      { prev: before?.oid ?? null, main: before?.base === head.id ? null : head.oid },
      entries,
      this.at as Millis,
      keys.secretKey,
    );
    await store.putBlock({
      block: blockRow(block),
      newEntries: made.map(({ statement: { kind }, entry }) => entryRow(entry, kind, core.main.state)),
      entryIds: entries.map(({ id }) => id),
      objects,
      refs: [{ name: branchRef(node), oid: block.oid }],
    });
  }

  private signed({ type, body, secretKey }: Statement, node: NodeId): VerifiedEntry {
    const { head, town } = this.town.core.main;
    this.n += 1;
    this.at = Math.max(this.at + 1, Date.now());
    const by = publicKeyOf(secretKey);
    const place = { v: 1, town, line: 'main', base: head.id, node } as const;
    return signEntry({ ...place, n: this.n, type, by, at: this.at as Millis, body }, secretKey);
  }
}
