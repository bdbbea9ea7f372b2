/** For tests: one node of the simulated town: its disk, its process, its writing and merging. */
import { claimedPlace, commitOid, makeBlock, NO_BLOCK, type Block } from '../../ledger/block.js';
import { signEntry } from '../../ledger/entry.js';
import { sha256 } from '../../ledger/hash.js';
import { invariant } from '../../ledger/ids.js';
import type { Json, JsonObject, KeyId, Millis, NodeId, Oid, Sha256 } from '../../ledger/ids.js';
import { nodeIdOf, publicKeyOf } from '../../ledger/signature.js';
import {
  packBlocks,
  packMerges,
  unpackBlocks,
  unpackMerges,
  type RawBlock,
  type RawMerge,
} from '../block-batch.js';
import {
  placeOf,
  readHave,
  readHeads,
  readWant,
  type HaveBody,
  type HeadsBody,
  type WantBody,
} from '../bodies.js';
import { directTopic, headsTopic, Inbox, MessageCounter, sealMessage } from '../message.js';
import { nextDue, startSync, step, type Input } from '../peer-sync.js';
import type { Output } from '../sync-output.js';
import { admitBlocks, Quarantine } from '../quarantine.js';
import { heldByQuorum, type SyncState } from '../sync-state.js';

import { SECOND, type Timeline } from './timeline.js';

/** As the daemon's. */
const LIFETIME_MS = 600_000;

interface PlayedMerge {
  readonly height: number;
  readonly raw: Uint8Array;
  readonly id: Sha256;
  readonly oid: Oid;
  /** The last block folded in, by branch. */
  readonly folds: { readonly [node: string]: number };
}

function playedMerge(height: number, folds: { readonly [node: string]: number }): PlayedMerge {
  const raw = Buffer.from(JSON.stringify({ height, folds }));
  return { height, raw, id: sha256(raw), oid: commitOid(raw), folds };
}

const townId = sha256('simulated town');
const townKey = Buffer.alloc(32, 9);
const secretOf = (index: number): Uint8Array => Buffer.alloc(32, index + 1);
const GENESIS = playedMerge(0, {});

export interface Scenario {
  readonly seed: number;
  readonly nodes: number;
  /** Blocks that each node writes while the network is bad. */
  readonly blocks: number;
  /** How long the network is bad. */
  readonly badMs: number;
  /** Whether messages are really signed, sealed and opened. */
  readonly sealed: boolean;
  /** Whether the last node claims what is not so and answers with junk. */
  readonly withLiar: boolean;
}

/** What a node sees of its town, and does to it. */
export interface Surroundings {
  readonly scenario: Scenario;
  readonly random: () => number;
  readonly time: Timeline;
  readonly nodes: readonly SimulatedNode[];
  readonly keys: ReadonlyMap<NodeId, KeyId>;
  readonly isGood: boolean;
  readonly crashes: number;
  /** What the broker keeps, by sender. */
  readonly retained: Map<NodeId, Json>;
  /** Messages sent, by kind. */
  readonly sent: { heads: number; want: number; have: number };
  crashed: number;
  refused: number;
  nonces: number;
  chance(probability: number): boolean;
  /** Brings what was sent to a node, as the network is just now. */
  carry(from: SimulatedNode, to: SimulatedNode, kind: 'heads' | 'want' | 'have', wire: Json): void;
}

export class SimulatedNode {
  readonly id: NodeId;
  readonly secret: Uint8Array;
  readonly lies: boolean;
  /** On disk: outlives crashes. */
  readonly #branches = new Map<NodeId, Block[]>();
  readonly #merges: PlayedMerge[] = [GENESIS];
  written = 0;
  /** Whether bytes get through to the broker; the node notices late. */
  linked = true;

  /** In memory. */
  state: SyncState | null = null;
  #process = 0;
  #timer = 0;
  #inbox: Inbox;
  readonly #counter = new MessageCounter();
  #blocks = new Quarantine<RawBlock>((block) => block.raw.length + block.entries.length);
  #waiting = new Quarantine<RawMerge>((merge) => merge.raw.length + merge.certificate.length);

  constructor(
    readonly town: Surroundings,
    readonly index: number,
  ) {
    this.secret = secretOf(index);
    this.id = nodeIdOf(publicKeyOf(this.secret));
    this.lies = town.scenario.withLiar && index === town.scenario.nodes - 1;
    this.#inbox = this.#newInbox();
  }

  branch(node: NodeId): readonly Block[] {
    return this.#branches.get(node) ?? [];
  }

  get last(): PlayedMerge {
    return this.#merges[this.#merges.length - 1] as PlayedMerge;
  }

  #newInbox(): Inbox {
    return new Inbox(this.id, { town: townId, townKey, keyOf: (node) => this.town.keys.get(node) });
  }

  boot(): void {
    const tips = [...this.#branches].map(([node, blocks]) => [node, tipOf(blocks)] as const);
    const { height, id: main } = this.last;
    const nodes = [...this.town.keys.keys()];
    this.state = startSync({ self: this.id, nodes, height, main, tips: new Map(tips) });
    this.#process++;
    this.#inbox = this.#newInbox();
    this.#blocks = new Quarantine((block) => block.raw.length + block.entries.length);
    this.#waiting = new Quarantine((merge) => merge.raw.length + merge.certificate.length);
    this.linked = false;
    this.later(this.town.random() * SECOND, () => this.#connect());
    this.later(this.town.random() * SECOND, () => this.#write());
    if (this.index === 0) this.later(2 * SECOND, () => this.#merge());
  }

  /** Runs something in this process, unless it has crashed by then. */
  later(ms: number, run: () => void): void {
    const process = this.#process;
    this.town.time.after(ms, () => {
      if (this.state !== null && this.#process === process) run();
    });
  }

  #connect(): void {
    const { town } = this;
    this.linked = true;
    this.feed({ t: 'connected' });
    for (const [from, wire] of town.retained) if (from !== this.id) this.receive(from, 'heads', wire, true);
    if (!town.isGood) this.later(town.random() * 40 * SECOND, () => this.#cut());
  }

  /** The link breaks; the node notices when its keep-alive fails, and comes back later. */
  #cut(): void {
    const { town } = this;
    if (town.isGood) return;
    this.linked = false;
    this.later(town.random() * 20 * SECOND, () => {
      this.feed({ t: 'disconnected' });
      for (const other of town.nodes)
        if (other !== this && other.linked) other.later(0, () => other.feed({ t: 'gone', node: this.id }));
      this.later(town.random() * 20 * SECOND, () => this.#connect());
    });
  }

  /** Writes its blocks, one after the other, until all are written. */
  #write(): void {
    const { town } = this;
    if (this.written === town.scenario.blocks) return;
    const mine = this.branch(this.id);
    const before = mine[mine.length - 1];
    const place = { town: townId, line: 'main', node: this.id, base: this.last.id };
    const n = mine.length + 1;
    const entry = signEntry(
      {
        v: 1,
        ...place,
        n,
        type: 'notes.put',
        by: publicKeyOf(this.secret),
        at: town.time.now as Millis,
        body: { n },
      },
      this.secret,
    );
    const { block } = makeBlock(
      { ...place, seq: n, prev: before?.id ?? NO_BLOCK },
      { prev: before?.oid ?? null, main: before?.base === place.base ? null : this.last.oid },
      [entry],
      town.time.now as Millis,
      this.secret,
    );
    this.#branches.set(this.id, [...mine, block]);
    this.written += 1;
    this.feed({ t: 'stored', node: this.id, tip: tipOf(this.branch(this.id)) });
    const mean = (town.scenario.badMs / town.scenario.blocks) * 2;
    this.later(town.isGood ? 10 : town.random() * mean, () => this.#write());
  }

  /** Folds in what a majority says it holds. */
  #merge(): void {
    const { town } = this;
    const state = this.state as SyncState;
    const held = heldByQuorum(state, [...state.nodes], Math.floor(state.nodes.size / 2) + 1);
    const folds = { ...this.last.folds };
    for (const [branch, seq] of held) folds[branch] = Math.max(seq, folds[branch] ?? 0);
    if (JSON.stringify(folds) !== JSON.stringify(this.last.folds)) {
      this.#merges.push(playedMerge(this.last.height + 1, folds));
      this.feed({ t: 'adopted', height: this.last.height, main: this.last.id });
    }
    this.later(town.random() * 4 * SECOND, () => this.#merge());
  }

  feed(input: Input extends infer I ? (I extends unknown ? Omit<I, 'now'> : never) : never): void {
    if (this.state === null) return;
    const { town } = this;
    const { state, outputs } = step(this.state, { ...input, now: town.time.now } as Input);
    this.state = state;
    for (const output of outputs) {
      if (!town.isGood && town.chance(town.crashes)) return this.#crash();
      this.#carryOut(output);
      if (this.state === null) return;
    }
    const timer = ++this.#timer;
    this.later(nextDue(this.state, town.time.now) - town.time.now + 1, () => {
      if (this.#timer === timer) this.feed({ t: 'tick' });
    });
  }

  #crash(): void {
    this.state = null;
    this.linked = false;
    this.town.crashed++;
    this.town.time.after(this.town.random() * 20 * SECOND, () => this.boot());
  }

  #carryOut(output: Output): void {
    const { town } = this;
    switch (output.t) {
      case 'publish-heads': {
        const body = this.lies ? this.#falseHeads(output.body) : output.body;
        const wire = this.#wire('heads', null, body);
        town.sent.heads++;
        if (this.linked) town.retained.set(this.id, wire);
        for (const node of town.nodes) if (node !== this) town.carry(this, node, 'heads', wire);
        return;
      }
      case 'send-want':
        return this.#sendTo(output.to, 'want', output.body);
      case 'send-have':
        this.later(town.random() * 100, () => {
          const body = this.#answer(output.what);
          if (body !== null) this.#sendTo(output.to, 'have', body);
          this.feed({ t: 'answered', to: output.to, item: output.item });
        });
        return;
      case 'admit':
        this.later(town.random() * 100, () => this.#admit(output));
        return;
      case 'discard':
        this.#blocks.discard(output.item);
        if (output.item === 'merges') this.#waiting.discard('merges');
        return;
      case 'refused':
        town.refused++;
        return;
      case 'contradiction':
        if (!town.scenario.withLiar) throw new Error(`a contradiction at ${this.index} in an honest town`);
        return;
    }
  }

  #sendTo(to: NodeId, kind: 'want' | 'have', body: WantBody | HaveBody): void {
    const { town } = this;
    const node = town.nodes.find(({ id }) => id === to);
    invariant(node !== undefined && node !== this, 'wants and haves go to other nodes of the town');
    town.sent[kind]++;
    town.carry(this, node, kind, this.#wire(kind, to, body));
  }

  /** The message as it goes out: sealed to a text, or its body. */
  #wire(kind: string, to: NodeId | null, body: HeadsBody | WantBody | HaveBody): Json {
    const { town: t } = this;
    if (!t.scenario.sealed) return body as unknown as Json;
    const at = t.time.now;
    const expires = at + LIFETIME_MS;
    const content = { from: this.id, to, counter: this.#counter.next(at), at, expires, kind };
    const nonce = Buffer.alloc(12);
    nonce.writeUInt32BE(t.nonces++, 8);
    const topic = to === null ? headsTopic(townId, this.id) : directTopic(townId, to);
    return sealMessage(
      { ...content, body: body as unknown as JsonObject },
      topic,
      { town: townId, townKey, secretKey: this.secret },
      nonce,
    );
  }

  receive(from: NodeId, kind: 'heads' | 'want' | 'have', wire: Json, retained: boolean): void {
    if (this.state === null) return;
    let body = wire as JsonObject;
    if (typeof wire === 'string') {
      const topic = kind === 'heads' ? headsTopic(townId, from) : directTopic(townId, this.id);
      const delivery = { topic, payload: Buffer.from(wire), retained };
      const message = this.#inbox.receive(delivery, this.town.time.now);
      if (message === null) return;
      body = message.body;
    }
    if (kind === 'heads') this.feed({ t: 'heads', from, body: readHeads(body) });
    if (kind === 'want') this.feed({ t: 'want', from, body: readWant(body) });
    if (kind === 'have') this.feed({ t: 'have', from, body: readHave(body) });
  }

  #answer(what: WantBody): HaveBody | null {
    const { town } = this;
    if (this.lies && town.chance(0.7)) return this.#falseAnswer(what);
    // A small bound on some answers, so that they are prefixes.
    const charsMax = town.chance(0.5) ? 3_000 : undefined;
    if ('head' in what || 'merge' in what || 'objects' in what) return null;
    if ('merges' in what) {
      const { from, to } = what.merges;
      const merges = this.#merges.slice(from, to + 1).map(({ raw }) => ({ raw, certificate: 'proof' }));
      const { packed, count } = packMerges(merges, charsMax);
      return count === 0 ? null : { merges: { from, packed } };
    }
    const { node, from, to } = what.blocks;
    const blocks = this.branch(placeOf(node).node).slice(from - 1, to);
    const { packed, count } = packBlocks(blocks.map(rawOf), charsMax);
    return count === 0 ? null : { blocks: { node, from, packed } };
  }

  #falseHeads(body: HeadsBody): HeadsBody {
    const tips = Object.entries(body.tips).map(([node, { seq, head }]) =>
      this.town.chance(0.5)
        ? [node, { seq: seq + (this.town.chance(0.5) ? 0 : 7), head: sha256('false') }]
        : [node, { seq, head }],
    );
    return { ...body, height: body.height + (this.town.chance(0.5) ? 3 : 0), tips: Object.fromEntries(tips) };
  }

  #falseAnswer(what: WantBody): HaveBody | null {
    if ('head' in what || 'merge' in what || 'objects' in what) return null;
    const junk = Buffer.from('junk').toString('base64');
    if ('merges' in what) {
      const raw = Buffer.from(JSON.stringify({ height: what.merges.from, folds: {} }));
      const { packed } = packMerges([{ raw, certificate: 'forged' }]);
      return { merges: { from: what.merges.from, packed: this.town.chance(0.5) ? junk : packed } };
    }
    const { node, from } = what.blocks;
    const other = this.branch(this.id).map(rawOf);
    const packed = this.town.chance(0.5) || other.length === 0 ? junk : packBlocks(other).packed;
    return this.town.chance(0.2) ? null : { blocks: { node, from, packed } };
  }

  #admit({ from, item, body, follows }: Output & { readonly t: 'admit' }): void {
    try {
      if ('blocks' in body) {
        const blocks = unpackBlocks(body.blocks.packed);
        if (follows) this.#blocks.append(item, from, blocks);
        else this.#blocks.put(item, from, blocks);
        this.#tellRoom(item as NodeId);
      } else if ('merges' in body) this.#waiting.put('merges', from, unpackMerges(body.merges.packed));
    } catch (error) {
      return this.feed({ t: 'settled', item, refused: (error as { code: string }).code });
    }
    this.#pump();
  }

  #tellRoom(node: NodeId): void {
    const found = this.#blocks.last(node);
    const last = found?.batch[found.batch.length - 1];
    if (!found || !last || found.count > 2) return;
    this.feed({ t: 'received', node, upTo: claimedPlace(last.raw).seq });
  }

  /** Takes from quarantine what can be taken by now. */
  #pump(): void {
    for (let again = true; again && this.state !== null;) {
      again = false;
      for (const item of this.#blocks.items()) again = this.#pumpBranch(item as NodeId) || again;
      again = this.#pumpMerges() || again;
    }
  }

  #pumpBranch(node: NodeId): boolean {
    const batch = this.#blocks.get(node)?.batch;
    if (batch === undefined) return false;
    const mine = this.branch(node);
    const { admitted, waiting, refused } = admitBlocks(batch, {
      town: townId,
      line: 'main',
      node,
      keyOf: (id) => this.town.keys.get(id),
      tip: mine[mine.length - 1] ?? null,
      heldAt: (seq) => mine[seq - 1]?.id ?? null,
      mergeOid: (base) => this.#merges.find(({ id }) => id === base)?.oid ?? null,
    });
    if (refused === null) this.#blocks.keepRest(node, waiting);
    else this.#blocks.discard(node);
    if (admitted.length > 0) {
      this.#branches.set(node, [...mine, ...admitted]);
      this.feed({ t: 'stored', node, tip: tipOf(this.branch(node)) });
    }
    const isThrough = this.#blocks.get(node) === null;
    if (isThrough) this.feed({ t: 'settled', item: node, refused: refused?.code ?? null });
    else if (waiting.length === 0) this.#tellRoom(node);
    return admitted.length > 0 || (!isThrough && waiting.length === 0);
  }

  #pumpMerges(): boolean {
    const batch = this.#waiting.get('merges')?.batch;
    if (batch === undefined) return false;
    let taken = 0;
    let refused: string | null = null;
    let adopted = false;
    for (const { raw, certificate } of batch) {
      const { height, folds } = JSON.parse(Buffer.from(raw).toString()) as PlayedMerge;
      if (certificate !== 'proof' || height > this.last.height + 1) {
        refused = 'bad-certificate';
        break;
      }
      if (height === this.last.height + 1) {
        if (Object.entries(folds).some(([node, seq]) => this.branch(node as NodeId).length < seq)) break;
        this.#merges.push(playedMerge(height, folds));
        adopted = true;
      }
      taken += 1;
    }
    this.#waiting.keepRest('merges', refused === null ? batch.slice(taken) : []);
    if (adopted) this.feed({ t: 'adopted', height: this.last.height, main: this.last.id });
    if (refused !== null || taken === batch.length) this.feed({ t: 'settled', item: 'merges', refused });
    return adopted;
  }
}

const rawOf = (block: Block): RawBlock => ({
  raw: block.raw,
  entries: Buffer.from(block.entries.map(({ text }) => `${text}\n`).join('')),
});
const tipOf = (blocks: readonly Block[]) => {
  const last = blocks[blocks.length - 1] as Block;
  return { seq: last.seq, head: last.id };
};
