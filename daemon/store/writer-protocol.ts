/** What the main thread and the writer's thread say to each other. Everything is structured-cloneable. */
import type { Millis, EntryId, MemberId, NodeId, Sha256 } from '../ledger/ids.js';
import type { GitObject } from '../ledger/git-object.js';
import type { Erasure, MissingKey } from './record-rows.js';
import type {
  ConsensusRecord,
  EntryVerdict,
  GateRecordRow,
  InvitationRow,
  MergeRow,
  NewBlock,
  NewEntry,
  NewNotice,
  PrivateKeyRow,
  Ref,
  StateWrite,
} from './rows.js';

/** Requests that one transaction may take: bounds how long the first of them waits for its commit. */
export const requestsPerTransaction = 256;
export const entryBytesMax = 16 * 1024;
export const entriesPerBlockMax = 256;
/** Notices that are kept of one member. */
export const noticesPerMemberMax = 1_000;
/** Four days of a house with 5,000 door events a day, years of a small one: about 25 MB. */
export const archiveBounds: ArchiveBounds = { entriesKept: 20_000, recordsPerDoor: 1_000 };

export interface AppendBatch {
  readonly entries: readonly NewEntry[];
  readonly gateRecords?: readonly GateRecordRow[];
  readonly privateKeys?: readonly PrivateKeyRow[];
}

export interface AppendResult {
  /** Gate records that were here already; neither they nor their entries of this batch were taken. */
  readonly skipped: readonly string[];
}

export interface BlockBatch {
  readonly block: NewBlock;
  /** Entries that came with the block: those of another node's are not here before. */
  readonly newEntries?: readonly NewEntry[];
  /** In their order in the block. */
  readonly entryIds: readonly EntryId[];
  readonly objects: readonly GitObject[];
  readonly refs: readonly Ref[];
}

export interface AdoptBatch {
  readonly merge: MergeRow;
  /** Canonical text of the certificate. */
  readonly certificate: string;
  readonly verdicts: readonly EntryVerdict[];
  /** The blocks it folds in. */
  readonly blocks: readonly Sha256[];
  readonly state: readonly StateWrite[];
  readonly objects: readonly GitObject[];
  readonly refs: readonly Ref[];
  readonly notices?: readonly NewNotice[];
}

/** A branch is cut: its blocks from number `from` to below `next` that no merge has are void. */
export interface CutBatch {
  readonly node: NodeId;
  readonly line: string;
  readonly from: number;
  readonly next: number;
  /** So that what is void stays in git; and the branch's own ref. */
  readonly refs: readonly Ref[];
  /** For the members whose entries stand in those blocks. */
  readonly notice: { readonly at: Millis; readonly text: string };
}

/** What stays in the hot tables; the rest goes to the archive. */
export interface ArchiveBounds {
  /** The newest entries, merged or not, and all that no merge has judged or git does not have. */
  readonly entriesKept: number;
  readonly recordsPerDoor: number;
}

/** Rows as JSON, and the bytes of all of them one after the other. */
export interface PackedEntries {
  readonly rows: string;
  readonly bytes: Uint8Array;
}

export type PackedBlock = Omit<BlockBatch, 'newEntries'> & { readonly newEntries: PackedEntries };

export type PackedAdoption = Omit<AdoptBatch, 'verdicts' | 'state'> & {
  readonly verdicts: string;
  readonly state: string;
  /** Of both together. */
  readonly rows: number;
};

/** Every write there is: name → what it takes and what it gives. */
export interface Operations {
  append: { takes: AppendBatch; gives: AppendResult };
  putBlock: { takes: PackedBlock; gives: void };
  adopt: { takes: PackedAdoption; gives: void };
  cutBranch: { takes: CutBatch; gives: number };
  logConsensus: { takes: readonly ConsensusRecord[]; gives: void };
  forgetConsensus: { takes: number; gives: void };
  setMeta: { takes: { key: string; value: string }; gives: void };
  putPrivateKey: { takes: PrivateKeyRow; gives: void };
  takeRecordKeys: { takes: readonly PrivateKeyRow[]; gives: void };
  followRecords: {
    takes: {
      readonly upTo: { readonly key: string; readonly value: string };
      readonly missing: readonly MissingKey[];
    };
    gives: void;
  };
  eraseRecords: { takes: Erasure; gives: void };
  putInvitation: { takes: Omit<InvitationRow, 'used'>; gives: void };
  useInvitation: { takes: { hash: string; at: Millis }; gives: boolean };
  putNodeInvitation: { takes: { id: string; text: string }; gives: void };
  forgetNodeInvitation: { takes: string; gives: void };
  putRefs: { takes: { objects: readonly GitObject[]; refs: readonly Ref[] }; gives: void };
  dropStaged: { takes: number; gives: void };
  /** One step; gives how many rows it moved: 0 when nothing is left to do. */
  archive: { takes: ArchiveBounds; gives: number };
  readNotices: { takes: { member: MemberId; upTo: number }; gives: void };
}

export type OperationName = keyof Operations;

export interface WriteRequest {
  readonly name: OperationName;
  readonly takes: unknown;
}

/** An error as it crosses threads. */
export interface Failure {
  readonly kind: 'town' | 'invariant' | 'other';
  readonly code: string;
  readonly message: string;
  readonly advice?: string | undefined;
}

export type Outcome = { readonly gives: unknown } | { readonly failed: Failure };

export type ToWriter =
  /** Comes first, and once. */
  | { readonly t: 'open'; readonly folder: string }
  | { readonly t: 'batch'; readonly requests: readonly WriteRequest[] }
  | { readonly t: 'close' };

export type FromWriter =
  | { readonly t: 'ready' }
  | { readonly t: 'refused'; readonly failure: Failure }
  /** Durable now (or, each by its own error, not taken). `transactions`: commits so far. */
  | { readonly t: 'done'; readonly outcomes: readonly Outcome[]; readonly transactions: number }
  /** The disk failed. Nothing of the last batch is known to be durable; nothing more is written. */
  | { readonly t: 'fatal'; readonly failure: Failure }
  | { readonly t: 'closed' };

/** What the thread is started with. `bell`: one number that is counted up for each message, so that it can sleep on it. */
export interface WriterData {
  readonly bell: Int32Array;
}
