/**
 * The contract protocol: one JSON object a line on stdin and stdout, at most 1 MiB a line.
 * The daemon calls; the contract may ask for what it reads, one question at a time; then it gives its result.
 * A contract keeps nothing between calls. `dapps/README.md` tells it to authors.
 */
import type { Json, JsonObject } from './ids.js';

/** Who signed an entry, as the kernel knows them. */
export interface Author {
  /** The member, or null for a node's own fact. */
  readonly member: string | null;
  readonly roles: readonly string[];
  readonly key: string;
}

/** The entry as a contract sees it. `type` is `<dapp>.<verb>`. */
export interface ContractEntry {
  readonly id: string;
  readonly type: string;
  readonly node: string;
  readonly n: number;
  readonly at: number;
  readonly author: Author;
  readonly body: JsonObject;
}

/** What a contract knows of where it runs. `time` (ms) is the merge's, for rules; `tau` the entry's own, for schedules. */
export interface ContractContext {
  readonly town: string;
  readonly height: number;
  readonly time: number;
  readonly tau: number;
  readonly parameters: JsonObject;
}

/** Replaces (or, with `null`, deletes) one value in the dapp's own namespace. */
export interface Write {
  readonly collection: string;
  readonly key: string;
  readonly value: Json;
}

/**
 * What a contract may ask of the accounts. Accounts: `vault`, `member.<member id>`. Credits are integers > 0.
 * `lock` puts credits of `from` aside under an id of the dapp's own; it is resolved once, by `post` or `release`.
 * `post` pays out parts of it; what is left over goes back to the owner. `deadline` (ms): released by itself then.
 * `charge` is metered use, for facts that are not restrictive: it is paid from the allowance that `member` (an id) has at
 * the fact's node, and what that does not cover becomes a due, a debt on record. No balance falls below zero.
 */
export type Posting =
  | { readonly op: 'transfer'; readonly from: string; readonly to: string; readonly amount: number }
  | {
      readonly op: 'lock';
      readonly id: string;
      readonly from: string;
      readonly amount: number;
      readonly deadline?: number;
    }
  | {
      readonly op: 'post';
      readonly id: string;
      readonly parts: readonly { readonly to: string; readonly amount: number }[];
    }
  | { readonly op: 'release'; readonly id: string }
  | { readonly op: 'charge'; readonly member: string; readonly to: string; readonly amount: number };

/** Tells a member something; kept in the receipt's words, not in the state. `text` holds no personal data. */
export interface Notice {
  readonly member: string;
  readonly text: string;
}

/** Daemon → contract. */
export type ToContract =
  | {
      readonly t: 'apply';
      readonly id: number;
      readonly entry: ContractEntry;
      readonly ctx: ContractContext;
    }
  /** After the entries of a merge: is the dapp's own state sound? `entries`: those of this merge that touched it. */
  | {
      readonly t: 'test';
      readonly id: number;
      readonly entries: readonly string[];
      readonly ctx: ContractContext;
    }
  /** A read-only question by name, for views such as the rights table. */
  | {
      readonly t: 'query';
      readonly id: number;
      readonly name: string;
      readonly args: JsonObject;
      readonly ctx: ContractContext;
    }
  /** The answer to a `get` (null: no such value) or `list`. */
  | { readonly t: 'value'; readonly id: number; readonly value: Json }
  | {
      readonly t: 'page';
      readonly id: number;
      readonly items: readonly { readonly key: string; readonly value: Json }[];
      /** Ask again with `after: next` for more; null: that was all. */
      readonly next: string | null;
    }
  /** The question was not allowed or not understood. */
  | { readonly t: 'refused'; readonly id: number; readonly code: string; readonly message: string };

/** Contract → daemon. `dapp` defaults to its own; others (and `kernel`) only where the manifest's `reads` names them. */
export type FromContract =
  | {
      readonly t: 'get';
      readonly id: number;
      readonly dapp?: string;
      readonly collection: string;
      readonly key: string;
    }
  | {
      readonly t: 'list';
      readonly id: number;
      readonly dapp?: string;
      readonly collection: string;
      readonly after?: string;
      /** 1–256; default 256. Items come in bytewise order of their keys. */
      readonly limit?: number;
    }
  | {
      readonly t: 'accept';
      readonly id: number;
      readonly writes: readonly Write[];
      readonly postings: readonly Posting[];
      readonly notices: readonly Notice[];
      /** Only for facts: the fact broke a rule; it is recorded all the same. */
      readonly irregular?: { readonly code: string; readonly reason: string };
    }
  | { readonly t: 'reject'; readonly id: number; readonly code: string; readonly reason: string }
  | { readonly t: 'pass'; readonly id: number }
  | {
      readonly t: 'veto';
      readonly id: number;
      readonly entries: readonly string[];
      readonly code: string;
      readonly reason: string;
    }
  | { readonly t: 'result'; readonly id: number; readonly value: Json }
  /** The contract itself failed: a defect in the dapp. The entry is rejected with `contract-error`. */
  | { readonly t: 'error'; readonly id: number; readonly message: string };

/** One verb of a dapp, from its manifest. */
export interface VerbManifest {
  readonly kind: 'claim' | 'fact';
  /** Revokes, suspends, locks down: goes first in a merge and holds from any verified head at once. */
  readonly restrictive?: boolean;
  readonly summary: string;
}

/** `dapp.json`. */
export interface DappManifest {
  /** `[a-z][a-z0-9-]{0,31}`; not a name of the kernel. */
  readonly name: string;
  readonly version: string;
  readonly summary: string;
  readonly protocol: 1;
  /** The command inside the dapp's folder, e.g. `["node", "contract.mjs"]`. */
  readonly contract: { readonly command: readonly string[] };
  readonly verbs: { readonly [verb: string]: VerbManifest };
  /** Collections of its own that others may see in the panel and API; all are in the ledger anyway. */
  readonly collections: readonly string[];
  /** Other namespaces it reads: `kernel`, or dapp names. */
  readonly reads: readonly string[];
  readonly queries: readonly string[];
  readonly limits: {
    readonly memoryMiB: number;
    readonly cpus: number;
    readonly pids: number;
    readonly callMs: number;
  };
}
