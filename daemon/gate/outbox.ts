/**
 * Records on their way to the daemon: held until it has acknowledged them, in memory or in the journal.
 * The journal is read back in pages, so memory stays bounded however long the daemon is away.
 * A record may be sent again after a lost connection; the daemon tells it by its id.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { TownError } from '../ledger/ids.js';
import type { Journal } from './journal.js';
import type { GateRecord } from './shapes.js';

/** Records held in memory; further ones live in the journal only. */
const heldMax = 10_000;
/** Sent and not yet acknowledged; fresh records go beyond it, they must not wait for old ones. */
const inFlightMax = 512;
const pageMax = 1000;
/** How long a journal that could not be read is left alone. */
const readRetryMs = 1000;

interface Held {
  readonly record: GateRecord;
  sent: boolean;
  journalled: boolean;
  /** Its append is under way. */
  journalling: boolean;
  readonly settle: () => void;
  readonly giveUp: () => void;
}

export interface OutboxEvents {
  /** Sends a record; false: the connection takes no more now. */
  readonly send: (record: GateRecord) => boolean;
  /** What people must learn. */
  readonly problem: (code: string, message: string) => void;
  readonly now: () => number;
}

export class Outbox {
  readonly #held = new Map<string, Held>();
  #connected = false;
  #inFlight = 0;
  /** The daemon is there but did not acknowledge in time: until it does, new records go to the journal at once. */
  #stalled = false;
  /** Up to here the journal's records are held in memory or done. */
  #loaded = 0;
  #loading: Promise<void> | null = null;
  #finishing: Promise<void> | null = null;
  #finishAsked = false;
  #closed = false;
  /** The journal is closed, or about to be. */
  #ended = false;
  #dropped = 0;

  constructor(
    private readonly journal: Journal,
    private readonly events: OutboxEvents,
  ) {}

  /** Loads the oldest records of an earlier run. */
  async open(): Promise<void> {
    while (this.#wantsMore()) await this.#load();
  }

  get unacked(): number {
    return this.#held.size;
  }

  get dropped(): number {
    return this.#dropped;
  }

  /**
   * Takes a record. Resolves to true when it is durable (acknowledged by the daemon, or in the journal),
   * to false when neither will happen. May take as long as the disk or the daemon take: callers put a bound on it.
   */
  keep(record: GateRecord): Promise<boolean> {
    return new Promise((resolve) => {
      const held: Held = {
        record,
        sent: false,
        journalled: false,
        journalling: false,
        settle: () => resolve(true),
        giveUp: () => resolve(false),
      };
      const fits = this.#held.size < heldMax;
      if (fits) this.#held.set(record.id, held);
      if (fits && this.#connected) this.#send(held);
      if (!held.sent || this.#stalled) void this.#append(held);
    });
  }

  /** The wait for this record is over: writes it to the journal too. */
  stalled(id: string): void {
    this.#stalled = this.#connected;
    const held = this.#held.get(id);
    if (held !== undefined) void this.#append(held);
  }

  /** The daemon has said hello: sends what is held, oldest first. */
  connected(): void {
    this.#connected = true;
    this.#stalled = false;
    this.pump();
  }

  /** The daemon is gone: what it did not acknowledge goes to the journal. */
  lost(): void {
    this.#connected = false;
    this.#stalled = false;
    this.#inFlight = 0;
    for (const held of this.#held.values()) {
      held.sent = false;
      void this.#append(held);
    }
  }

  /** These records are durable in the daemon. Unknown ids are ignored. */
  acked(ids: readonly string[]): void {
    this.#stalled = false;
    for (const id of ids) {
      const held = this.#held.get(id);
      if (held === undefined) continue;
      this.#held.delete(id);
      if (held.sent) this.#inFlight -= 1;
      held.settle();
    }
    this.pump();
    this.#finish();
  }

  /** Sends what may be sent now. */
  pump(): void {
    if (!this.#connected) return;
    for (const held of this.#held.values()) {
      if (this.#inFlight >= inFlightMax) break;
      if (!held.sent && !this.#send(held)) break;
    }
    if (this.#wantsMore()) this.#more();
  }

  /** Waits for appends under way. What is held and not journalled is journalled first. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#held.values()].map((held) => this.#append(held)));
    await this.#loading;
    this.#finish();
    await this.#finishing;
    this.#ended = true;
    await this.journal.close();
  }

  #send(held: Held): boolean {
    if (!this.events.send(held.record)) return false;
    held.sent = true;
    this.#inFlight += 1;
    return true;
  }

  async #append(held: Held): Promise<void> {
    if (held.journalled || held.journalling) return;
    held.journalling = true;
    try {
      const place = await this.journal.append(held.record);
      held.journalled = true;
      // Read back later only what is not in memory, and what stands behind such records.
      if (this.#loaded === place.start && this.#isHeldOrDone(held)) this.#loaded = place.end;
      held.settle();
      this.#finish();
      if (this.#connected && this.#wantsMore()) this.#more();
    } catch (error) {
      this.#notJournalled(held, error as TownError);
    } finally {
      held.journalling = false;
    }
  }

  /** A record that had no place in memory is in the journal alone. */
  #isHeldOrDone(held: Held): boolean {
    return this.#held.get(held.record.id) === held || held.sent;
  }

  #notJournalled(held: Held, error: TownError): void {
    held.giveUp();
    const lost = this.#held.get(held.record.id) !== held && !held.sent;
    if (lost) this.#dropped += 1;
    this.events.problem(
      lost ? 'records-dropped' : error.code,
      lost
        ? `${this.#dropped} records were lost: ${error.message}`
        : `A record is in memory only: ${error.message}`,
    );
  }

  #wantsMore(): boolean {
    return !this.#closed && this.#loaded < this.journal.size && this.#held.size < heldMax / 2;
  }

  #more(): void {
    this.#loading ??= this.#load()
      .catch(async (error: unknown) => {
        this.events.problem('journal-failed', `The journal cannot be read: ${String(error)}`);
        await sleep(readRetryMs);
      })
      .finally(() => {
        this.#loading = null;
      })
      .then(() => {
        this.pump();
        this.#finish();
      });
  }

  async #load(): Promise<void> {
    const from = this.#loaded;
    const { records, next, bad } = await this.journal.read(from, pageMax);
    if (bad.length > 0) {
      const path = await this.journal.setAside(bad, this.events.now());
      this.events.problem(
        'journal-corrupt',
        `${bad.length} lines of the journal are corrupt; they were kept in ${path}.`,
      );
    }
    // An append may have moved the mark while this page was read.
    if (this.#loaded !== from) return;
    this.#loaded = next;
    for (const record of records) {
      const known = this.#held.get(record.id);
      if (known !== undefined) known.journalled = true;
      else
        this.#held.set(record.id, {
          record,
          sent: false,
          journalled: true,
          journalling: false,
          settle: () => undefined,
          giveUp: () => undefined,
        });
    }
  }

  /** Empties the journal once all that it holds is acknowledged; looks again when asked meanwhile. */
  #finish(): void {
    if (this.#ended) return;
    this.#finishAsked = true;
    this.#finishing ??= this.#clearWhenDone();
  }

  async #clearWhenDone(): Promise<void> {
    const { journal } = this;
    try {
      while (this.#finishAsked) {
        this.#finishAsked = false;
        await journal.whenIdle();
        if (!this.#journalIsDone()) continue;
        if (await journal.clear(journal.size)) this.#loaded = 0;
        else if (journal.failed !== null) this.events.problem(journal.failed.code, journal.failed.message);
      }
    } finally {
      // In the same turn as the last look: who asks from now on starts another.
      this.#finishing = null;
    }
  }

  #journalIsDone(): boolean {
    const { journal } = this;
    // A page being read is still to be judged by where the journal stood; once it is here this is asked again.
    if (this.#loading !== null) return false;
    if (journal.size === 0 || this.#loaded < journal.size || journal.failed !== null) return false;
    for (const held of this.#held.values()) if (held.journalled || held.journalling) return false;
    return true;
  }
}
