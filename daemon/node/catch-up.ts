/**
 * Of use before the history is here: a node that was away fetches the state of the newest merge that a quorum signed, checks it
 * against that merge, and stands on it (its view, its doors) while it goes through the history behind. What was fetched is kept in a
 * file, so that being interrupted costs nothing; any peer that is so far can give the rest. Until it is through, it does not vote.
 */
import type { GitObject } from '../ledger/git-object.js';
import { readCharter } from '../ledger/kernel.js';
import type { NodeId, Oid } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { epochOf } from '../ledger/recovery.js';
import { State, type StateWrite } from '../ledger/state.js';
import { assertSupply } from '../ledger/supply.js';
import { readState } from '../store/snapshot.js';
import { unpackMerges } from '../sync/block-batch.js';
import type { HaveBody, WantBody } from '../sync/bodies.js';
import { unpackObjects } from '../sync/object-batch.js';
import type { Ahead } from '../sync/sync-state.js';
import { certifiedOf, readCertified, type CertifiedMerge } from './certified-merge.js';
import type { Clock } from './clock.js';
import type { PeeringStore } from './core-store.js';
import type { MainLine } from './main-line.js';
import { Piecemeal } from './piecemeal.js';
import { StateWalk, type LateObjectStore } from './state-walk.js';
import type { View } from './view.js';

/** Behind by fewer merges, the history is here as soon as a state would be. */
export const BEHIND_MIN = 8;
/** While the history is being gone through, the state follows the town no more often than this; and takes a tenth of the time. */
const FOLLOW_MS = 5_000;
const FOLLOW_SHARE = 10;
/** The merge whose state this node stands on: its commit in base64, its certificate, its height; empty: none. */
const AHEAD_META = 'ahead';

export interface CatchUpParts {
  readonly store: Pick<PeeringStore, 'meta' | 'setMeta' | 'mergeById'>;
  readonly main: MainLine;
  readonly view: View;
  readonly late: LateObjectStore;
  readonly readObject: (oid: Oid) => Promise<GitObject>;
  readonly steady: () => number;
  readonly clock: Clock;
  /** The highest merge that somebody says to have who can be asked; 0: nobody. */
  readonly highest: () => number;
  /** Asks somebody for this, in place of what was asked for before. */
  readonly seek: (ahead: Ahead | null) => void;
  /** What came is used, or refused. */
  readonly settled: (refused: { readonly from: NodeId; readonly error: TownError } | null) => void;
  readonly failed: (code: string, reason: string) => void;
  /** It stands on another state now. */
  readonly changed: () => void;
}

type ObjectsGiven = Extract<HaveBody, { readonly objects: unknown }>['objects'];

type Sought =
  | { readonly phase: 'merge'; readonly height: number }
  | { readonly phase: 'state'; readonly merge: CertifiedMerge; readonly walk: StateWalk };

export class CatchUp {
  private sought: Sought | null = null;
  private asked: readonly Oid[] = [];
  private readonly pieces = new Piecemeal();
  private steps = 0;
  /** The state follows the town from then on. */
  private followFrom = -Infinity;
  private cancelTimer: (() => void) | null = null;
  /** Others are validators by now: the merge that is fetched is one on the way. */
  private isOnTheWay = false;
  private isAtWork = false;
  private isOff = false;

  constructor(private readonly parts: CatchUpParts) {}

  async stop(): Promise<void> {
    this.isOff = true;
    this.cancelTimer?.();
    await this.parts.late.close();
  }

  /** Stands again on the state that it stood on before it was stopped. Before peers are met. */
  async restore(): Promise<void> {
    const { store, main, late } = this.parts;
    await late.prepare();
    const text = store.meta(AHEAD_META) ?? '';
    if (text === '') return;
    const { raw, certificate, height } = JSON.parse(text) as {
      raw: string;
      certificate: string;
      height: number;
    };
    if (height <= main.head.height) return this.end();
    try {
      // It was held against the validators when it came; by now they may be others than those of `main`.
      const merge = { raw: Buffer.from(raw, 'base64'), certificate };
      await this.stand(certifiedOf(merge, { town: main.town, height }));
    } catch (error) {
      if (!(error instanceof TownError)) throw error;
      await this.end();
    }
  }

  /** Somebody was heard, or something came: looks whether to fetch, and what. */
  look(): void {
    // What the town went on to does not follow from what a node has that was left behind.
    if (this.isOff || this.isAtWork || this.parts.main.divergedFrom !== null) return;
    const { main, highest, steady } = this.parts;
    const top = highest();
    const { sought } = this;
    if (sought?.phase === 'state') return;
    if (sought?.phase === 'merge') {
      // Who said to be higher has not given it.
      if (top < sought.height && top > main.seenHead.height) this.seekMerge(top);
      return;
    }
    const isFar = top - main.head.height >= BEHIND_MIN;
    const isNew = top > main.seenHead.height && steady() >= this.followFrom;
    if (isNew && (isFar || main.ahead !== null)) this.seekMerge(top);
  }

  /** An epoch begins with the next merge, or a later one: what an older one went on to is none of the town's. */
  epochBegan(): void {
    const { main, failed } = this.parts;
    this.drop();
    const { ahead } = main;
    const isVoid = ahead !== null && epochOf(ahead.state) < main.epochDueAt(ahead.head.height);
    if (isVoid) this.forget().catch((error: unknown) => failed('store-failed', String(error)));
    else this.look();
  }

  /** A merge of the history became `main`. */
  adopted(): void {
    const { main } = this.parts;
    const { sought } = this;
    const height = sought?.phase === 'state' ? sought.merge.height : (sought?.height ?? Infinity);
    if (height <= main.head.height) {
      this.drop();
      this.tidy().catch((error: unknown) => this.parts.failed('store-failed', String(error)));
    }
    if (main.ahead !== null && main.ahead.head.height <= main.head.height)
      this.end().catch((error: unknown) => this.parts.failed('store-failed', String(error)));
    else if (main.ahead === null) this.look();
  }

  /** What a peer gave. Its answer is settled when this resolves. */
  async admit(from: NodeId, body: HaveBody): Promise<void> {
    this.isAtWork = true;
    let refused: { from: NodeId; error: TownError } | null = null;
    try {
      if ('merge' in body) await this.takeMerge(body.merge);
      else if ('objects' in body) await this.takeObjects(body.objects);
    } catch (error) {
      if (!(error instanceof TownError)) throw error;
      refused = { from, error };
      if (error.code === 'state-too-large') {
        this.isOff = true;
        this.drop();
        await this.parts.late.clear();
        this.parts.failed(error.code, error.message);
      }
    } finally {
      this.isAtWork = false;
    }
    this.parts.settled(refused);
    this.look();
    await this.tidy();
  }

  private seekMerge(height: number): void {
    this.sought = { phase: 'merge', height };
    this.seek({ merge: { height } }, height);
  }

  private seek(body: WantBody, height: number): void {
    this.parts.seek({ body, height, step: (this.steps += 1) });
  }

  private drop(): void {
    this.sought = null;
    this.parts.seek(null);
  }

  private async takeMerge({ height, packed }: { readonly height: number; readonly packed: string }) {
    const { sought } = this;
    const { main, late, readObject } = this.parts;
    if (sought?.phase !== 'merge' || sought.height !== height) return;
    const [merge, ...more] = unpackMerges(packed);
    if (merge === undefined || more.length > 0) throw new TownError('bad-batch', 'One merge was asked for.');
    const trusted = main.seenHead.height;
    const authority = main.seenAuthority;
    const epochDue = Math.max(authority.epoch, main.epochDueAt(height));
    const certified = readCertified(merge, { town: main.town, height }, authority, epochDue);
    if (certified === null) {
      if (height <= trusted + 1)
        throw new TownError('bad-certificate', `No quorum of the validators signed merge ${height}.`);
      // The validators were exchanged meanwhile: first one that those before them signed.
      this.isOnTheWay = true;
      return this.seekMerge(Math.floor((trusted + height) / 2));
    }
    const walk = new StateWalk(late, readObject);
    await walk.look(certified.tree);
    if (this.sought !== sought) return;
    this.sought = { phase: 'state', merge: certified, walk };
    await this.goOn(certified, walk);
  }

  private async takeObjects({ id, at, packed }: ObjectsGiven): Promise<void> {
    const { sought } = this;
    const [next] = this.asked;
    // What was asked for before is of no use any more.
    if (sought?.phase !== 'state' || id !== next || at !== this.pieces.have(next)) return;
    const objects = this.pieces.take(unpackObjects(packed), this.asked);
    await this.parts.late.put(objects);
    for (const object of objects) await sought.walk.came(object);
    if (this.sought === sought) await this.goOn(sought.merge, sought.walk);
  }

  private async goOn(merge: CertifiedMerge, walk: StateWalk): Promise<void> {
    this.asked = walk.next;
    if (this.asked.length > 0)
      return this.seek({ objects: { ids: this.asked, at: this.pieces.have(this.asked[0]) } }, merge.height);
    this.drop();
    await this.stand(merge);
  }

  /** All of it is here: it is held against the merge, and stood upon. @throws TownError `content-differs` */
  private async stand(merge: CertifiedMerge): Promise<void> {
    const { main, view, store, late, steady } = this.parts;
    const began = steady();
    const { height, id, oid, time, raw, certificate } = merge;
    let state: State;
    try {
      state = await this.stateOf(merge);
    } catch (error) {
      // One of the objects is another than its name says: all are fetched anew.
      await late.clear();
      throw error;
    }
    if (height <= main.head.height) return;
    await view.stand(() => main.lookAhead({ head: { height, id, oid, time }, state }));
    const kept = { raw: Buffer.from(raw).toString('base64'), certificate, height };
    await store.setMeta(AHEAD_META, JSON.stringify(kept));
    this.parts.changed();
    this.follow(began);
  }

  /** Looks again for a newer state: at once where this one is one on the way. */
  private follow(began: number): void {
    const { steady, clock, highest, main } = this.parts;
    const now = steady();
    this.followFrom = now + Math.max(FOLLOW_MS, (now - began) * FOLLOW_SHARE);
    if (this.isOff) return;
    if (this.isOnTheWay && highest() > main.seenHead.height) {
      this.isOnTheWay = false;
      return this.seekMerge(highest());
    }
    this.cancelTimer?.();
    this.cancelTimer = clock.after(this.followFrom - now, () => {
      if (main.ahead !== null) this.look();
    });
  }

  private async stateOf({ oid, raw }: CertifiedMerge): Promise<State> {
    const { late, readObject } = this.parts;
    const read = (name: Oid): Promise<GitObject> => {
      if (name === oid) return Promise.resolve({ oid, type: 'commit', data: raw });
      return late.has(name) ? late.read(name) : readObject(name);
    };
    const rows: StateWrite[] = [];
    for await (const row of readState({ read }, oid)) rows.push(row);
    const state = State.from(rows);
    assertSupply(state, readCharter(state).supply);
    return state;
  }

  /** What was fetched is of no use any more: it goes. */
  private async tidy(): Promise<void> {
    const { main, late } = this.parts;
    if (!this.isAtWork && this.sought === null && main.ahead === null && !this.isOff) await late.clear();
  }

  /** The history is here as far as the state that was stood upon. */
  private async end(): Promise<void> {
    const { main, store, failed } = this.parts;
    const { ahead } = main;
    if (ahead !== null) {
      const isOther = main.head.height === ahead.head.height && main.head.id !== ahead.head.id;
      if (isOther || store.mergeById(ahead.head.id) === null)
        failed(
          'ahead-differs',
          `Merge ${ahead.head.height}, on whose state this node stood while it caught up, is not in the history that came: a quorum signed both.`,
        );
    }
    await this.forget();
  }

  private async forget(): Promise<void> {
    const { main, view, store, changed } = this.parts;
    if (main.ahead !== null) await view.stand(() => main.lookAhead(null));
    await store.setMeta(AHEAD_META, '');
    await this.tidy();
    changed();
  }
}
