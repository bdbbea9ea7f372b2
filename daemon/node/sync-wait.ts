/** Waiting until nobody who is connected has anything that is not here, for as long as people do. */
import type { PeerView, SyncState } from '../sync/sync-state.js';
import type { NodeId } from '../ledger/ids.js';
import type { Clock } from './clock.js';

const WAIT_MS = 60_000;
const LOOK_MS = 50;

export interface SyncWaitParts {
  readonly clock: Clock;
  readonly steady: () => number;
  readonly state: () => SyncState;
  readonly views: () => readonly PeerView[];
  readonly stopped: () => boolean;
}

export class SyncWait {
  private waiting: Promise<void> | null = null;

  constructor(private readonly parts: SyncWaitParts) {}

  /** Resolves then, at the latest after a minute. However many ask, one looks. */
  caughtUp(): Promise<void> {
    return (this.waiting ??= this.look().finally(() => (this.waiting = null)));
  }

  private async look(): Promise<void> {
    const { steady, clock, stopped } = this.parts;
    const until = steady() + WAIT_MS;
    do await new Promise<void>((resolve) => void clock.after(LOOK_MS, resolve));
    while (!stopped() && this.isBehind() && steady() < until);
  }

  private isBehind(): boolean {
    const state = this.parts.state();
    return (
      state.wants.size > 0 ||
      this.parts
        .views()
        .some(
          ({ node, connected, ahead }) =>
            connected && ahead.blocks + ahead.merges > 0 && !this.hasFailed(node),
        )
    );
  }

  /** Whether a peer was asked in vain lately: what it promises is not waited for. */
  private hasFailed(node: NodeId): boolean {
    const now = this.parts.steady();
    return [...this.parts.state().failures].some(
      ([key, { until }]) => key.endsWith(` ${node}`) && until > now,
    );
  }
}
