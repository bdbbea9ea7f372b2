/**
 * Tells over MQTT how far this node is: a retained message, signed by the node and sealed with the town's key.
 * A last will takes it back when the node goes away.
 */
import { randomBytes } from 'node:crypto';
import type { MqttClient } from 'mqtt';
import { canonicalize } from '../ledger/canonical.js';
import { openEnvelope, sealEnvelope } from '../ledger/envelope.js';
import type { JsonObject, KeyId, NodeId, Sha256 } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { signText, verifyText } from '../ledger/signature.js';

const DOMAIN = 'mergetown/head/v1';

export interface AnnouncedHead {
  readonly town: Sha256;
  readonly line: string;
  readonly node: NodeId;
  readonly height: number;
  readonly main: Sha256;
  /** Sequence of the node's own last block. */
  readonly seq: number;
  readonly at: number;
}

export const headTopic = (town: string, node: string): string =>
  `mergetown/${town.slice(0, 16)}/heads/${node}`;

/** The message of a head: signed, then sealed. */
export function sealHead(head: AnnouncedHead, secretKey: Uint8Array, townKey: Uint8Array): string {
  const text = canonicalize(head);
  const signed = { head: { ...head }, sig: signText(secretKey, DOMAIN, text) };
  return canonicalize(
    sealEnvelope(townKey, 'town', signed, headTopic(head.town, head.node), randomBytes(12)),
  );
}

/** Reads a head. @throws TownError `bad-head`, `envelope` */
export function openHead(message: string, topic: string, key: KeyId, townKey: Uint8Array): AnnouncedHead {
  const { head, sig } = openEnvelope(townKey, JSON.parse(message) as JsonObject, topic) as unknown as {
    head: AnnouncedHead;
    sig: string;
  };
  if (!verifyText(key, DOMAIN, canonicalize(head), sig) || headTopic(head.town, head.node) !== topic)
    throw new TownError('bad-head', 'The head is not signed by the node it names.');
  return head;
}

/** Keeps one retained message up to date. The client's own queue is one message long: only the newest counts. */
export class HeadAnnouncer {
  private client: MqttClient | null = null;
  private latest: AnnouncedHead | null = null;

  constructor(
    private readonly url: string,
    private readonly topic: string,
    private readonly seal: (head: AnnouncedHead) => string,
  ) {}

  async start(): Promise<void> {
    const { connect } = await import('mqtt');
    this.client = connect(this.url, {
      protocolVersion: 4,
      reconnectPeriod: 2000,
      queueQoSZero: false,
      will: { topic: this.topic, payload: Buffer.alloc(0), qos: 0, retain: true },
    });
    this.client.on('connect', () => this.send());
    this.client.on('error', () => undefined);
  }

  announce(head: AnnouncedHead): void {
    this.latest = head;
    this.send();
  }

  private send(): void {
    if (this.client?.connected && this.latest)
      this.client.publish(this.topic, this.seal(this.latest), { qos: 0, retain: true });
  }

  async stop(): Promise<void> {
    await this.client?.endAsync(true);
  }
}
