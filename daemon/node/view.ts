/**
 * A node's view: `main` plus its own entries that are not merged yet. People are shown it, claims are judged on it
 * before they are recorded, the doors go by it. It is rebuilt on every new `main`.
 */
import type { Exchange } from './drive.js';
import { Conversations, Serial } from './drive.js';
import { MAIN, type MainLine } from './main-line.js';
import { verifyEntry, type VerifiedEntry } from '../ledger/entry.js';
import type { Json, JsonObject, Millis, NodeId } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { askQuery, judgeEntry, type EntryContext, type Judged, type Manifests } from '../ledger/judge.js';
import { Overlay, type StateReader } from '../ledger/state.js';
import type { Store } from '../store/store.js';
import type { Clock } from './clock.js';

/** Tasks that may wait for the view. */
const WAITING_MAX = 1000;
/** Unmerged entries that are judged again on a new `main`. */
const REJUDGED_MAX = 10_000;

const busy = (): TownError =>
  new TownError(
    'busy',
    'More is being asked of this node than it can judge just now.',
    'Try again in a moment.',
  );

export class View {
  private overlay: Overlay;
  private readonly tasks = new Serial(WAITING_MAX);
  readonly conversations: Conversations;
  private readonly watchers = new Set<() => void>();

  constructor(
    private readonly main: MainLine,
    private readonly store: Store,
    private readonly node: NodeId,
    private readonly manifests: Manifests,
    private readonly clock: Clock,
    contracts: Exchange,
  ) {
    this.overlay = new Overlay(main.state);
    this.conversations = new Conversations(contracts);
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
    const trial = new Overlay(this.overlay);
    const judged = await this.conversations.run(judgeEntry(entry, trial, this.contextOf(entry)));
    trial.settle();
    if (judged.writes.length > 0) for (const callback of this.watchers) callback();
    return judged;
  }

  /** Asks a dapp's read-only question on the view. */
  ask(dapp: string, name: string, args: JsonObject): Promise<Json> {
    return this.hold(() =>
      this.conversations.run(askQuery(dapp, name, args, this.overlay, this.contextNow(this.clock.now()))),
    );
  }

  /** Lets `main` step, then judges this node's unmerged entries anew on it. */
  rebuild(step: () => Promise<void>): Promise<void> {
    return this.hold(async () => {
      await step();
      this.overlay = new Overlay(this.main.state);
      for (const row of this.store.entriesOf(this.node, MAIN, 'pending', REJUDGED_MAX)) {
        const entry = verifyEntry(Buffer.from(row.bytes).toString('utf8'));
        const trial = new Overlay(this.overlay);
        await this.conversations.run(judgeEntry(entry, trial, this.contextOf(entry)));
        trial.settle();
      }
      for (const callback of this.watchers) callback();
    });
  }

  private contextOf(entry: VerifiedEntry): EntryContext {
    return this.contextNow(Math.max(entry.at, this.main.head.time) as Millis);
  }

  private contextNow(tau: Millis): EntryContext {
    const { town, head } = this.main;
    const time = Math.max(tau, head.time + 1) as Millis;
    const { manifests } = this;
    return {
      town,
      line: MAIN,
      height: head.height + 1,
      time,
      tau,
      manifests,
      authority: this.overlay,
      arrival: 'pending',
    };
  }
}
