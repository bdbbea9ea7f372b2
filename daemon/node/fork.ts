/**
 * One draft fork at its node: a second heart beside `main`, with a state, a view and a branch of its own. It has the town's
 * supply. Its merges are made by this node alone, as commits on `refs/heads/<name>`; they need no quorum and are never sent.
 */
import type { VerifiedEntry } from '../ledger/entry.js';
import type { EntryId, JsonObject, Millis, Oid } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import type { Manifests } from '../ledger/judge.js';
import { keyOfNode } from '../ledger/charter.js';
import { makeMerge } from '../ledger/merge.js';
import { replay } from '../ledger/replay.js';
import type { StateWrite } from '../ledger/state.js';
import { readState } from '../store/snapshot.js';
import { Appender, type Signer } from './appender.js';
import { Blocks } from './blocks.js';
import type { Clock } from './clock.js';
import type { CoreStore } from './core-store.js';
import { Serial, type Conversations } from './drive.js';
import {
  readForkMerges,
  verdictsOf,
  type ForkMerge,
  type ForkVerdict,
  type ReadObject,
} from './fork-merges.js';

import type { NodeKeys } from './key-files.js';
import { MainLine, type Head } from './main-line.js';
import { headsOf } from './merge-workshop.js';
import { View } from './view.js';

/** Merges of a draft that may be asked for and not done. */
const MERGES_WAITING_MAX = 64;
const RETRY_MS = 60_000;

export const forkRef = (name: string): string => `refs/heads/${name}`;

export interface ForkParts {
  readonly store: CoreStore;
  readonly keys: NodeKeys;
  readonly clock: Clock;
  readonly main: MainLine;
  readonly manifests: Manifests;
  /** Those of `main`: one call at a time for each dapp, whatever line it is for. */
  readonly contracts: Conversations;
  readonly readObject: ReadObject;
  /** An entry on a draft is durable, or judged by a merge of it. */
  readonly changed: (entries: readonly EntryId[]) => void;
  /** Something could not be merged: told to people. */
  readonly trouble: (code: string, message: string) => void;
}

/** Records on a draft while it is open. */
class ForkAppender extends Appender {
  /** @throws TownError `fork-closed` */
  assertOpen: () => void = () => undefined;

  override claim(
    type: string,
    body: JsonObject,
    by: Signer,
    cosigners: readonly Signer[] = [],
  ): Promise<VerifiedEntry> {
    this.assertOpen();
    return super.claim(type, body, by, cosigners);
  }
}

export class Fork {
  readonly view: View;
  readonly appender: ForkAppender;
  readonly blocks: Blocks;
  private readonly merging = new Serial(MERGES_WAITING_MAX);
  private cancelTimer: (() => void) | null = null;
  private stopped = false;

  private constructor(
    readonly name: string,
    readonly base: Head,
    readonly line: MainLine,
    private readonly done: ForkMerge[],
    private readonly judged: Map<EntryId, ForkVerdict>,
    private readonly parts: ForkParts,
  ) {
    const { store, keys, clock, manifests, contracts } = parts;
    this.view = new View(line, store, keys.id, manifests, clock, contracts);
    this.appender = new ForkAppender(store, line, this.view, keys, clock, (entry) => {
      parts.changed([entry.id]);
      this.mergeIn(line.charter.pace.interactiveMs);
    });
    this.blocks = new Blocks(store, line, keys, clock, () => this.appender.settledBelow);
  }

  /**
   * A draft as it stands in git, with what was recorded on it since.
   * @param assertOpen throws where nothing more may be recorded on it
   * @throws TownError `bad-fork`, `content-differs`, and what reading git throws
   */
  static async load(name: string, base: Head, parts: ForkParts, assertOpen: () => void): Promise<Fork> {
    const { store, main, readObject } = parts;
    const tip = store.ref(forkRef(name)) ?? base.oid;
    const keyOf = (node: Parameters<typeof keyOfNode>[1]) => keyOfNode(main.charter, node);
    const merges = await readForkMerges(readObject, name, base, tip, keyOf);
    const last = merges[merges.length - 1]?.merge;
    const head: Head = last ? { height: last.height, id: last.id, oid: last.oid, time: last.time } : base;
    const rows: StateWrite[] = [];
    for await (const row of readState({ read: readObject }, tip)) rows.push(row);
    const line = MainLine.fork(store, main.town, name, base, rows, head);
    const fork = new Fork(name, base, line, [...merges], verdictsOf(merges), parts);
    fork.appender.assertOpen = assertOpen;
    await fork.view.settle();
    if (fork.blocks.areWaiting()) fork.mergeIn(line.charter.pace.interactiveMs);
    return fork;
  }

  /** Its merges, oldest first. */
  get merges(): readonly ForkMerge[] {
    return this.done;
  }

  /** What the draft says of an entry; undefined: nothing yet. */
  verdictOf(entry: EntryId): ForkVerdict | undefined {
    return this.judged.get(entry);
  }

  /** Merges all that is recorded on it now; resolves when it is durable. False: there was nothing. */
  async mergeNow(): Promise<boolean> {
    const { height } = this.line.head;
    const busy = (): TownError => new TownError('busy', 'This draft is being merged already.');
    await this.merging.run(async () => {
      while (!this.stopped && (await this.mergeOnce()));
    }, busy);
    return this.line.head.height > height;
  }

  /** Ends what is under way. */
  async stop(): Promise<void> {
    this.stopped = true;
    this.cancelTimer?.();
    await this.merging.run(
      () => Promise.resolve(),
      () => new TownError('busy', ''),
    );
  }

  private mergeIn(ms: number): void {
    if (this.stopped || this.cancelTimer) return;
    this.cancelTimer = this.parts.clock.after(ms, () => {
      this.cancelTimer = null;
      this.mergeNow().catch((error: unknown) => {
        const code = error instanceof TownError ? error.code : 'merge-failed';
        this.parts.trouble(code, `The draft ${this.name} could not be merged: ${String(error)}`);
        this.mergeIn(RETRY_MS);
      });
    });
  }

  private async mergeOnce(): Promise<boolean> {
    const { store, keys, clock, manifests } = this.parts;
    const { line, view, blocks, name } = this;
    await blocks.cut();
    const { head, town, state, charter, tree } = line;
    const heads = headsOf(blocks.choose(charter.limits));
    if (heads.length === 0) return false;
    const time = Math.max(clock.now(), head.time + 1) as Millis;
    const height = head.height + 1;
    const ids = heads.map(({ id }) => id);
    const baseTime = (base: Parameters<MainLine['timeOf']>[0]) => line.timeOf(base);
    const parts = blocks.partsOf(ids);
    const input = { town, line: name, height, time, parent: head.id, state, parts, baseTime, manifests };
    const result = await view.conversations.run(replay(input));
    const built = makeMerge(
      { town, line: name, height, time, parent: head.id, heads: ids, node: keys.id },
      { main: head.oid, heads: heads.map(({ oid }) => oid) },
      tree,
      result,
      keys.secretKey,
    );
    const { merge, objects, writes, receipt } = built;
    await view.rebuild(async () => {
      await store.putRefs({ objects, refs: [{ name: forkRef(name), oid: merge.oid as Oid }] });
      line.advance({ height, id: merge.id, oid: merge.oid, time }, built.tree, writes);
      this.done.push({ merge, entries: receipt.entries });
      for (const entry of receipt.entries) this.judged.set(entry.id, { ...entry, merge });
    });
    this.parts.changed(receipt.entries.map(({ id }) => id));
    return true;
  }
}
