/**
 * Personal fields: sealed under a random key per subject and month. The keys are in SQLite only; the ledger holds what nobody
 * can read without them. Who gets the keys, and when they are destroyed, record-keeper.ts decides.
 */
import { randomBytes } from 'node:crypto';
import { envelopeHandle, isEnvelope, openEnvelope, sealEnvelope } from '../ledger/envelope.js';
import type { Json, JsonObject } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { monthOf, recordHandle } from '../ledger/record-key.js';
import type { StateReader } from '../ledger/state.js';
import type { RecordReads } from '../store/record-rows.js';
import type { PrivateKeyRow } from '../store/rows.js';
import type { Store } from '../store/store.js';
import { isErased } from './record-rules.js';

const OPENED_MAX = 4096;

/** Why a sealed field cannot be read here: its key was destroyed, or has not come to this node. */
export type Unreadable = 'erased' | 'not-here';

export interface PrivateRecordsParts {
  readonly store: Pick<Store, 'records' | 'putPrivateKey'>;
  /** The adopted state: says whose records were erased. */
  readonly state: StateReader;
  /** A key was made here and is durable. */
  readonly made: (key: PrivateKeyRow) => void;
}

/** What an envelope is bound to beside its key. */
const boundTo = (about: string): string => `mergetown/private/v1 ${about}`;

/** What an envelope holds; null where it is none, does not open, or its key is not among these. */
export function openRecord(records: RecordReads, about: string, envelope: unknown): Json {
  if (!isEnvelope(envelope as Json)) return null;
  const sealed = envelope as JsonObject;
  const row = records.key(envelopeHandle(sealed));
  if (!row) return null;
  try {
    return openEnvelope(row.key, sealed, boundTo(about));
  } catch (error) {
    if (error instanceof TownError) return null;
    throw error;
  }
}

export class PrivateRecords {
  /** Keys that are on their way to the disk, by subject and month. */
  private readonly making = new Map<string, Promise<PrivateKeyRow>>();
  private readonly opened = new Map<string, Json>();

  constructor(private readonly parts: PrivateRecordsParts) {}

  /** Whether the records of this person or member were erased: nothing more is sealed for them. */
  isErased(owner: string): boolean {
    return isErased(this.parts.state, owner);
  }

  /**
   * Seals a value for the ledger; resolves when the key it needs is durable.
   * @param subject an id and after a space what of theirs, e.g. `p0123… doors`: what is kept and destroyed together
   * @param about binds the envelope to what it belongs to, e.g. the entry type; @param at in ms chooses the month
   * @throws TownError `record-erased` where the subject's records were erased
   */
  async seal(subject: string, about: string, value: Json, at: number): Promise<JsonObject> {
    if (this.isErased(subject))
      throw new TownError(
        'record-erased',
        'The records of this person were erased: nothing more is written about them.',
        'Add the person anew if they come back; without a note, credits can be sent as before.',
      );
    const month = monthOf(at);
    const known = this.parts.store.records.keyFor(subject, month);
    const { key, handle } = known ?? (await this.makeKey(subject, month));
    return sealEnvelope(key, handle, value, boundTo(about), randomBytes(12));
  }

  /** The plain value, or null where its key is gone or was never here. */
  open(about: string, envelope: unknown): Json {
    if (!isEnvelope(envelope as Json)) return null;
    const sealed = envelope as JsonObject;
    const place = `${about} ${String(sealed['iv'])} ${String(sealed['ct']).slice(-32)}`;
    const known = this.opened.get(place);
    if (known !== undefined) return known;
    const value = openRecord(this.parts.store.records, about, sealed);
    if (value === null) return null;
    if (this.opened.size >= OPENED_MAX) this.opened.delete(this.opened.keys().next().value as string);
    this.opened.set(place, value);
    return value;
  }

  /** Why this envelope does not open here. */
  whyNot(envelope: Json): Unreadable {
    if (!isEnvelope(envelope)) return 'erased';
    return this.parts.store.records.isMissing(envelopeHandle(envelope)) ? 'not-here' : 'erased';
  }

  /** Forgets what was opened: keys were destroyed. */
  forget(): void {
    this.opened.clear();
  }

  private makeKey(subject: string, month: string): Promise<PrivateKeyRow> {
    const place = `${subject} ${month}`;
    const known = this.making.get(place);
    if (known) return known;
    const key = new Uint8Array(randomBytes(32));
    const row = { handle: recordHandle({ subject, month, key }), subject, month, key };
    const made = this.parts.store.putPrivateKey(row).then(() => {
      this.parts.made(row);
      return row;
    });
    this.making.set(place, made);
    return made.finally(() => this.making.delete(place));
  }
}
