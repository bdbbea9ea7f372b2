/**
 * Which keys of sealed records a node asks its peers for, and when. Pure: the time is given, what is to be sent is returned.
 *
 * A handle that the ledger names and that cannot be opened here is asked for: first of the node that wrote the entry, then of
 * the other nodes in turn. After some rounds in vain it sleeps until something happens in the town (a merge, a peer that comes),
 * so a quiet town stays quiet.
 */
import type { NodeId } from '../ledger/ids.js';

/** Handles that are looked after at once; the rest waits in the store. */
export const MISSING_MAX = 10_000;
/** Handles in one message. */
export const ASK_HANDLES_MAX = 500;
/** A key is told at once when it is made: so long it is waited for before anybody is asked. */
const GRACE_MS = 1_500;
const ANSWER_MS = 10_000;
const BACK_OFF_MS_MIN = 5_000;
const BACK_OFF_MS_MAX = 6 * 3_600_000;
/** After so many rounds through all peers a handle sleeps. */
const ROUNDS_AWAKE = 3;
/** However often peers come and go, what sleeps is woken by that at most so often. */
const WAKE_GAP_MS = 30_000;

interface Missing {
  /** The node whose entry named it. */
  readonly of: NodeId | null;
  /** How often it was asked for in vain, and how often of all who are there. */
  tries: number;
  rounds: number;
  /** Not asked for before. */
  until: number;
  asleep: boolean;
}

interface Asked {
  readonly handles: readonly string[];
  readonly deadline: number;
}

/** A question to one peer. */
export interface KeyQuestion {
  readonly to: NodeId;
  readonly handles: readonly string[];
}

export class KeyAsking {
  private readonly missing = new Map<string, Missing>();
  private readonly asked = new Map<NodeId, Asked>();
  private wokenAt = -Infinity;

  /** How many handles are looked after. */
  get size(): number {
    return this.missing.size;
  }

  /** @returns false where there is no room: tell it again later */
  lacks(handle: string, of: NodeId | null, now: number): boolean {
    if (this.missing.has(handle)) return true;
    if (this.missing.size >= MISSING_MAX) return false;
    this.missing.set(handle, { of, tries: 0, rounds: 0, until: now + GRACE_MS, asleep: false });
    return true;
  }

  isMissing(handle: string): boolean {
    return this.missing.has(handle);
  }

  /** The key is here, or is not wanted any more. */
  forget(handle: string): void {
    this.missing.delete(handle);
  }

  /** Forgets everything: this node may not read any more. */
  clear(): void {
    this.missing.clear();
    this.asked.clear();
  }

  /** A merge was adopted: what sleeps is asked for once more, when its time has come. */
  stirred(): void {
    for (const lack of this.missing.values()) lack.asleep = false;
  }

  /** A peer has come: it may have what the others had not. */
  peerCame(now: number): void {
    if (now - this.wokenAt < WAKE_GAP_MS) return this.stirred();
    this.wokenAt = now;
    for (const lack of this.missing.values()) {
      lack.asleep = false;
      lack.until = Math.min(lack.until, now + GRACE_MS);
    }
  }

  /** Whether this peer was asked and has not answered yet: other answers are not asked for. */
  isAsked(peer: NodeId): boolean {
    return this.asked.has(peer);
  }

  /** A peer has answered; keys that it gave were told to `forget` before. The others it does not have. */
  answered(peer: NodeId, peers: number, now: number): void {
    const asked = this.asked.get(peer);
    if (asked === undefined) return;
    this.asked.delete(peer);
    for (const handle of asked.handles) this.inVain(handle, peers, now);
  }

  private inVain(handle: string, peers: number, now: number): void {
    const lack = this.missing.get(handle);
    if (lack === undefined) return;
    lack.tries += 1;
    if (lack.tries % Math.max(1, peers) !== 0) return;
    lack.rounds += 1;
    lack.until = now + Math.min(BACK_OFF_MS_MAX, BACK_OFF_MS_MIN * 2 ** Math.min(lack.rounds - 1, 20));
    lack.asleep = lack.rounds >= ROUNDS_AWAKE;
  }

  /**
   * Whom to ask for what now. `peers`: those connected, who may be most likely to have keys first.
   * What took too long counts as not answered.
   */
  next(peers: readonly NodeId[], now: number): readonly KeyQuestion[] {
    for (const [peer, { deadline }] of this.asked)
      if (deadline <= now || !peers.includes(peer)) this.answered(peer, peers.length, now);
    if (peers.length === 0) return [];
    const underway = this.underway();
    const lists = new Map<NodeId, string[]>();
    for (const [handle, lack] of this.missing) {
      if (lack.asleep || lack.until > now || underway.has(handle)) continue;
      const peer = this.choose(lack, peers);
      if (this.asked.has(peer)) continue;
      const list = lists.get(peer);
      if (list === undefined) lists.set(peer, [handle]);
      else if (list.length < ASK_HANDLES_MAX) list.push(handle);
    }
    const questions = [...lists].map(([to, handles]) => ({ to, handles }));
    for (const { to, handles } of questions) this.asked.set(to, { handles, deadline: now + ANSWER_MS });
    return questions;
  }

  private underway(): ReadonlySet<string> {
    return new Set([...this.asked.values()].flatMap(({ handles }) => handles));
  }

  /** Who wrote it first; then one after another. */
  private choose({ of, tries }: Missing, peers: readonly NodeId[]): NodeId {
    const order = of !== null && peers.includes(of) ? [of, ...peers.filter((peer) => peer !== of)] : peers;
    return order[tries % order.length] as NodeId;
  }

  /** When `next` has something to do, if nothing happens before; null: not before something happens. */
  due(): number | null {
    const times = [...this.asked.values()].map(({ deadline }) => deadline);
    const underway = this.underway();
    for (const [handle, { until, asleep }] of this.missing)
      if (!asleep && !underway.has(handle)) times.push(until);
    return times.length === 0 ? null : times.reduce((least, time) => Math.min(least, time));
  }
}
