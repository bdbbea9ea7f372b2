/**
 * Changes the town's key when a node was taken out of the town, and brings the new one to those that stay, also to who was away: each
 * key is sealed to the X25519 key of its reader. The node that stands first among those who are heard makes it, at once; should it
 * not, the next one does. Two that are made at once are no harm: all take the same of them (sync/key-ring.ts). Who still uses a key
 * that was given up is not heard, and is given the new one, if the charter names it. Where a node that stays has published no X25519
 * key, none is made: it could not be given, and the node would be cut off.
 */
import type { KeyId, NodeId } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { isSealingKey } from '../ledger/sealing.js';
import { isBetter, type RingPlace } from '../sync/key-ring.js';
import { directTopic, type Delivery } from '../sync/message.js';
import { makeGift, readGift, type HeldKey } from '../sync/town-key-gift.js';
import type { Clock } from './clock.js';
import type { NodeKeys } from './key-files.js';
import type { MainLine } from './main-line.js';
import type { TownKeys } from './town-keys.js';

/** How long the next in turn waits for the one before it. */
const TURN_MS = 3_000;
/** A node that is behind, or could not write, looks again after this. */
const AGAIN_MS = 5_000;
/** One node is given the key at most so often, unless it is new. */
const GIVE_GAP_MS = 3_000;
/** Gifts that are looked at: each costs two operations on curves. */
const TAKEN_MAX = 50;
const TAKEN_MS = 10_000;
/** Gifts that wait for the disk. */
const WAITING_MAX = 64;
const PEERS_MAX = 1_000;
const DRAWN_MAX = 10_000;

export interface TownKeyKeeperParts {
  readonly main: MainLine;
  readonly keys: NodeKeys;
  readonly ring: TownKeys;
  readonly clock: Clock;
  readonly random: (length: number) => Uint8Array;
  /** Milliseconds that never go back. */
  readonly steady: () => number;
  /** The nodes that are heard just now. */
  readonly heard: () => readonly NodeId[];
  /** Whether somebody has merges that are not here. */
  readonly isBehind: () => boolean;
  /** The nodes whose messages count, and their keys. */
  readonly nodes: () => readonly NodeId[];
  readonly keyOf: (node: NodeId) => KeyId | undefined;
  /** Whether this node has come to where the town was when it was let in: before that, who left long ago seems to be there. */
  readonly isSettled: () => boolean;
  /** @returns false where it was not sent */
  readonly publish: (topic: string, text: string) => boolean;
  /** This node seals with another key, or can read what it could not. */
  readonly changed: () => void;
  readonly refused: (code: string, reason: string) => void;
  /** Something that people should look at. */
  readonly trouble: (code: string, message: string) => void;
  readonly failed: (error: unknown) => void;
}

export class TownKeyKeeper {
  private readonly givenAt = new Map<NodeId, number>();
  private taken = { count: 0, until: -Infinity };
  private cancelTurn: (() => void) | null = null;
  private work: Promise<void> = Promise.resolve();
  private waiting = 0;
  private stopped = false;
  private willLook = false;
  /** The nodes that no key can be given to, as people were told. */
  private told = '';

  constructor(private readonly parts: TownKeyKeeperParts) {}

  /** Begins once the others had time to say how far they are, and to give what is new. */
  start(): void {
    this.run(() => this.note());
    this.cancelTurn = this.parts.clock.after(AGAIN_MS, () => {
      this.cancelTurn = null;
      this.adopted();
    });
  }

  async stop(): Promise<void> {
    this.stopped = true;
    this.cancelTurn?.();
    await this.work;
  }

  /** `main` is where it is: who is of the town may have changed, and keys that came early may count. */
  adopted(): void {
    if (this.willLook) return;
    this.willLook = true;
    this.run(async () => {
      this.willLook = false;
      const { ring, changed } = this.parts;
      if (await ring.rise(this.place())) changed();
      await this.look();
    });
  }

  /** A node of the charter seals with a key that was given up, or with one that is not known here. */
  lags(node: NodeId): void {
    if (this.parts.ring.current.generation > 0) this.give(node, false);
  }

  /** Somebody gives a key. */
  receive(delivery: Delivery): void {
    const { main, keys, keyOf, refused, steady } = this.parts;
    const now = steady();
    if (this.taken.until <= now) this.taken = { count: 0, until: now + TAKEN_MS };
    this.taken.count += 1;
    if (this.taken.count > TAKEN_MAX)
      return refused('busy', 'Keys are given faster than they are looked at.');
    try {
      const place = { town: main.town, self: keys.id };
      const { from, held } = readGift(delivery, place, keyOf, keys.sealingSecret);
      this.run(() => this.consider(from, held));
    } catch (error) {
      if (!(error instanceof TownError)) throw error;
      refused(error.code, error.message);
    }
  }

  // ----------------------------------------------------------------------------------------------------------------------

  /** Where this node is: on the newest state that it knows to be the town's, also while it goes through the history behind. */
  private place(): RingPlace {
    const { main, nodes, isSettled } = this.parts;
    const { seenCharter, seenHead } = main;
    const ids = Object.keys(seenCharter.nodes) as NodeId[];
    // Who was left behind by an epoch comes to no later merge: the keys of those that it gives its blocks to count at once.
    const height = main.divergedFrom === null ? seenHead.height : Number.MAX_SAFE_INTEGER;
    return { height, nodes: new Set(isSettled() ? ids : [...ids, ...nodes()]) };
  }

  /** Notes who knows the key by now. */
  private async note(): Promise<void> {
    if (!this.isPast) await this.parts.ring.knownTo([...this.place().nodes]);
  }

  /** Notes who knows the key by now, and whether a new one is due. */
  private async look(): Promise<void> {
    await this.note();
    if (!this.isPast) this.plan();
  }

  /** Whether `main` is not yet where the town was when the key was made, or was left behind: who is of the town now is not known here. */
  private get isPast(): boolean {
    const { main, ring, isSettled } = this.parts;
    if (main.divergedFrom !== null) return true;
    return !isSettled() || main.ahead !== null || main.head.height < ring.current.generation;
  }

  private async consider(from: NodeId, key: HeldKey): Promise<void> {
    const { ring, changed } = this.parts;
    switch (await ring.take(from, key, this.place())) {
      case 'worse':
        return this.give(from, false);
      case 'kept':
        changed();
        // It may not have the one that is used here.
        return this.lags(from);
      case 'used':
        changed();
        return this.look();
      case 'known':
      case 'refused':
    }
  }

  /** Whether this node is one that makes a new key where one is due. */
  private get isDue(): boolean {
    const { main, keys, ring } = this.parts;
    const isOurs = main.charter.nodes[keys.id] !== undefined && !this.isPast;
    return isOurs && ring.strangers(this.place().nodes).length > 0 && this.unreached().length === 0;
  }

  /** Nodes of the town that no key can be given to. */
  private unreached(): readonly string[] {
    const nodes = Object.entries(this.parts.main.charter.nodes);
    return nodes.flatMap(([id, { name, sealing }]) => (isSealingKey(sealing) ? [] : [`${name} (${id})`]));
  }

  /** In turn, by the order of the ids. */
  private plan(): void {
    this.cancelTurn?.();
    this.cancelTurn = null;
    if (this.stopped) return;
    if (!this.isDue) return this.tellWhyNot();
    const { heard, keys, isBehind } = this.parts;
    const turn = heard().filter((node) => node < keys.id).length;
    this.lookAfter(isBehind() ? AGAIN_MS : turn * TURN_MS);
  }

  private tellWhyNot(): void {
    const { ring, trouble } = this.parts;
    if (ring.strangers(this.place().nodes).length === 0) return;
    const unreached = this.unreached().join(', ');
    if (unreached === '' || unreached === this.told) return;
    this.told = unreached;
    trouble(
      'town-key-stays',
      `The town's key stays, and the node that was taken out reads on: of ${unreached} no key is known to give a new one with. ` +
        'Take that node out and let it join anew.',
    );
  }

  private lookAfter(ms: number): void {
    this.cancelTurn = this.parts.clock.after(ms, () => {
      this.cancelTurn = null;
      if (this.stopped || !this.isDue) return;
      if (this.parts.isBehind()) return this.lookAfter(AGAIN_MS);
      this.run(() => this.make());
    });
  }

  private async make(): Promise<void> {
    if (!this.isDue) return;
    const { main, ring, random, changed } = this.parts;
    const generation = Math.max(main.head.height, ring.current.generation);
    const knownBy = [...this.place().nodes].sort();
    const draw = (): HeldKey => ({ key: random(32), generation, knownBy });
    let made = draw();
    // A second one of one height has to go before the first.
    for (let tries = 0; tries < DRAWN_MAX && !isBetter(made, ring.current); tries += 1) made = draw();
    await ring.change(made);
    changed();
    for (const node of knownBy) this.give(node, true);
    // Those who could not be given it come and ask by what they send.
  }

  private give(node: NodeId, isNew: boolean): void {
    const { keys, main, ring, random, publish, steady } = this.parts;
    const sealing = main.seenCharter.nodes[node]?.sealing;
    const now = steady();
    if (node === keys.id || !isSealingKey(sealing)) return;
    if (!isNew && now - (this.givenAt.get(node) ?? -Infinity) < GIVE_GAP_MS) return;
    const way = { town: main.town, from: keys.id, to: node };
    const gift = makeGift(way, ring.current, keys.secretKey, sealing, random(32));
    if (!publish(directTopic(main.town, node), gift)) return;
    if (this.givenAt.size < PEERS_MAX || this.givenAt.has(node)) this.givenAt.set(node, now);
  }

  /** One after the other: each finds what the one before has written. */
  private run(task: () => Promise<void>): void {
    if (this.stopped || this.waiting >= WAITING_MAX) return void (this.willLook = false);
    this.waiting += 1;
    this.work = this.work
      .then(() => (this.stopped ? undefined : task()))
      .catch((error: unknown) => {
        this.parts.failed(error);
        if (!this.stopped && this.cancelTurn === null) this.lookAfter(AGAIN_MS);
      })
      .finally(() => {
        this.waiting -= 1;
      });
  }
}
