/** The way of an entry into this node's branch: numbered, signed, judged if it is a claim, durable, acknowledged. */
import { rememberVerified, signEntry, type EntryContent, type VerifiedEntry } from '../ledger/entry.js';
import type { EntryId, JsonObject, Millis, NodeId } from '../ledger/ids.js';
import { TownError, invariant } from '../ledger/ids.js';
import { publicKeyOf } from '../ledger/signature.js';
import type { CoreStore } from './core-store.js';
import type { Clock } from './clock.js';
import { diverged } from './epochs.js';
import type { NodeKeys } from './key-files.js';
import { MAIN, type MainLine } from './main-line.js';
import { entryRow } from './new-rows.js';
import type { View } from './view.js';

/** Claims of this node that may wait for a merge. */
const UNMERGED_CLAIMS_MAX = 10_000;
/** A clock that is further back than this was set back. */
const SAME_MOMENT_MS = 1_000;
/** Tries to find a moment in which every fact of this node is in its view. */
const QUIET_TRIES_MAX = 50;

/** A claim that a rule refuses; nothing of it was recorded. */
export class Refused extends TownError {
  constructor(code: string, reason: string) {
    super(code, reason, 'Nothing was recorded.');
  }
}

export interface Signer {
  readonly secretKey: Uint8Array;
}

export class Appender {
  /** Numbers given out to entries that are not durable yet: blocks stop below the lowest. */
  private readonly underway = new Set<number>();
  /** The tasks behind those numbers. */
  private readonly flights = new Set<Promise<unknown>>();
  /** Durable facts whose turn to come into the view has not come. */
  private readonly untaken = new Set<EntryId>();
  private lastNumber: number;
  private lastAt = 0 as Millis;
  private refusal: (() => TownError) | null = null;
  private claimsRefusal: (() => TownError) | null = null;

  constructor(
    private readonly store: CoreStore,
    private readonly main: MainLine,
    private readonly view: View,
    private readonly keys: NodeKeys,
    private readonly clock: Clock,
    private readonly appended: (entry: VerifiedEntry, kind: 'claim' | 'fact') => void,
  ) {
    // Numbers begin at 1; the store says less where there are none.
    this.lastNumber = Math.max(store.lastN(keys.id, main.line), 0);
  }

  /** From now on nothing is recorded, for this reason. */
  refuse(why: () => TownError): void {
    this.refusal = why;
  }

  /** From now on only what this node saw is recorded: nothing that somebody asks for. */
  refuseClaims(why: () => TownError): void {
    this.claimsRefusal = why;
  }

  /** Entries below this number are durable and can go into a block. */
  get settledBelow(): number {
    return this.underway.size === 0 ? this.lastNumber + 1 : Math.min(...this.underway);
  }

  /**
   * Records what a member asks for; durable when it resolves.
   * @throws Refused where a rule refuses it on the node's view; TownError `busy`, `too-many-unmerged`; `diverged` where no merge would take it
   */
  claim(
    type: string,
    body: JsonObject,
    by: Signer,
    cosigners: readonly Signer[] = [],
  ): Promise<VerifiedEntry> {
    const { divergedFrom } = this.main;
    if (divergedFrom !== null) return Promise.reject(diverged(divergedFrom));
    return this.view.hold(async () => {
      if (this.claimsRefusal) throw this.claimsRefusal();
      // Facts do not count: the doors may not keep a steward from revoking a badge.
      if (this.store.pendingClaims(UNMERGED_CLAIMS_MAX, this.main.line) >= UNMERGED_CLAIMS_MAX)
        throw new TownError(
          'too-many-unmerged',
          `${UNMERGED_CLAIMS_MAX} claims of this node wait for a merge.`,
          'Ask for a merge (town merge) and see town status for what holds it up.',
        );
      const entry = await this.numbered(async (n) => {
        const signed = this.sign(n, type, body, by, cosigners);
        const { verdict } = await this.view.judge(signed);
        if (verdict.verdict === 'rejected')
          throw new Refused(verdict.code ?? 'rejected', verdict.reason ?? 'A rule refuses it.');
        await this.store.appendEntries({ entries: [entryRow(signed, 'claim', this.view.state)] });
        return signed;
      });
      // Its number is settled by now: what is told of it can be put into a block at once.
      this.appended(entry, 'claim');
      return entry;
    });
  }

  /**
   * Records what this node saw; durable when it resolves. It waits for no contract.
   * @returns the entry, or null where the gate's record was here already
   */
  async fact(
    type: string,
    body: JsonObject,
    gateRecord?: { id: string; door: string },
  ): Promise<VerifiedEntry | null> {
    invariant(this.main.line === MAIN, 'what a node saw is recorded on main, never on a draft');
    const entry = await this.numbered(async (n) => {
      const signed = this.sign(n, type, body, this.keys, []);
      const { skipped } = await this.store.appendEntries({
        entries: [entryRow(signed, 'fact', this.view.state)],
        ...(gateRecord ? { gateRecords: [{ ...gateRecord, entry: signed.id, at: signed.at }] } : {}),
      });
      return skipped.length > 0 ? null : signed;
    });
    if (!entry) return null;
    this.appended(entry, 'fact');
    // The view hears of it when its turn comes; a busy view hears of it with the next merge.
    this.untaken.add(entry.id);
    this.view
      .hold(() => this.view.take(entry))
      .catch(() => undefined)
      .finally(() => this.untaken.delete(entry.id));
    return entry;
  }

  /**
   * Records what this node answers for, such as a payment out of an allowance; durable when it resolves. `check` looks at
   * a view that holds everything which this node recorded before, and nothing comes between it and the entry's number.
   * @throws what `check` throws, then nothing was recorded; TownError `busy`
   */
  promise(type: string, body: JsonObject, check: () => void): Promise<VerifiedEntry> {
    invariant(this.main.line === MAIN, 'a node answers for what it records on main, not on a draft');
    const { divergedFrom } = this.main;
    if (divergedFrom !== null) return Promise.reject(diverged(divergedFrom));
    if (this.main.ahead !== null)
      return Promise.reject(
        new TownError(
          'catching-up',
          'This node was away and goes through the history: until it is through it pays out of no allowance.',
          'See `town status`; pay at another node meanwhile.',
        ),
      );
    return this.view.hold(async () => {
      if (this.claimsRefusal) throw this.claimsRefusal();
      await this.quiet();
      check();
      const entry = await this.numbered(async (n) => {
        const signed = this.sign(n, type, body, this.keys, []);
        await this.store.appendEntries({ entries: [entryRow(signed, 'fact', this.view.state)] });
        return signed;
      });
      await this.view.take(entry);
      // Somebody waits for it: it is merged as soon as a claim.
      this.appended(entry, 'claim');
      return entry;
    });
  }

  /** Waits until all that has a number is durable and in the view. Only inside the view's `hold`. */
  private async quiet(): Promise<void> {
    const isQuiet = (): boolean =>
      this.flights.size === 0 && [...this.untaken].every((id) => this.view.includes(id));
    for (let tries = 0; tries < QUIET_TRIES_MAX; tries += 1) {
      await Promise.allSettled(this.flights);
      await this.view.include(this.untaken);
      if (isQuiet()) return;
    }
    throw new TownError(
      'busy',
      'So much happens at this node that its count of the allowance is not settled.',
      'Try again in a moment.',
    );
  }

  private async numbered<T>(task: (n: number) => Promise<T>): Promise<T> {
    if (this.refusal) throw this.refusal();
    const n = (this.lastNumber += 1);
    this.underway.add(n);
    const flight = task(n);
    this.flights.add(flight);
    try {
      return await flight;
    } finally {
      this.underway.delete(n);
      this.flights.delete(flight);
    }
  }

  /** Entries of one moment get times one after another, so that what came later can be told. */
  private timeOfNext(): Millis {
    const now = this.clock.now();
    const isSameMoment = now <= this.lastAt && this.lastAt - now < SAME_MOMENT_MS;
    return (this.lastAt = (isSameMoment ? this.lastAt + 1 : now) as Millis);
  }

  private sign(
    n: number,
    type: string,
    body: JsonObject,
    by: Signer,
    cosigners: readonly Signer[],
  ): VerifiedEntry {
    const content: EntryContent = {
      v: 1,
      town: this.main.town,
      line: this.main.line,
      base: this.main.base.id,
      node: this.keys.id as NodeId,
      n,
      type,
      by: publicKeyOf(by.secretKey),
      at: this.timeOfNext(),
      body,
    };
    const entry = signEntry(
      content,
      by.secretKey,
      cosigners.map(({ secretKey }) => ({ by: publicKeyOf(secretKey), secretKey })),
    );
    // Checking it again as it goes into a block would keep the doors waiting: 256 signatures are 30 ms and more.
    rememberVerified([entry.id]);
    return entry;
  }
}
