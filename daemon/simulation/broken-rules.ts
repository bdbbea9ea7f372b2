/** Rules that the simulation can switch off, so that its own checks are checked: each of these must be found by some seed. */
export type BrokenRule =
  /** What this node signed is forgotten when its process ends: it votes twice. */
  | 'forget-votes'
  /** Votes are sent before they are durable: with a crash in between it votes twice. */
  | 'vote-before-durable'
  /** Entries are acknowledged before they are durable. */
  | 'acknowledge-before-durable'
  /** The disk says that a transaction is durable before it is. */
  | 'forget-last-write'
  /** What other nodes restricted is forgotten until it is merged. */
  | 'forget-restrictions';

export const BROKEN_RULES: readonly BrokenRule[] = [
  'forget-votes',
  'vote-before-durable',
  'acknowledge-before-durable',
  'forget-last-write',
  'forget-restrictions',
];
