/** Gives keys of sealed records to the nodes that the charter lets read them: new ones at once, others when they ask. */
import type { NodeId, JsonObject } from '../ledger/ids.js';
import { recordHandle } from '../ledger/record-key.js';
import { isSealingKey } from '../ledger/sealing.js';
import type { PrivateKeyRow } from '../store/rows.js';
import type { Store } from '../store/store.js';
import { KEYS_MAX, sealKeys } from '../sync/record-keys.js';
import type { Clock } from './clock.js';
import type { NodeKeys } from './key-files.js';
import type { KeptRecords } from './kept-records.js';
import type { MainLine } from './main-line.js';
import { mayReadRecords } from './record-rules.js';

/** Keys that are made in so short a time are told together. */
const TOGETHER_MS = 50;
/** Questions that one peer may ask within the time. */
const QUESTIONS_MAX = 40;
const QUESTIONS_MS = 10_000;

export interface KeyGivingParts {
  readonly store: Pick<Store, 'records'>;
  readonly main: MainLine;
  readonly keys: NodeKeys;
  readonly clock: Clock;
  /** Random bytes, never the same twice. */
  readonly random: (length: number) => Uint8Array;
  /** Milliseconds that never go back. */
  readonly steady: () => number;
  /** The nodes that are heard just now. */
  readonly connected: () => readonly NodeId[];
  /** What cannot be sent is dropped: who needs it asks. */
  readonly send: (kind: 'keys-give', to: NodeId, body: JsonObject) => void;
}

/** Why a message is not taken. */
export interface Refusal {
  readonly code: string;
  readonly reason: string;
}

export class KeyGiving {
  private readonly questions = new Map<NodeId, { count: number; until: number }>();
  private toTell: PrivateKeyRow[] = [];
  private cancelTell: (() => void) | null = null;

  constructor(
    private readonly parts: KeyGivingParts,
    private readonly kept: KeptRecords,
  ) {}

  stop(): void {
    this.cancelTell?.();
  }

  /** Tells a key that was made here to those who may read and are heard. */
  tell(row: PrivateKeyRow): void {
    this.toTell.push(row);
    this.cancelTell ??= this.parts.clock.after(TOGETHER_MS, () => {
      this.cancelTell = null;
      const rows = this.toTell.splice(0);
      for (const node of this.parts.connected())
        for (let from = 0; from < rows.length; from += KEYS_MAX)
          this.give(node, rows.slice(from, from + KEYS_MAX), false);
    });
  }

  /** Answers a question, also where none of the keys is here. @returns why it does not, or null */
  asked(from: NodeId, handles: readonly string[]): Refusal | null {
    const { main, store } = this.parts;
    if (!mayReadRecords(main.charter, from))
      return {
        code: 'keys-not-permitted',
        reason: `The node ${from} asked for keys of records; the charter does not let it read them.`,
      };
    if (!this.mayAsk(from)) return { code: 'busy', reason: `The node ${from} asks too often for keys.` };
    const rows = handles.map((handle) => store.records.key(handle)).filter((row) => row !== null);
    this.give(from, rows, true);
    return null;
  }

  private mayAsk(from: NodeId): boolean {
    const now = this.parts.steady();
    const known = this.questions.get(from);
    if (known === undefined || known.until <= now) {
      for (const [node, { until }] of this.questions) if (until <= now) this.questions.delete(node);
      this.questions.set(from, { count: 1, until: now + QUESTIONS_MS });
      return true;
    }
    known.count += 1;
    return known.count <= QUESTIONS_MAX;
  }

  /** Only to a node that may read, sealed to it, and nothing that is over. */
  private give(to: NodeId, rows: readonly PrivateKeyRow[], answer: boolean): void {
    const { main, keys, random, send } = this.parts;
    const { charter, town } = main;
    const sealing = charter.nodes[to]?.sealing;
    if (to === keys.id || !isSealingKey(sealing) || !mayReadRecords(charter, to)) return;
    // What was made before names of keys told whose they are cannot be checked by others.
    const good = rows.filter((row) => recordHandle(row) === row.handle && this.kept.isWanted(row));
    if (good.length === 0 && !answer) return;
    const sealed =
      good.length === 0 ? null : sealKeys(good, { town, from: keys.id, to }, sealing, random(32));
    send('keys-give', to, { sealed, answer });
  }
}
