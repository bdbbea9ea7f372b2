/** Rules that the simulation can switch off, so that its own checks are checked: each of these must be found by some seed. */
import { ALL_RULES, type SafetyRules } from '../consensus/safety-rules.js';
import { canonicalize } from '../ledger/canonical.js';
import type { confirmMerge } from '../ledger/merge.js';
import { changeTree } from '../ledger/state-tree.js';
import type { TownKeys } from '../node/town-keys.js';

export const BROKEN_RULES = [
  /** What this node signed is forgotten when its process ends: it votes twice. */
  'vote-twice',
  /** Who is locked votes for another value. */
  'skip-lock',
  /** One prevote counts as the quorum of them. */
  'drop-polka',
  /** A merge is taken for what it says, whatever the own replay gives. */
  'trust-proposer',
  /** Votes are sent before they are durable: with a crash in between it votes twice. */
  'vote-before-durable',
  /** Entries are acknowledged before they are durable. */
  'acknowledge-before-durable',
  /** The disk says that a transaction is durable before it is. */
  'forget-last-write',
  /** What other nodes restricted is forgotten until it is merged. */
  'forget-restrictions',
  /** Nobody makes a new key when a node was taken out of the town. */
  'keep-town-key',
] as const;

export type BrokenRule = (typeof BROKEN_RULES)[number];

/** The rules of consensus that a node follows. */
export const rulesWithout = (broken: BrokenRule | null): SafetyRules => ({
  keepsLock: broken !== 'skip-lock' && ALL_RULES.keepsLock,
  needsPolka: broken !== 'drop-polka' && ALL_RULES.needsPolka,
});

/** It looks as if all who know the key were of the town. */
export const neverChanged = (keys: TownKeys): TownKeys => Object.assign(keys, { strangers: () => [] });

/** Takes over the own replay under the name of the claimed merge, and looks at nothing. */
export const believe: typeof confirmMerge = (claimed, _parents, before, result) => {
  const { writes, receipt, testedBy } = result;
  const { tree, objects } = changeTree(before, writes, {
    'receipt.json': canonicalize(receipt),
    'genesis.json': null,
  });
  const commit = { oid: claimed.oid, type: 'commit', data: claimed.raw } as const;
  return { merge: claimed, tree, writes, receipt, testedBy, objects: [...objects, commit] };
};
