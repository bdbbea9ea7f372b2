/**
 * Answers to what peers ask: read, packed and sent one at a time, each peer in its turn, no faster than the config allows; and
 * after each, others have the processor for as long as it took. How many of a peer may wait, the sync machine bounds.
 */
import type { JsonObject, NodeId } from '../ledger/ids.js';
import { PACKED_CHARS_MAX, type HaveBody, type WantBody } from '../sync/bodies.js';
import type { Item } from '../sync/sync-state.js';
import type { Clock } from './clock.js';
import type { PeerAnswers } from './peer-answers.js';

/** A slow line is given smaller answers, of about a second each; but no smaller than these. */
const CHARS_MIN = 32 * 1024;

export interface Question {
  readonly to: NodeId;
  readonly item: Item;
  readonly what: WantBody;
}

export interface PeerAnsweringParts {
  readonly answers: PeerAnswers;
  readonly clock: Clock;
  /** Milliseconds that never go back. */
  readonly steady: () => number;
  /** What answers may take of the line; Infinity: all. */
  readonly bytesPerSecond: number;
  readonly send: (to: NodeId, body: JsonObject) => void;
  /** Sent, or nothing to be sent. */
  readonly answered: (to: NodeId, item: Item) => void;
  readonly failed: (error: unknown) => void;
}

export class PeerAnswering {
  /** By peer, the one whose turn it is first. */
  private readonly waiting = new Map<NodeId, Question[]>();
  /** Not before then is anything more packed. */
  private from = -Infinity;
  private isAtWork = false;
  private cancelTimer: (() => void) | null = null;
  private stopped = false;

  constructor(private readonly parts: PeerAnsweringParts) {}

  stop(): void {
    this.stopped = true;
    this.cancelTimer?.();
  }

  /** Answers when its turn comes. */
  put(question: Question): void {
    const mine = this.waiting.get(question.to);
    if (mine) mine.push(question);
    else this.waiting.set(question.to, [question]);
    this.plan();
  }

  private plan(): void {
    if (this.stopped || this.isAtWork || this.cancelTimer !== null || this.waiting.size === 0) return;
    const { steady, clock } = this.parts;
    const ms = Math.max(0, this.from - steady());
    if (ms === 0) return void this.next();
    this.cancelTimer = clock.after(ms, () => {
      this.cancelTimer = null;
      if (!this.stopped) void this.next();
    });
  }

  /** The first question of the peer whose turn it is; then it is the others'. */
  private taken(): Question | null {
    for (const [peer, questions] of this.waiting) {
      const first = questions.shift();
      this.waiting.delete(peer);
      if (questions.length > 0) this.waiting.set(peer, questions);
      if (first) return first;
    }
    return null;
  }

  private async next(): Promise<void> {
    const question = this.taken();
    if (question === null) return;
    const { steady, bytesPerSecond } = this.parts;
    const { to, item } = question;
    this.isAtWork = true;
    const began = steady();
    let bytes = 0;
    try {
      const body = await this.read(question);
      if (this.stopped) return;
      if (body !== null) {
        bytes = charsOf(body);
        this.parts.send(to, body as unknown as JsonObject);
      }
    } catch (error) {
      this.parts.failed(error);
    }
    this.isAtWork = false;
    const now = steady();
    this.from = now + Math.max(now - began, (bytes / bytesPerSecond) * 1000);
    if (!this.stopped) this.parts.answered(to, item);
    this.plan();
  }

  /** What a slow line has no room for is cut short; a single block that is longer goes all the same. */
  private async read({ what }: Question): Promise<HaveBody | null> {
    const { answers, bytesPerSecond } = this.parts;
    const charsMax = Math.min(PACKED_CHARS_MAX, Math.max(CHARS_MIN, bytesPerSecond));
    const short = await answers.to(what, charsMax);
    if (short !== null || charsMax === PACKED_CHARS_MAX) return short;
    return answers.to(what, PACKED_CHARS_MAX);
  }
}

/** Characters of what is packed: nearly all there is of a message. */
function charsOf(body: HaveBody): number {
  const [part] = Object.values(body) as { readonly packed: string }[];
  return part?.packed.length ?? 0;
}
