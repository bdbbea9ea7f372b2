/** Drives the sync machine at a node: feeds it with the time, wakes it when something is due, and tells what it knows of the peers. */
import type { NodeId } from '../ledger/ids.js';
import type { Branch, Tip } from '../sync/bodies.js';
import { nextDue, startSync, step, type Input } from '../sync/peer-sync.js';
import type { Output } from '../sync/sync-output.js';
import { isConnected, peerViews, type PeerView, type SyncState } from '../sync/sync-state.js';
import { draftsOf, draftTips } from './adopted-drafts.js';
import type { Clock } from './clock.js';
import type { PeeringStore } from './core-store.js';
import { MAIN, type MainLine } from './main-line.js';

const BRANCHES_MAX = 1000;

export interface SyncDriveParts {
  readonly self: NodeId;
  readonly clock: Clock;
  readonly steady: () => number;
  /** Does what the machine asks for. It may be fed by that, once the step at hand is over. */
  readonly carryOut: (output: Output) => void;
  /** It has stepped, and what it asked for is done. */
  readonly stepped: (before: SyncState, after: SyncState) => void;
}

export type InputWithoutTime = Input extends infer I ? (I extends Input ? Omit<I, 'now'> : never) : never;

/** Where the machine begins: what this node has, and whom it knows. */
export function stateOf(
  store: PeeringStore,
  main: MainLine,
  self: NodeId,
  nodes: readonly NodeId[],
): SyncState {
  const tips = store
    .branches(BRANCHES_MAX)
    .filter(({ line }) => line === MAIN)
    .map(({ node, seq, head }) => [node, { seq, head }] as const);
  const { height, id } = main.head;
  return startSync({
    ...{ self, nodes, height, main: id },
    tips: new Map<Branch, Tip>([...tips, ...draftTips(store, main.state)]),
    drafts: draftsOf(main.state),
  });
}

export class SyncDrive {
  private steppedAt: number;
  private cancelTimer: (() => void) | null = null;
  private isRunning = false;
  private isOver = false;

  constructor(
    private current: SyncState,
    private readonly parts: SyncDriveParts,
  ) {
    this.steppedAt = parts.steady();
  }

  get state(): SyncState {
    return this.current;
  }

  /** From now on the machine is woken when something is due. */
  run(): void {
    this.isRunning = true;
    this.schedule();
  }

  /** Nothing happens any more. */
  stop(): void {
    this.isOver = true;
    this.cancelTimer?.();
  }

  feed(input: InputWithoutTime): void {
    if (this.isOver) return;
    const before = this.current;
    const now = this.parts.steady();
    const { state, outputs } = step(before, { ...input, now } as Input);
    this.current = state;
    this.steppedAt = now;
    for (const output of outputs) this.parts.carryOut(output);
    this.parts.stepped(before, state);
    this.schedule();
  }

  private schedule(): void {
    this.cancelTimer?.();
    this.cancelTimer = null;
    if (this.isOver || !this.isRunning) return;
    // As the last step saw it: what has become due since is due at once.
    const ms = Math.max(1, nextDue(this.current, this.steppedAt) - this.parts.steady());
    this.cancelTimer = this.parts.clock.after(ms, () => this.feed({ t: 'tick' }));
  }

  /** How the other nodes of the charter stand; `heardAt` by the clock. */
  views(): readonly PeerView[] {
    const now = this.parts.steady();
    const offset = this.parts.clock.now() - now;
    return peerViews(this.current, now).map((view) => ({
      ...view,
      heardAt: view.heardAt === null ? null : Math.round(view.heardAt + offset),
    }));
  }

  /** The nodes that are heard just now. */
  heard(): readonly NodeId[] {
    const { peers, nodes } = this.current;
    return [...peers.keys()].filter(
      (node) => node !== this.parts.self && nodes.has(node) && this.isHeard(node),
    );
  }

  isHeard(node: NodeId): boolean {
    return isConnected(this.current, node, this.parts.steady());
  }
}
