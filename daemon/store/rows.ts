/** The shapes that go into and come out of the store. Lists are bounded by what the writer checks. */
import type { EntryId, KeyId, MemberId, Millis, NodeId, Oid, Sha256 } from '../ledger/ids.js';

export type EntryState = 'pending' | 'merged' | 'rejected';
export type Verdict = 'accepted' | 'rejected' | 'irregular';

/** An entry as it is appended. `bytes` are its canonical bytes, signature included; `id` is their SHA-256. */
export interface NewEntry {
  readonly id: EntryId;
  readonly node: NodeId;
  readonly line: string;
  readonly n: number;
  readonly type: string;
  readonly kind: 'claim' | 'fact';
  readonly by: KeyId;
  readonly member: MemberId | null;
  readonly at: Millis;
  readonly bytes: Uint8Array;
}

export interface EntryRow extends NewEntry {
  /** Running number of arrival in this store, for paging. */
  readonly row: number;
  readonly state: EntryState;
  /** The block that holds it and its place in there; null until it is in one. */
  readonly block: Sha256 | null;
  readonly idx: number | null;
  /** The merge that judged it. */
  readonly height: number | null;
  readonly verdict: Verdict | null;
  readonly code: string | null;
  readonly reason: string | null;
  /** The rule that decided, or the entry that won. */
  readonly other: string | null;
  /** Hash of what it wrote. */
  readonly writes: string | null;
}

/** What a merge says of one entry. */
export interface EntryVerdict {
  readonly id: EntryId;
  readonly state: 'merged' | 'rejected';
  readonly verdict: Verdict;
  readonly code: string | null;
  readonly reason: string | null;
  readonly other: string | null;
  readonly writes: string | null;
}

/** A block commit. `raw` are the commit's bytes, `id` their SHA-256, `oid` git's name for them. */
export interface NewBlock {
  readonly id: Sha256;
  readonly oid: Oid;
  readonly node: NodeId;
  readonly line: string;
  readonly seq: number;
  /** The node's block before it; null for its first. */
  readonly prev: Sha256 | null;
  /** The adopted merge it was made on. */
  readonly base: Sha256;
  readonly raw: Uint8Array;
  /** How many entries it holds. */
  readonly entries: number;
}

export interface BlockRow extends NewBlock {
  /** Height of the merge that folded it in; null until one did. */
  readonly height: number | null;
}

export interface MergeCounts {
  readonly accepted: number;
  readonly rejected: number;
  readonly irregular: number;
}

/** A merge commit that became `main`. */
export interface MergeRow {
  readonly height: number;
  readonly id: Sha256;
  readonly oid: Oid;
  readonly content: Sha256;
  readonly time: Millis;
  /** Who proposed it. */
  readonly node: NodeId;
  readonly raw: Uint8Array;
  readonly counts: MergeCounts;
}

export interface Ref {
  /** `refs/…` */
  readonly name: string;
  readonly oid: Oid;
}

/** One value of the state of `main`; `value` is canonical JSON. */
export interface StateRow {
  readonly dapp: string;
  readonly collection: string;
  readonly key: string;
  readonly value: string;
}

/** A change of the state: a null value deletes. */
export interface StateWrite extends Omit<StateRow, 'value'> {
  readonly value: string | null;
}

export interface ConsensusRecord {
  readonly height: number;
  readonly round: number;
  readonly step: string;
  readonly kind: string;
  /** Canonical JSON. */
  readonly text: string;
  readonly bytes: Uint8Array | null;
}

export interface ConsensusRow extends ConsensusRecord {
  readonly seq: number;
}

/** Links a record of the gate to the entry that carries it, so that a second delivery is known. */
export interface GateRecordRow {
  readonly id: string;
  readonly entry: EntryId;
  readonly door: string;
  readonly at: Millis;
}

/** The key of one subject's personal fields in one month (`2026-11`). Never in git. */
export interface PrivateKeyRow {
  readonly handle: string;
  readonly subject: string;
  readonly month: string;
  readonly key: Uint8Array;
}

export interface InvitationRow {
  /** SHA-256 of the code: the code itself is never stored. */
  readonly hash: string;
  readonly text: string;
  readonly expires: Millis;
  readonly used: Millis | null;
}

export interface NewNotice {
  readonly member: MemberId;
  readonly entry: EntryId | null;
  readonly at: Millis;
  readonly text: string;
}

export interface NoticeRow extends NewNotice {
  readonly id: number;
  readonly read: boolean;
}

/** A node's branch on a line, as far as it is known here. */
export interface BranchRow {
  readonly node: NodeId;
  readonly line: string;
  readonly seq: number;
  readonly head: Sha256;
  readonly oid: Oid;
  /** Blocks that no merge has folded in. */
  readonly unmergedBlocks: number;
}

export interface StoreCounts {
  /** Entries ever appended. */
  readonly entries: number;
  readonly pending: number;
  readonly unblocked: number;
  /** Height of the last merge; −1 before genesis. */
  readonly height: number;
  readonly stagedObjects: number;
  readonly stagedBytes: number;
}
