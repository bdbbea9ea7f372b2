/**
 * For tests: all of a node that looks at what comes before anything of it is believed, without disk, network and time of its own:
 * bytes of a broker → sieve → packets → inbox → bodies → sync machine → quarantine. What it refuses is counted by name.
 */
// Before what it is about.
import '../small-packets.js';
import { parser as mqttParser, type IPublishPacket, type Packet, type Parser } from 'mqtt-packet';
import { claimedPlace, type Block } from '../../ledger/block.js';
import type { KeyId, NodeId, Oid, Sha256 } from '../../ledger/ids.js';
import { TownError } from '../../ledger/ids.js';
import { sizeOfBlock, unpackBlocks, unpackMerges, type RawBlock, type RawMerge } from '../block-batch.js';
import { placeOf, readHave, readHeads, readWant, type HaveBody, type WantBody } from '../bodies.js';
import { readHello } from '../hello.js';
import { HELLO, Inbox, MESSAGE_BYTES_MAX, ReplayGuard, type Message } from '../message.js';
import { PacketSieve } from '../packet-sieve.js';
import { startSync, step, type Input } from '../peer-sync.js';
import { admitBlocks, Quarantine } from '../quarantine.js';
import { SenderClocks } from '../sender-clocks.js';
import type { Output } from '../sync-output.js';
import type { Item, SyncState } from '../sync-state.js';

type Event = Input extends infer I ? (I extends unknown ? Omit<I, 'now'> : never) : never;

export interface MergeHere {
  readonly height: number;
  readonly id: Sha256;
  readonly oid: Oid;
}

export interface ListeningParts {
  readonly self: NodeId;
  readonly town: Sha256;
  readonly townKey: Uint8Array;
  readonly keys: ReadonlyMap<NodeId, KeyId>;
  readonly genesis: MergeHere;
  /** What a certificate tells elsewhere: the merge that these bytes are; null where nobody signed them. */
  readonly proven: (merge: RawMerge) => MergeHere | null;
  /** What validators say. @returns why it is refused; null: it is not */
  readonly consensus: (message: Message) => string | null;
}

/** What the last block says of itself; null where it is none: that is found out in its turn. */
function claimedSeq(batch: readonly RawBlock[]): number | null {
  try {
    return claimedPlace((batch[batch.length - 1] as RawBlock).raw).seq;
  } catch (error) {
    if (error instanceof TownError) return null;
    throw error;
  }
}

export class ListeningNode {
  /** Milliseconds; the test moves it. */
  now = 1_700_000_000_000;
  state: SyncState;
  readonly branches = new Map<NodeId, Block[]>();
  readonly merges: MergeHere[];
  /** What it asked and nobody has answered yet, the newest last. */
  readonly asked: { readonly to: NodeId; readonly body: WantBody }[] = [];
  answers = 0;
  readonly #blocks = new Quarantine<RawBlock>(sizeOfBlock);
  readonly #inbox: Inbox;
  #sieve = new PacketSieve(MESSAGE_BYTES_MAX + 1024);
  #parser = this.#newParser();

  constructor(private readonly parts: ListeningParts) {
    const { self, town, townKey, keys, genesis } = parts;
    this.merges = [genesis];
    const clocks = new SenderClocks(() => this.now);
    const keyOf = (node: NodeId): KeyId | undefined => keys.get(node);
    this.#inbox = new Inbox(self, { town, townKey, keyOf, clocks }, new ReplayGuard());
    this.state = startSync({ self, nodes: [...keys.keys()], height: 0, main: genesis.id, tips: new Map() });
    this.feed({ t: 'connected' });
  }

  /** How often something was refused, by its name. */
  refusals(): ReadonlyMap<string, number> {
    return new Map(this.#inbox.refusals().map(({ code, count }) => [code, count]));
  }

  /** Bytes that wait and are not believed. */
  bytesWaiting(): number {
    return [...this.parts.keys.keys()].reduce((sum, node) => sum + this.#blocks.bytesOf(node), 0);
  }

  #newParser(): Parser {
    const parser = mqttParser({ protocolVersion: 4 });
    parser.on('packet', (packet: Packet) => this.#takePacket(packet));
    parser.on('error', () => this.#lineBroken());
    return parser;
  }

  #refuse(code: string): void {
    this.#inbox.refuse({ code, reason: code }, this.now);
  }

  /** What is not MQTT ends the connection; another one follows. */
  #lineBroken(): void {
    this.#refuse('not-mqtt');
    this.#sieve = new PacketSieve(MESSAGE_BYTES_MAX + 1024);
    this.#parser = this.#newParser();
    this.feed({ t: 'disconnected' });
    this.feed({ t: 'connected' });
  }

  /** Bytes as they come from the broker, cut anywhere. @returns whether the connection holds */
  hear(chunk: Buffer): boolean {
    const sieve = this.#sieve;
    const { passed, swallowed, broken } = sieve.take(chunk);
    for (const part of passed) if (this.#sieve === sieve) this.#parser.parse(part);
    for (let i = 0; i < swallowed.length; i += 1) this.#refuse('too-large');
    if (broken && this.#sieve === sieve) this.#lineBroken();
    return this.#sieve === sieve;
  }

  #takePacket(packet: Packet): void {
    if (packet.cmd !== 'publish') return;
    const { topic, payload, retain } = packet as IPublishPacket;
    const delivery = { topic, payload: Buffer.from(payload), retained: retain };
    const message = this.#inbox.receive(delivery, this.now);
    if (message === null) return;
    try {
      this.#bring(message);
    } catch (error) {
      if (!(error instanceof TownError)) throw error;
      this.#refuse('malformed');
    }
  }

  #bring(message: Message): void {
    const { from, kind, body } = message;
    if (message.class === 'consensus') {
      const refused = this.parts.consensus(message);
      if (refused !== null) this.#refuse(refused);
    } else if (kind === 'heads') this.feed({ t: 'heads', from, body: readHeads(body) });
    else if (kind === 'want') this.feed({ t: 'want', from, body: readWant(body) });
    else if (kind === 'have') this.feed({ t: 'have', from, body: readHave(body) });
    else if (kind === HELLO) readHello(body);
    else throw new TownError('malformed', 'Of an unknown kind.');
  }

  feed(event: Event): void {
    const { state, outputs } = step(this.state, { ...event, now: this.now } as Input);
    this.state = state;
    for (const output of outputs) this.#do(output);
  }

  #do(output: Output): void {
    if (output.t === 'send-want') {
      this.asked.push({ to: output.to, body: output.body });
      if (this.asked.length > 64) this.asked.shift();
    } else if (output.t === 'send-have') {
      this.answers += 1;
      this.feed({ t: 'answered', to: output.to, item: output.item });
    } else if (output.t === 'refused') this.#refuse(output.code);
    else if (output.t === 'discard') this.#blocks.discard(output.item);
    else if (output.t === 'admit') this.#admit(output.from, output.item, output.body, output.follows);
  }

  #settle(item: Item, refused: string | null): void {
    if (refused !== null) {
      this.#blocks.discard(item);
      this.#refuse(refused);
    }
    this.feed({ t: 'settled', item, refused });
  }

  #admit(from: NodeId, item: Item, body: HaveBody, follows: boolean): void {
    try {
      if ('merges' in body) return this.#takeMerges(unpackMerges(body.merges.packed));
      if (!('blocks' in body)) throw new TownError('unsolicited', 'Nothing else is asked for here.');
      const batch = unpackBlocks(body.blocks.packed);
      if (follows) this.#blocks.append(item, from, batch);
      else this.#blocks.put(item, from, batch);
      const seq = claimedSeq(batch);
      if (seq !== null) this.feed({ t: 'received', node: body.blocks.node, upTo: seq });
    } catch (error) {
      if (!(error instanceof TownError)) throw error;
      return this.#settle(item, error.code);
    }
    this.#pump();
  }

  #takeMerges(batch: readonly RawMerge[]): void {
    for (const raw of batch) {
      const merge = this.parts.proven(raw);
      if (merge === null) return this.#settle('merges', 'bad-certificate');
      if (merge.height !== this.state.height + 1) continue;
      this.merges.push(merge);
      this.feed({ t: 'adopted', height: merge.height, main: merge.id });
    }
    this.#settle('merges', null);
    this.#pump();
  }

  #pump(): void {
    for (const item of this.#blocks.items()) this.#pumpBranch(item as NodeId);
  }

  #pumpBranch(branch: NodeId): void {
    const found = this.#blocks.get(branch);
    if (found === null) return;
    const { node, line } = placeOf(branch);
    const held = this.branches.get(node) ?? [];
    const { admitted, waiting, refused } = admitBlocks(found.batch, {
      ...{ town: this.parts.town, line, node },
      keyOf: (id) => this.parts.keys.get(id),
      tip: held[held.length - 1] ?? null,
      heldAt: (seq) => held[seq - 1]?.id ?? null,
      mergeOid: (base) => this.merges.find(({ id }) => id === base)?.oid ?? null,
    });
    this.branches.set(node, [...held, ...admitted]);
    const last = admitted[admitted.length - 1];
    if (last) this.feed({ t: 'stored', node: branch, tip: { seq: last.seq, head: last.id } });
    if (refused !== null) return this.#settle(branch, refused.code);
    this.#blocks.keepRest(branch, waiting);
    if (waiting.length > 0) return;
    if (this.#blocks.get(branch) === null) this.#settle(branch, null);
    else this.#pumpBranch(branch);
  }

  /** The merge that it stands on, and how far it has a branch. */
  reached(node: NodeId): { readonly main: Sha256; readonly seq: number } {
    return { main: this.state.main, seq: this.state.tips.get(node)?.seq ?? 0 };
  }
}
