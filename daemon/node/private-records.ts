/**
 * Personal fields: sealed under a random key per person and month. The keys are in SQLite only; the ledger holds what
 * nobody can read without them.
 */
import { randomBytes } from 'node:crypto';
import { envelopeHandle, isEnvelope, openEnvelope, sealEnvelope } from '../ledger/envelope.js';
import { hexOf } from '../ledger/hash.js';
import type { Json, JsonObject } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import type { PrivateKeyRow } from '../store/rows.js';
import type { Store } from '../store/store.js';

const OPENED_MAX = 4096;

export class PrivateRecords {
  /** Keys that are on their way to the disk, by subject and month. */
  private readonly making = new Map<string, Promise<PrivateKeyRow>>();
  private readonly opened = new Map<string, Json>();

  constructor(
    private readonly store: Store,
    private readonly town: string,
  ) {}

  /**
   * Seals a value for the ledger; resolves when the key it needs is durable.
   * `about` binds the envelope to what it belongs to, e.g. the entry type. `at` in ms chooses the month.
   */
  async seal(subject: string, about: string, value: Json, at: number): Promise<JsonObject> {
    const month = new Date(at).toISOString().slice(0, 7);
    const { key, handle } = this.store.privateKeyOf(subject, month) ?? (await this.makeKey(subject, month));
    return sealEnvelope(key, handle, value, this.aad(about), randomBytes(12));
  }

  /** The plain value, or null where its key is gone or was never here. */
  open(about: string, envelope: unknown): Json {
    if (!isEnvelope(envelope as Json)) return null;
    const sealed = envelope as JsonObject;
    const place = `${about} ${String(sealed['iv'])} ${String(sealed['ct']).slice(-32)}`;
    const known = this.opened.get(place);
    if (known !== undefined) return known;
    const row = this.store.privateKey(envelopeHandle(sealed));
    if (!row) return null;
    try {
      const value = openEnvelope(row.key, sealed, this.aad(about));
      if (this.opened.size >= OPENED_MAX) this.opened.delete(this.opened.keys().next().value as string);
      this.opened.set(place, value);
      return value;
    } catch (error) {
      if (error instanceof TownError) return null;
      throw error;
    }
  }

  private makeKey(subject: string, month: string): Promise<PrivateKeyRow> {
    const place = `${subject} ${month}`;
    const known = this.making.get(place);
    if (known) return known;
    const row = {
      handle: `k${hexOf(randomBytes(16))}`,
      subject,
      month,
      key: new Uint8Array(randomBytes(32)),
    };
    const made = this.store.putPrivateKey(row).then(() => row);
    this.making.set(place, made);
    return made.finally(() => this.making.delete(place));
  }

  private aad(about: string): string {
    return `mergetown/private/v1 ${this.town} ${about}`;
  }
}
