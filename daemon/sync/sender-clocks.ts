/**
 * How the clocks of others differ from the time here, so that a board whose clock stands at 1970, or is hours off, is heard like any
 * other. A sender's clock is known once it has answered a question of ours (greeting.ts): from then on the age of its messages is
 * judged by its own clock, and what is older than its lifetime is refused, whatever the clocks of both say. Until then this board's
 * clock judges, and what it would refuse gives rise to the question. Bounded: one number a sender.
 */
import type { NodeId } from '../ledger/ids.js';

/** By this board's clock a message of one whose clock is not known may come from at most so far ahead: milliseconds. */
export const AHEAD_MS_MAX = 60 * 60_000;
/** Senders whose clocks are kept. */
const SENDERS_MAX = 1_000;

/** What of a message says when it was made, by its sender's clock. */
export interface Dated {
  readonly from: NodeId;
  readonly at: number;
  readonly expires: number;
}

export class SenderClocks {
  /** The sender's clock less the steady time here; a message that was under way for a while makes it too small, never too large. */
  readonly #offsets = new Map<NodeId, number>();

  /**
   * @param steady milliseconds that never go back
   * @param doubted told who sent what is refused for its age: its clock may be another
   */
  constructor(
    private readonly steady: () => number,
    private readonly doubted: (from: NodeId) => void = () => undefined,
  ) {}

  /** The sender has just said what time it has, in answer to a question that it could not know before. */
  learn(from: NodeId, at: number): void {
    if (this.#offsets.has(from) || this.#offsets.size < SENDERS_MAX)
      this.#offsets.set(from, at - this.steady());
  }

  isKnown(from: NodeId): boolean {
    return this.#offsets.has(from);
  }

  /** How far a sender's clock is ahead of one here: milliseconds; null where it is not known. */
  aheadOf(from: NodeId, now: number): number | null {
    const offset = this.#offsets.get(from);
    return offset === undefined ? null : Math.round(offset + this.steady() - now);
  }

  /** Why a message is too old, or from a time that has not come; null where it is neither. @param now of this board's clock */
  staleness(message: Dated, now: number): string | null {
    const reason = this.#reason(message, now);
    if (reason !== null) this.doubted(message.from);
    return reason;
  }

  #reason({ from, at, expires }: Dated, now: number): string | null {
    const offset = this.#offsets.get(from);
    if (offset === undefined) {
      if (expires <= now) return `It expired ${now - expires} ms ago, by this clock.`;
      return at - now > AHEAD_MS_MAX ? `It was made ${at - now} ms ahead of this clock.` : null;
    }
    const theirs = Math.round(offset + this.steady());
    if (expires <= theirs) return `It expired ${theirs - expires} ms ago, by its sender's clock.`;
    // A clock that was put forward: what was said before that is old from now on.
    if (at > theirs) this.#offsets.set(from, at - this.steady());
    return null;
  }

  /** Forgets senders that the charter no longer names. */
  retain(nodes: ReadonlySet<NodeId>): void {
    for (const node of this.#offsets.keys()) if (!nodes.has(node)) this.#offsets.delete(node);
  }
}
