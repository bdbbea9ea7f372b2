/** What people do with their keys: one for each place they sign from. Shapes of the use cases; every method may throw a `TownError`. */
import type { Recorded } from './recorded.js';

/** A key that waits to be registered: its code is to be carried to a node where the member can sign in. */
export interface KeyRequested {
  /** One line; no secret is in it. */
  readonly code: string;
  /** The public key. */
  readonly key: string;
  readonly member: string;
}

export interface OwnKeyView {
  readonly key: string;
  readonly status: 'active' | 'revoked';
  /** `pending` until the entry that last changed it is in a merge. */
  readonly state: 'pending' | 'merged';
  /** When it was registered or revoked: milliseconds. */
  readonly since: number;
  /** The node that keeps it, where the one that is asked knows. */
  readonly node: { readonly id: string; readonly name: string } | null;
  /** The node that is asked keeps it. */
  readonly here: boolean;
  /** The one this session signs with. */
  readonly current: boolean;
}

export interface KeyCases {
  /**
   * Makes a further key of a member and keeps it on this node under a name and a passphrase. Needs no session: the key is of no
   * use until the member registers it with its code. Asked again with the same words, it gives the same code.
   * @throws TownError `not-found` (the member), `name-taken`, `weak-passphrase`, `too-many-keys`, `too-many-requests`
   */
  request(input: { member: string; name: string; passphrase: string }): Promise<KeyRequested>;
  /**
   * Registers the key of a code as the signed-in member's.
   * @throws TownError `bad-key-code`, `other-town`, `other-member`, `already-registered`
   */
  add(s: string, input: { code: string }): Promise<Recorded>;
  /** Ends a key for good: one's own, or, by a steward, anybody's. @throws TownError `unknown-key`, `last-key` */
  revoke(s: string, input: { key: string }): Promise<Recorded>;
  /** The signed-in member's own keys, the oldest first. */
  list(s: string): Promise<readonly OwnKeyView[]>;
}
