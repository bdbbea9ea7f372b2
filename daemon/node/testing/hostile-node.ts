/** For tests: a node of the charter that lies, with its real keys and a bare MQTT client, and nothing of ours between them. */
import { randomBytes } from 'node:crypto';
import { connectAsync, type MqttClient } from 'mqtt';
import { certificateText, type CertificateVote } from '../../consensus/certificate.js';
import { signVote, valueIdOf } from '../../consensus/vote.js';
import { entriesText, makeBlock, NO_BLOCK, type Block } from '../../ledger/block.js';
import { signEntry, type VerifiedEntry } from '../../ledger/entry.js';
import type { Json, JsonObject, Millis, NodeId, Oid, Sha256 } from '../../ledger/ids.js';
import { packBlocks, type RawBlock } from '../../sync/block-batch.js';
import type { HaveBody, HeadsBody, Tip, WantBody } from '../../sync/bodies.js';
import { consensusTopic, directTopic, headsTopic, openMessage, type Message } from '../../sync/message.js';
import { twistedMessage, type Twist } from '../../sync/testing/twisted-message.js';
import { keysOf, type CoreNode } from './core-town.js';

/** What `main` is where the liar looks, for what it builds on it. */
export interface Place {
  readonly id: Sha256;
  readonly oid: Oid;
}

export class HostileNode {
  readonly keys;
  /** What it was asked, in order. */
  readonly wants: { readonly from: NodeId; readonly body: WantBody }[] = [];
  /** Answers a want as it likes; null: not at all. */
  answer: (want: WantBody) => HaveBody | null | Promise<HaveBody | null> = () => null;
  private counter = Date.now();
  private n = 0;

  private constructor(
    name: string,
    readonly town: Sha256,
    readonly client: MqttClient,
    private readonly peers: readonly string[],
  ) {
    this.keys = keysOf(name);
  }

  static async open(
    name: string,
    town: Sha256,
    url: string,
    peers: readonly string[],
    clientOf: (url: string) => Promise<MqttClient> = (address) =>
      connectAsync(address, { protocolVersion: 4 }),
  ): Promise<HostileNode> {
    const client = await clientOf(url);
    const node = new HostileNode(name, town, client, peers);
    client.on('message', (topic, payload, { retain }) => node.receive(topic, payload, retain));
    await client.subscribeAsync(directTopic(town, node.keys.id), { qos: 1 });
    return node;
  }

  private receive(topic: string, payload: Uint8Array, retained: boolean): void {
    const keyOf = (id: NodeId) => this.peers.map(keysOf).find((keys) => keys.id === id)?.key;
    const opening = { town: this.town, townKey: this.keys.townKey, keyOf };
    const opened = openMessage({ topic, payload, retained }, opening, Date.now());
    if (!('message' in opened) || opened.message.kind !== 'want') return;
    const { from, body } = opened.message as Message & { body: never };
    this.wants.push({ from, body });
    void Promise.resolve(this.answer(body)).then((have) =>
      have === null ? null : this.tell(from, 'have', have as unknown as JsonObject),
    );
  }

  publish(topic: string, payload: string | Buffer, retain = false): Promise<unknown> {
    return this.client.publishAsync(topic, payload, { qos: 1, retain });
  }

  /** A sealed and signed message, true but for the twist. */
  seal(topic: string, kind: string, body: Json, twist: Twist = {}): string {
    const { town } = this;
    const { id: from, secretKey, townKey } = this.keys;
    this.counter += 1;
    const said = { topic, kind, body, counter: this.counter, at: Date.now(), iv: randomBytes(12) };
    return twistedMessage({ town, townKey, from, secretKey, ...said }, twist);
  }

  /** To one node. */
  tell(to: NodeId, kind: string, body: Json, twist: Twist = {}): Promise<unknown> {
    const topic = directTopic(this.town, to);
    return this.publish(topic, this.seal(topic, kind, body, { to, ...twist }));
  }

  /** To all validators. */
  declare(kind: string, body: Json, twist: Twist = {}): Promise<unknown> {
    const topic = consensusTopic(this.town);
    return this.publish(topic, this.seal(topic, kind, body, twist));
  }

  heads(body: HeadsBody): Promise<unknown> {
    const topic = headsTopic(this.town, this.keys.id);
    return this.publish(topic, this.seal(topic, 'heads', body as unknown as Json), true);
  }

  /** So that nobody waits for it. */
  leave(): Promise<unknown> {
    return this.publish(headsTopic(this.town, this.keys.id), '', true);
  }

  // What it signs --------------------------------------------------------------------------------------------------------

  entry(
    type: string,
    body: JsonObject,
    base: Sha256,
    change: { readonly n?: number; readonly at?: number } = {},
  ): VerifiedEntry {
    this.n += 1;
    const { key, secretKey, id } = this.keys;
    const at = (change.at ?? Date.now()) as Millis;
    const place = { v: 1, town: this.town, line: 'main', base, node: id, n: change.n ?? this.n } as const;
    return signEntry({ ...place, type, by: key, at, body }, secretKey);
  }

  block(
    before: Block | null,
    base: Place,
    entries: readonly VerifiedEntry[],
    change: { readonly seq?: number; readonly secretKey?: Uint8Array; readonly prev?: Sha256 } = {},
  ): Block {
    const seq = change.seq ?? (before?.seq ?? 0) + 1;
    const prev = change.prev ?? before?.id ?? NO_BLOCK;
    const place = { town: this.town, line: 'main', node: this.keys.id, seq, prev, base: base.id };
    const parents = { prev: before?.oid ?? null, main: before?.base === base.id ? null : base.oid };
    const secretKey = change.secretKey ?? this.keys.secretKey;
    return makeBlock(place, parents, entries, Date.now() as Millis, secretKey).block;
  }

  /** An answer with these blocks of a branch. */
  blocks(from: number, blocks: readonly RawBlock[], node: NodeId = this.keys.id): HaveBody {
    return { blocks: { node, from, packed: packBlocks(blocks).packed } };
  }
}

export const rawOf = ({ raw, entries }: Block): RawBlock => ({
  raw,
  entries: Buffer.from(entriesText(entries)),
});

export const tipOf = ({ seq, id }: { readonly seq: number; readonly id: Sha256 }): Tip => ({ seq, head: id });

/** A certificate over these bytes with the votes of these; none of them checks anything. */
export function certify(
  names: readonly string[],
  place: { readonly town: Sha256; readonly height: number; readonly parent: Sha256 },
  bytes: Uint8Array,
): string {
  const { town, height, parent } = place;
  const about = { town, line: 'main', epoch: 0, height, round: 0, parent, value: valueIdOf(bytes) };
  const votes = names
    .map(keysOf)
    .map(({ id, secretKey }): CertificateVote => {
      const { node, sig } = signVote({ ...about, step: 'precommit' }, id, secretKey);
      return { node, sig };
    })
    .sort((a, b) => (a.node < b.node ? -1 : 1));
  return certificateText({ ...about, votes });
}

/** What a node's `main` is just now. */
export const placeOf = ({ core }: CoreNode): Place => {
  const { id, oid } = core.main.head;
  return { id, oid };
};
