/**
 * The keys of sealed records of a node: follows which ones the ledger names, tells new ones to the nodes that the charter lets
 * read records, asks for those that are missing, answers who may ask, and destroys what is over: keys past their retention, keys
 * of those whose records were erased, and at a node that may not read (any more) those that others gave it.
 */
import type { NodeId, JsonObject } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { handlesIn, recordHandle, type RecordKey } from '../ledger/record-key.js';
import { FOLLOWED_META } from '../store/arrivals.js';
import type { Erasure, MissingKey } from '../store/record-rows.js';
import type { PrivateKeyRow } from '../store/rows.js';
import type { Store } from '../store/store.js';
import { openKeys, readKeysAsk, readKeysGive } from '../sync/record-keys.js';
import { KeptRecords } from './kept-records.js';
import { KeyGiving, type KeyGivingParts, type Refusal } from './key-giving.js';
import { KeyAsking, MISSING_MAX } from './record-keys.js';
import { erasedOwners, isErased, mayReadRecords, memberOf } from './record-rules.js';

/** Entries that are looked through at once; between them others have their turn. */
const PAGE = 500;
const HANDLES_MAX = 100_000;
/** Keys that came before the entries that name them. */
const EARLY_MAX = 1_000;
/** What happens in so short a time is told, and looked at, together. */
const TOGETHER_MS = 50;
/** What failed for a passing reason is tried again after this. */
const AGAIN_MS = 5_000;
const erasedMeta = (owner: string): string => `erased ${owner}`;

export interface RecordKeeperParts extends Omit<KeyGivingParts, 'store' | 'send'> {
  readonly store: Pick<
    Store,
    'records' | 'meta' | 'setMeta' | 'followRecords' | 'takeRecordKeys' | 'eraseRecords'
  >;
  /** What cannot be sent is dropped: who needs it asks. */
  readonly send: (kind: 'keys-ask' | 'keys-give', to: NodeId, body: JsonObject) => void;
  /** Records can be read now that could not, or the other way round. */
  readonly changed: () => void;
  /** Keys go from the database now: copies of it that have them go first, so that a crash in between leaves this to be done again. */
  readonly forgetCopies: () => Promise<void>;
  /** The records of these people and members were erased: whatever else is kept of them in plain has to go. */
  readonly erased: (owners: readonly string[]) => Promise<void>;
  readonly failed: (error: unknown) => void;
}

export class RecordKeeper {
  private readonly asking = new KeyAsking();
  private readonly early = new Map<string, RecordKey>();
  private present: ReadonlySet<NodeId> = new Set();
  private cancelAsk: (() => void) | null = null;
  private cancelWork: (() => void) | null = null;
  private work: Promise<void> = Promise.resolve();
  private isWorkAsked = false;
  /** The first kept month and the number of erasures that were seen to last; null: not since the start. */
  private tidied: { readonly first: string; readonly erasures: number } | null = null;
  private started = false;
  private stopped = false;

  private readonly kept: KeptRecords;
  private readonly giving: KeyGiving;

  constructor(private readonly parts: RecordKeeperParts) {
    this.kept = new KeptRecords(parts.main, parts.keys);
    this.giving = new KeyGiving(parts, this.kept);
  }

  /** Begins: what a crash left undone is made up for. */
  start(): void {
    this.started = true;
    this.workSoon();
  }

  async stop(): Promise<void> {
    this.stopped = true;
    this.giving.stop();
    this.cancelAsk?.();
    this.cancelWork?.();
    await this.work;
    // How far the numbers of arrival go is noted with it: from then on no entry can go unseen.
    if (this.started) await this.follow(true).catch(this.parts.failed);
  }

  /** Entries have come, of this node or of others. */
  stored(): void {
    this.workSoon();
  }

  /** A merge became `main`: it may end retention, erase, or change who may read. */
  adopted(): void {
    this.asking.stirred();
    this.workSoon();
  }

  /** Who is heard may have changed. */
  peersChanged(): void {
    const now = new Set(this.parts.connected());
    const came = [...now].some((node) => !this.present.has(node));
    this.present = now;
    if (!came) return;
    this.asking.peerCame(this.parts.steady());
    this.askNow();
  }

  /** A key was made here: told at once to those who may read and are heard. */
  made(row: PrivateKeyRow): void {
    // Erased while it was made.
    if (isErased(this.parts.main.state, row.subject)) {
      this.tidied = null;
      return this.workSoon();
    }
    this.giving.tell(row);
  }

  /** A message about keys. @returns why it is not taken, or null; @throws TownError `malformed`, `sealed` */
  receive(kind: string, from: NodeId, body: JsonObject): Refusal | null {
    return kind === 'keys-ask'
      ? this.giving.asked(from, readKeysAsk(body).handles)
      : this.given(from, readKeysGive(body));
  }

  // Getting --------------------------------------------------------------------------------------------------------------

  private given(from: NodeId, body: ReturnType<typeof readKeysGive>): Refusal | null {
    const { main, keys, store } = this.parts;
    // It was let in, and has not adopted that yet: it asks when it has.
    if (main.charter.nodes[keys.id] === undefined) return null;
    if (!this.kept.mayRead)
      return {
        code: 'keys-not-permitted',
        reason: `The node ${from} gave keys of records; the charter does not let this node read them.`,
      };
    const { sealed, answer } = body;
    const way = { town: main.town, from, to: keys.id };
    const list = sealed === null ? [] : openKeys(sealed, way, keys.sealingSecret);
    const taken: PrivateKeyRow[] = [];
    const over: string[] = [];
    for (const key of list) {
      const row = { ...key, handle: recordHandle(key) };
      const isNamed = this.asking.isMissing(row.handle) || store.records.isMissing(row.handle);
      if (!this.kept.isWanted(row)) {
        if (isNamed) over.push(row.handle);
      } else if (isNamed) taken.push(row);
      else if (store.records.key(row.handle) === null) this.keepEarly(row.handle, key);
    }
    for (const handle of [...over, ...taken.map((row) => row.handle)]) this.asking.forget(handle);
    if (answer) this.asking.answered(from, this.parts.connected().length, this.parts.steady());
    if (taken.length > 0) this.take(taken);
    if (over.length > 0)
      store.eraseRecords({ handles: [], persons: [], missing: over }).catch(this.parts.failed);
    this.askNow();
    return null;
  }

  private keepEarly(handle: string, key: RecordKey): void {
    this.early.set(handle, key);
    for (const oldest of this.early.keys()) if (this.early.size > EARLY_MAX) this.early.delete(oldest);
  }

  private take(rows: readonly PrivateKeyRow[]): void {
    this.parts.store
      .takeRecordKeys(rows)
      .then(() => {
        // What was erased while they were on their way to the disk.
        if (rows.some(({ subject }) => isErased(this.parts.main.state, subject))) {
          this.tidied = null;
          this.workSoon();
        }
        this.parts.changed();
      })
      .catch(this.parts.failed);
  }

  private askNow(): void {
    this.cancelAsk?.();
    this.cancelAsk = null;
    if (this.stopped || !this.started || !this.kept.mayRead) return;
    const { steady, clock, send } = this.parts;
    for (const { to, handles } of this.asking.next(this.peers(), steady())) send('keys-ask', to, { handles });
    const due = this.asking.due();
    if (due !== null && this.present.size > 0)
      this.cancelAsk = clock.after(Math.max(TOGETHER_MS, due - steady()), () => this.askNow());
  }

  /** Those heard, who may read first: they are most likely to have what somebody else made. */
  private peers(): readonly NodeId[] {
    const { charter } = this.parts.main;
    const rank = (node: NodeId): number => (mayReadRecords(charter, node) ? 0 : 1);
    return [...this.parts.connected()].sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
  }

  // Following and tidying ------------------------------------------------------------------------------------------------

  private workSoon(): void {
    this.isWorkAsked = true;
    if (this.stopped || !this.started || this.cancelWork !== null) return;
    this.cancelWork = this.parts.clock.after(TOGETHER_MS, () => {
      this.work = this.workNow().finally(() => {
        this.cancelWork = null;
        if (this.isWorkAsked) this.workSoon();
      });
    });
  }

  private async workNow(): Promise<void> {
    this.isWorkAsked = false;
    try {
      await this.follow();
      await this.tidy();
      this.refill();
      this.askNow();
    } catch (error) {
      if (this.stopped) return;
      this.parts.failed(error);
      if (error instanceof TownError) this.parts.clock.after(AGAIN_MS, () => this.workSoon());
    }
  }

  /** Goes through the entries that came since it was here last, and notes which keys they name that are not here. */
  private async follow(isLast = false): Promise<void> {
    const { store, keys, main, clock } = this.parts;
    let row = Number(store.meta(FOLLOWED_META) ?? '-1');
    if (row < 0) {
      // A town may begin with people in its state.
      const at = main.head.time;
      const named = [...this.kept.held()].map((handle) => ({ handle, node: keys.id, at }));
      row = 0;
      await this.note(row, named);
    }
    while (isLast || !this.stopped) {
      const entries = store.records.arrivedAfter(row, PAGE);
      const last = entries[entries.length - 1];
      if (last === undefined) return;
      const named = entries.flatMap(({ node, at, bytes }) =>
        handlesIn(Buffer.from(bytes).toString('utf8')).map((handle) => ({ handle, node, at })),
      );
      await this.note((row = last.row), named);
      if (entries.length < PAGE) return;
      await new Promise<void>((resolve) => void clock.after(1, resolve));
    }
  }

  private async note(upTo: number, named: readonly MissingKey[]): Promise<void> {
    const { store } = this.parts;
    const unknown = named.filter(({ handle }) => store.records.key(handle) === null);
    await store.followRecords({ upTo: { key: FOLLOWED_META, value: String(upTo) }, missing: unknown });
    const here: PrivateKeyRow[] = [];
    for (const { handle } of unknown) {
      const key = this.early.get(handle);
      if (key !== undefined) here.push({ ...key, handle });
      this.early.delete(handle);
    }
    const wanted = here.filter((row) => this.kept.isWanted(row));
    if (wanted.length > 0) this.take(wanted);
    const now = this.parts.steady();
    const taken = new Set(here.map(({ handle }) => handle));
    if (this.kept.mayRead)
      for (const { handle, node } of unknown) if (!taken.has(handle)) this.asking.lacks(handle, node, now);
  }

  /** What did not fit is asked for once there is room; and what is known from before the start. */
  private refill(): void {
    const { store, steady } = this.parts;
    if (!this.kept.mayRead) return this.asking.clear();
    if (this.asking.size > 0 || store.records.missingCount() === 0) return;
    for (const { handle, node } of store.records.missing(MISSING_MAX))
      this.asking.lacks(handle, node, steady());
  }

  /** Destroys what is over by the adopted state. */
  private async tidy(): Promise<void> {
    const { main, store } = this.parts;
    const { state } = main;
    const owners = erasedOwners(state);
    const { firstMonth: first } = this.kept;
    const gone = new Set<string>();
    const missing: string[] = [];
    if (this.tidied?.erasures !== owners.length && owners.length > 0)
      for (const subject of store.records.subjects(HANDLES_MAX))
        if (isErased(state, subject))
          for (const handle of store.records.handlesOf(subject, HANDLES_MAX)) gone.add(handle);
    if (this.tidied?.first !== first) {
      const isOver = (handle: string): boolean => !this.kept.held().has(handle);
      for (const handle of store.records.handlesBefore(first, HANDLES_MAX))
        if (isOver(handle)) gone.add(handle);
      const begins = Date.parse(`${first}-01T00:00:00Z`) as MissingKey['at'];
      missing.push(...store.records.missingBefore(begins, HANDLES_MAX).filter(isOver));
    }
    // A node that is not in the charter (yet) may be a restored one: what it has may be all there is.
    const isBarred = main.charter.nodes[this.parts.keys.id] !== undefined && !this.kept.mayRead;
    const given = isBarred ? store.records.handlesGiven(HANDLES_MAX) : [];
    for (const handle of given) gone.add(handle);
    const fresh = owners.filter((owner) => store.meta(erasedMeta(owner)) === null);
    if (gone.size > 0) await this.parts.forgetCopies();
    await this.destroy({ handles: [...gone], persons: fresh, missing });
    // Should this node be let read again, it asks for them.
    if (given.length > 0) {
      const at = main.head.time;
      const named = given.map((handle) => ({ handle, node: this.parts.keys.id, at }));
      await this.note(Number(store.meta(FOLLOWED_META) ?? '0'), named);
    }
    if (fresh.length > 0) {
      const members = fresh.map((owner) => memberOf(state, owner)).filter((member) => member !== null);
      await this.parts.erased([...fresh, ...members]);
      for (const owner of fresh) await store.setMeta(erasedMeta(owner), String(main.head.height));
    }
    this.tidied = { first, erasures: owners.length };
  }

  private async destroy(erasure: Erasure): Promise<void> {
    const { handles, persons, missing } = erasure;
    if (handles.length + persons.length + missing.length === 0) return;
    await this.parts.store.eraseRecords(erasure);
    for (const handle of [...handles, ...missing]) this.asking.forget(handle);
    for (const [handle, { subject }] of this.early)
      if (isErased(this.parts.main.state, subject)) this.early.delete(handle);
    this.parts.changed();
  }

  /** For people: what is kept, month by month, and what is not here. */
  overview(): {
    readonly months: readonly { readonly month: string; readonly keys: number }[];
    readonly firstMonth: string;
    readonly missing: number;
  } {
    const { records } = this.parts.store;
    const MONTHS_MAX = 240;
    return {
      months: records.months(MONTHS_MAX),
      firstMonth: this.kept.firstMonth,
      missing: records.missingCount(),
    };
  }
}
