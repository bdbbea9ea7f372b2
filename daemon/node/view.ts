/**
 * A node's view: `main` plus its own entries that are not merged yet. People are shown it, claims are judged on it
 * before they are recorded, the doors go by it. It is rebuilt on every new `main`.
 */
import type { Exchange } from './drive.js';
import { Conversations, Serial } from './drive.js';
import type { MainLine } from './main-line.js';
import type { Block } from '../ledger/block.js';
import { verifyEntry, type VerifiedEntry } from '../ledger/entry.js';
import type { EntryId, Json, JsonObject, Millis, NodeId } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { isSuspended } from '../ledger/kernel-evidence.js';
import {
  askQuery,
  isRestrictive,
  judgeEntry,
  type EntryContext,
  type Judged,
  type Manifests,
} from '../ledger/judge.js';
import { readBranch } from '../ledger/order.js';
import { recover } from '../ledger/recovery.js';
import { Overlay, type StateReader } from '../ledger/state.js';
import type { CoreStore } from './core-store.js';
import type { Clock } from './clock.js';

/** Tasks that may wait for the view. */
const WAITING_MAX = 1000;
/** Unmerged entries are judged again so many at a time; all of them, or the doors would forget a revocation. */
const PAGE = 1000;
/** Blocks of other nodes that are looked through for restrictions, and that are known to have been. */
const FOREIGN_BLOCKS_MAX = 10_000;

const entryOf = ({ bytes }: { readonly bytes: Uint8Array }): VerifiedEntry =>
  verifyEntry(Buffer.from(bytes).toString('utf8'));

const busy = (): TownError =>
  new TownError(
    'busy',
    'More is being asked of this node than it can judge just now.',
    'Try again in a moment.',
  );

export class View {
  private overlay: Overlay;
  /** Whether unmerged entries still have to be judged on what `main` is by now. */
  private isBehind = true;
  /** Entries that the last judging anew took in. */
  private included: ReadonlySet<EntryId> = new Set();
  private readonly tasks = new Serial(WAITING_MAX);
  readonly conversations: Conversations;
  /** By block of another node. */
  private readonly restrictive = new Map<string, readonly VerifiedEntry[]>();
  private readonly watchers = new Set<() => void>();

  constructor(
    private readonly main: MainLine,
    private readonly store: CoreStore,
    private readonly node: NodeId,
    private readonly manifests: Manifests,
    private readonly clock: Clock,
    contracts: Exchange | Conversations,
  ) {
    this.overlay = new Overlay(main.state);
    this.conversations = contracts instanceof Conversations ? contracts : new Conversations(contracts);
  }

  /** The state as this node sees it now. */
  get state(): StateReader {
    return this.overlay;
  }

  /** Calls back after every change of the view. */
  watch(callback: () => void): void {
    this.watchers.add(callback);
  }

  /** Runs a task while the view holds still. @throws TownError `busy` */
  hold<T>(task: () => Promise<T>): Promise<T> {
    return this.tasks.run(task, busy);
  }

  /** Judges an entry on the view; accepted, it stays in it. Only inside `hold`. */
  async judge(entry: VerifiedEntry): Promise<Judged> {
    await this.catchUp();
    const judged = await this.judgeOn(this.overlay, entry);
    if (judged.writes.length > 0) this.changed();
    return judged;
  }

  /** Takes in what is durable already, unless judging anew has done so. Only inside `hold`. */
  async take(entry: VerifiedEntry): Promise<void> {
    await this.catchUp();
    if (!this.included.has(entry.id)) await this.judge(entry);
  }

  /** Whether the last judging anew took this in. */
  includes(id: EntryId): boolean {
    return this.included.has(id);
  }

  /** Makes sure that the view holds what is not merged, these entries with it: durable ones. Only inside `hold`. */
  async include(ids: Iterable<EntryId>): Promise<void> {
    for (const id of ids) if (!this.included.has(id)) this.isBehind = true;
    await this.catchUp();
  }

  /** Asks a dapp's read-only question on the view. */
  ask(dapp: string, name: string, args: JsonObject): Promise<Json> {
    return this.hold(async () => {
      await this.catchUp();
      const { overlay } = this;
      return this.conversations.run(
        askQuery(dapp, name, args, overlay, this.contextNow(this.clock.now(), overlay)),
      );
    });
  }

  /**
   * Lets `main` step, then judges this node's unmerged entries anew on it. Where a contract does not answer, the view
   * stays as it was, nothing is judged on it, and whoever asks next makes it up first: a revocation that waits for its
   * merge must not be forgotten meanwhile.
   */
  rebuild(step: () => Promise<void>): Promise<void> {
    return this.hold(async () => {
      // While it stands on a state ahead of `main`, it stays there.
      if (this.main.ahead === null) this.isBehind = true;
      await step();
      await this.catchUp().catch(() => undefined);
    });
  }

  /** Stands on another state (`change` puts it into `main.ahead`, or takes it away), and judges anew what is not merged in it. */
  stand(change: () => void): Promise<void> {
    return this.hold(async () => {
      change();
      this.isBehind = true;
      await this.catchUp().catch(() => undefined);
    });
  }

  /** Makes sure that the view holds what is not merged. Throws what kept a contract from answering. */
  settle(): Promise<void> {
    return this.hold(() => this.catchUp());
  }

  /** Takes in what another node's block restricts, at once: revocations do not wait for a merge; grants do. */
  async takeForeign(blocks: readonly Pick<Block, 'id' | 'entries'>[]): Promise<void> {
    const restrictive = blocks.flatMap(({ id, entries }) => {
      const found = entries.filter((entry) => isRestrictive(entry, this.manifests));
      this.rememberRestrictive(id, found);
      return found;
    });
    if (restrictive.length === 0) return;
    await this.hold(async () => {
      for (const entry of restrictive)
        if (!isSuspended(this.main.seen, entry.node) && entry.n > this.mergedTo(entry.node, entry.line))
          await this.take(entry);
    });
  }

  private async catchUp(): Promise<void> {
    if (!this.isBehind) return;
    const fresh = new Overlay(this.main.seen);
    if (this.main.ahead === null && this.main.recovery) recover(fresh, this.main.recovery.statement);
    const included = new Set<EntryId>();
    const { line, seen: state } = this.main;
    // What a draft fork has merged is pending still, on `main`: its own mark tells how far it is.
    for (let last = this.mergedTo(this.node); ;) {
      const rows = this.store.entriesOf(this.node, line, 'pending', PAGE, last);
      for (const row of rows) {
        const entry = entryOf(row);
        await this.judgeOn(fresh, entry);
        included.add(entry.id);
        last = entry.n;
      }
      if (rows.length < PAGE) break;
    }
    // What a node that was taken out has left is never merged: it would restrict here, and nowhere else, for ever.
    const { nodes } = this.main.seenCharter;
    for (const block of this.store.blocksUnmergedOn(line, FOREIGN_BLOCKS_MAX))
      if (block.node !== this.node && nodes[block.node] && !isSuspended(state, block.node))
        for (const entry of this.restrictiveOf(block.id))
          if (entry.n > this.mergedTo(block.node)) await this.judgeOn(fresh, entry);
    this.overlay = fresh;
    this.included = included;
    this.isBehind = false;
    this.changed();
  }

  /** The entries of another node's block that restrict: looked for once, for most blocks have none. */
  private restrictiveOf(block: string): readonly VerifiedEntry[] {
    const known = this.restrictive.get(block);
    if (known) return known;
    const found = this.store
      .blockTexts(block)
      .map(verifyEntry)
      .filter((entry) => isRestrictive(entry, this.manifests));
    this.rememberRestrictive(block, found);
    return found;
  }

  private rememberRestrictive(block: string, entries: readonly VerifiedEntry[]): void {
    if (this.restrictive.size >= FOREIGN_BLOCKS_MAX) this.restrictive.clear();
    this.restrictive.set(block, entries);
  }

  /** The last entry of a node's branch that is in the state which the view stands on. */
  private mergedTo(node: NodeId, line = this.main.line): number {
    return readBranch(this.main.seen, node, line)?.n ?? 0;
  }

  private async judgeOn(overlay: Overlay, entry: VerifiedEntry): Promise<Judged> {
    const trial = new Overlay(overlay);
    const tau = Math.max(entry.at, this.main.seenHead.time) as Millis;
    const judged = await this.conversations.run(judgeEntry(entry, trial, this.contextNow(tau, overlay)));
    trial.settle();
    return judged;
  }

  private changed(): void {
    for (const callback of this.watchers) callback();
  }

  private contextNow(tau: Millis, authority: StateReader): EntryContext {
    const { town, seenHead: head, line } = this.main;
    const time = Math.max(tau, head.time + 1) as Millis;
    const { manifests } = this;
    return {
      town,
      line,
      height: head.height + 1,
      time,
      tau,
      manifests,
      authority,
      arrival: 'pending',
      validators: this.main.charter.validators,
      baseTime: (base) => this.main.timeOf(base),
    };
  }
}
