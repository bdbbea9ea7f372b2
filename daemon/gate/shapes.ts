/**
 * What goes over the gate's Unix socket: one JSON object a line, at most 64 KiB (`rights` 8 MiB), both ways.
 * The gate knows nothing else of the town.
 */

/** Hardware of one door, from the node's config file. */
export interface DoorWiring {
  /** `[a-z0-9-]{1,32}`, the same as in the ledger. */
  readonly id: string;
  readonly name: string;
  /** Line of the strike: a name of the board's pin map, e.g. `strike1`. Always off unless a pulse runs. */
  readonly strike: string;
  /** Reader: `simulated`, or `wiegand` with the two line names. */
  readonly reader:
    { readonly kind: 'simulated' } | { readonly kind: 'wiegand'; readonly d0: string; readonly d1: string };
  /** Line of an exit button, if there is one. */
  readonly exitButton?: string;
  readonly pulseMs: number;
}

/** `simulated`, or the name of a pin map in `firmware-configs/boards`. */
export interface GateConfig {
  readonly board: string;
  readonly doors: readonly DoorWiring[];
  /** How long a decision may wait for its record to be on disk before the strike moves all the same. */
  readonly durableWaitMs: number;
  /** With the daemon away: go on by the last table for this long; 0 = closed at once. */
  readonly lastTableMs: number;
}

export interface BadgeRight {
  readonly person: string;
  readonly status: 'active' | 'revoked' | 'suspended';
  /** Door ids, or `*`. */
  readonly doors: readonly string[] | '*';
  /** Valid until this time (ms), for day passes. */
  readonly until?: number;
  readonly reason?: string;
}

/** What the door-access dapp derives from the ledger. Badges by keyed hash (HMAC-SHA-256, 64 hex digits). */
export interface RightsTable {
  /** Grows with each table; the gate never goes back to a smaller one of the same town. */
  readonly version: number;
  readonly town: string;
  readonly issuedAt: number;
  /** The key that turns a badge number into its hash: 64 hex digits. */
  readonly badgeKey: string;
  readonly doors: { readonly [doorId: string]: { readonly mode: 'normal' | 'lockdown' } };
  readonly badges: { readonly [badgeHash: string]: BadgeRight };
}

/** The codes a decision can have. */
export type DecisionCode =
  | 'granted'
  | 'exit-button'
  | 'remote-open'
  | 'unknown-badge'
  | 'badge-revoked'
  | 'person-suspended'
  | 'badge-expired'
  | 'no-right-here'
  | 'lockdown'
  | 'unknown-door'
  | 'no-table'
  | 'stale-table'
  | 'bad-read';

/** What happened at a door. `id` is unique for ever: `<gate instance>-<running number>`. */
export interface GateRecord {
  readonly id: string;
  readonly at: number;
  readonly door: string;
  readonly kind: 'tap' | 'exit' | 'open' | 'late';
  readonly outcome: 'granted' | 'refused';
  readonly code: DecisionCode;
  readonly reason?: string;
  /** Badge hash, where a badge was read. */
  readonly badge?: string;
  readonly person?: string;
  /** Who asked, for `open`. */
  readonly by?: string;
  /** Version of the rights table that decided. */
  readonly table: number;
  /** For `late`: the record whose strike moved before its record was known to be on disk, and after how long. */
  readonly of?: string;
  readonly waitedMs?: number;
}

/** From the daemon to the gate. `ref` is echoed in the `done` or `failed` that answers. */
export type ToGate =
  | { readonly t: 'hello'; readonly daemon: string }
  | { readonly t: 'config'; readonly ref: number; readonly config: GateConfig }
  | { readonly t: 'rights'; readonly ref: number; readonly table: RightsTable }
  /** The records with these ids are durable in the daemon. */
  | { readonly t: 'ack'; readonly ids: readonly string[] }
  /** A badge held to a simulated reader; refused where the door's reader is a real one. */
  | { readonly t: 'tap'; readonly ref: number; readonly door: string; readonly badgeNumber: string }
  | { readonly t: 'open'; readonly ref: number; readonly door: string; readonly by: string }
  /** Sends the gate home: strikes off, journal closed, exit 0. */
  | { readonly t: 'stop'; readonly ref: number };

/** From the gate to the daemon. */
export type FromGate =
  | {
      readonly t: 'hello';
      readonly pid: number;
      readonly instance: string;
      readonly board: string;
      readonly simulated: boolean;
      readonly doors: readonly string[];
      readonly table: number;
      readonly journalled: number;
    }
  | { readonly t: 'record'; readonly record: GateRecord }
  /** A strike moved, or a line changed: for the live view, not for the ledger. */
  | {
      readonly t: 'strike';
      readonly door: string;
      readonly on: boolean;
      readonly at: number;
      readonly record?: string;
    }
  | { readonly t: 'done'; readonly ref: number; readonly record?: GateRecord }
  | { readonly t: 'failed'; readonly ref: number; readonly code: string; readonly message: string };
