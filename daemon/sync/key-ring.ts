/**
 * The keys of the town as one node knows them, and what it does with one that it is given. Pure.
 *
 * Keys have one order: the one that was made at the greater height counts (the maker's `main`, at least that of the merge that took
 * somebody out), of two of one height the one whose hash is smaller. A node holds the best of those it has seen that are not from
 * ahead of its own `main`, and drops all others: so however many are made at once, and in whatever order they are given, all come to
 * hold the same one. Nothing else is asked of a key: not who made it, and not whether it was held before.
 */
import { hexOf, sha256 } from '../ledger/hash.js';
import type { NodeId } from '../ledger/ids.js';
import type { TownKey } from './message.js';
import type { HeldKey } from './town-key-gift.js';

/** Keys that were given up and are still known, to see who has not heard of the new one. */
const RETIRED_MAX = 4;
/** Nodes whose keys wait for this node to catch up. */
const EARLY_MAX = 32;

export interface KeyRing {
  /** The one that this node seals with. */
  readonly held: HeldKey;
  /** Given up; the newest first. */
  readonly retired: readonly Uint8Array[];
  /** From ahead of this node's `main`, by who gave them: they count once it is there. */
  readonly early: ReadonlyMap<NodeId, HeldKey>;
}

/** Where a node is: the height of its `main`, and the nodes of the town as it knows them. */
export interface RingPlace {
  readonly height: number;
  readonly nodes: ReadonlySet<NodeId>;
}

/** What comes of a key that was given: it is `used` or `kept` for later, it was `known`, it is `worse` than the one held, or `refused`. */
export type Fate = 'used' | 'kept' | 'known' | 'worse' | 'refused';

export interface Given {
  readonly ring: KeyRing;
  readonly fate: Fate;
}

export const isSameKey = (a: Uint8Array, b: Uint8Array): boolean => hexOf(a) === hexOf(b);
const orderOf = (key: Uint8Array): string => sha256(`mergetown/town-key-order/v1 ${hexOf(key)}`);

/** Whether the first of two keys is the one that counts. */
export function isBetter(a: HeldKey, b: HeldKey): boolean {
  if (a.generation !== b.generation) return a.generation > b.generation;
  return orderOf(a.key) < orderOf(b.key);
}

/** @param held the key that a node was founded or welcomed with */
export const newRing = (held: HeldKey, retired: readonly Uint8Array[] = []): KeyRing => ({
  ...{ held, retired, early: new Map() },
});

/** Changes to this key. That it is the best, the caller knows. */
export function changedTo(ring: KeyRing, next: HeldKey): KeyRing {
  const { held, retired, early } = ring;
  if (isSameKey(next.key, held.key)) {
    const knownBy = [...new Set([...held.knownBy, ...next.knownBy])].sort();
    return { ...ring, held: { ...next, knownBy } };
  }
  const old = [held.key, ...retired].filter((key) => !isSameKey(key, next.key)).slice(0, RETIRED_MAX);
  return {
    held: next,
    retired: old,
    early: new Map([...early].filter(([, key]) => isBetter(key, next))),
  };
}

/** A key comes. */
export function given(ring: KeyRing, from: NodeId, key: HeldKey, { height, nodes }: RingPlace): Given {
  const { held, early } = ring;
  const isHeld = isSameKey(key.key, held.key);
  if (!isBetter(key, held)) return { ring, fate: isHeld ? 'known' : 'worse' };
  if (key.generation > height) {
    const before = early.get(from);
    if (before !== undefined && isSameKey(before.key, key.key) && before.generation === key.generation)
      return { ring, fate: 'known' };
    if (before === undefined && early.size >= EARLY_MAX) return { ring, fate: 'refused' };
    return { ring: { ...ring, early: new Map([...early, [from, key]]) }, fate: 'kept' };
  }
  // Who is not of the town any more has no say, also where its last messages still arrive.
  if (!nodes.has(from)) return { ring, fate: 'refused' };
  return { ring: changedTo(ring, key), fate: isHeld ? 'known' : 'used' };
}

/** `main` has gone on: the best of what came early counts, where it is not early any more; those of who is not of the town are dropped. */
export function risen(ring: KeyRing, { height, nodes }: RingPlace): KeyRing {
  const stay = new Map([...ring.early].filter(([from]) => nodes.has(from)));
  const due = [...stay.values()].filter(({ generation }) => generation <= height);
  for (const [from, { generation }] of stay) if (generation <= height) stay.delete(from);
  const best = due.reduce((found, key) => (isBetter(key, found) ? key : found), ring.held);
  if (best !== ring.held) return changedTo({ ...ring, early: stay }, best);
  return stay.size === ring.early.size ? ring : { ...ring, early: stay };
}

/** These nodes know the key that is held. */
export function knownTo(ring: KeyRing, nodes: readonly NodeId[]): KeyRing {
  const { held } = ring;
  const knownBy = [...new Set([...held.knownBy, ...nodes])].sort();
  return knownBy.length === held.knownBy.length ? ring : { ...ring, held: { ...held, knownBy } };
}

/** Nodes that know the key and are not of the town any more: a new one is due. */
export const strangersTo = ({ held }: KeyRing, nodes: ReadonlySet<NodeId>): readonly NodeId[] =>
  held.knownBy.filter((node) => !nodes.has(node));

/** What messages may be sealed with, the likeliest first. */
export const openingKeys = ({ held, early, retired }: KeyRing): readonly TownKey[] => [
  { key: held.key, retired: false },
  ...[...early.values()].map(({ key }) => ({ key, retired: false })),
  ...retired.map((key) => ({ key, retired: true })),
];
