/** Messages over an MQTT 3.1.1 broker, with mqtt.js. Every queue, in and out, is bounded here: the client's own are not. */
// Before what it is about.
import './small-packets.js';
import { connect as connectPlain, isIP } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as connectTls, type TLSSocket } from 'node:tls';
import { MqttClient } from 'mqtt';
import { TownError } from '../ledger/ids.js';
import { isPinned, shownChain } from './broker-pin.js';
import { brokerTrouble, NO_ANSWER, NO_SUBSCRIPTION, NOT_PINNED } from './broker-trouble.js';
import { MESSAGE_BYTES_MAX } from './message.js';
import { SievedStream } from './packet-sieve.js';
import type { Transport, TransportEvents } from './transport.js';

/** A packet is a message, its topic and a few bytes. */
const PACKET_BYTES_MAX = MESSAGE_BYTES_MAX + 1024;
/** Messages given to the client and not yet acknowledged by the broker; and those that wait for one of these places. */
const UNACKNOWLEDGED_MAX = 32;
export const QUEUE_MESSAGES_MAX = 256;
export const QUEUE_BYTES_MAX = 16 * 1024 * 1024;
/** Topics with a retained message of this node. */
const RETAINED_MAX = 16;
const CONNECT_MS_MAX = 10_000;
const RECONNECT_MS = 1_000;
const KEEPALIVE_S = 15;

export interface MqttOptions {
  /** `mqtt://host:port` or `mqtts://host:port`. */
  readonly url: string;
  /** Filters, subscribed at every connection. */
  readonly subscriptions: readonly string[];
  readonly events: TransportEvents;
  /** A retained topic that the broker empties when this node goes away. */
  readonly will?: string;
  readonly username?: string;
  readonly password?: string;
  /** PEM of the authorities to trust, where not the system's. */
  readonly ca?: string;
  /** SHA-256 (64 hex digits) of the broker's certificate, or of that of its authority: then nothing else is asked of it. */
  readonly pin?: string;
  /** Between attempts to connect: milliseconds. */
  readonly reconnectMs?: number;
}

interface Outgoing {
  readonly topic: string;
  readonly text: string;
  readonly retain: boolean;
}

export class MqttTransport implements Transport {
  readonly #address: { readonly host: string; readonly port: number; readonly tls: boolean };
  readonly #retained = new Map<string, string>();
  #client: MqttClient | null = null;
  #ready = false;
  #queue: Outgoing[] = [];
  #queueBytes = 0;
  /** The client's numbers of the messages that the broker has not acknowledged. */
  readonly #unacknowledged = new Set<number>();
  /** Counts connections: what an earlier one still reports is not of this one. */
  #connection = 0;
  /** Why the last attempt came to nothing. */
  #trouble: string | null = null;
  /** Whether the attempt that goes on has told why it fails. */
  #isTold = false;

  /** @throws TownError `bad-broker-url` */
  constructor(private readonly options: MqttOptions) {
    this.#address = addressOf(options.url);
  }

  start(): void {
    const { will, username, password, reconnectMs = RECONNECT_MS } = this.options;
    const client = new MqttClient(() => this.#open(), {
      protocolId: 'MQTT',
      protocolVersion: 4,
      clean: true,
      resubscribe: false,
      queueQoSZero: false,
      keepalive: KEEPALIVE_S,
      connectTimeout: CONNECT_MS_MAX,
      reconnectPeriod: reconnectMs,
      // A password may be put right at the broker, and a broker may be busy: a refusal is not for ever.
      reconnectOnConnackError: true,
      clientId: `town-${Math.random().toString(16).slice(2, 14)}`,
      ...(username === undefined ? {} : { username }),
      ...(password === undefined ? {} : { password }),
      ...(will === undefined
        ? {}
        : { will: { topic: will, payload: Buffer.alloc(0), qos: 1 as const, retain: true } }),
    });
    this.#client = client;
    client.on('connect', () => this.#connected(client));
    client.on('close', () => this.#closed());
    // A broker that is away is no fault of the program: the client tries again.
    client.on('error', (error) => this.#troubled(brokerTrouble(error)));
    client.on('message', (topic, payload, { retain }) =>
      this.options.events.delivered({ topic, payload, retained: retain }),
    );
  }

  trouble(): string | null {
    return this.#trouble;
  }

  #troubled(trouble: string): void {
    this.#isTold = true;
    if (this.#ready || trouble === this.#trouble) return;
    this.#trouble = trouble;
    this.options.events.troubled?.();
  }

  #open(): Duplex {
    this.#isTold = false;
    const { host, port, tls } = this.#address;
    const { ca, pin, events } = this.options;
    if (!tls) {
      const socket = connectPlain({ host, port });
      socket.setNoDelay(true);
      return new SievedStream(socket, PACKET_BYTES_MAX, events.tooLarge);
    }
    const socket = connectTls({
      host,
      port,
      ...(isIP(host) ? {} : { servername: host }),
      ...(ca === undefined ? {} : { ca }),
      // Looked at below, before anything is said to it.
      ...(pin === undefined ? {} : { rejectUnauthorized: false }),
    });
    socket.setNoDelay(true);
    const verified = pin === undefined ? null : pinned(socket, pin);
    return new SievedStream(socket, PACKET_BYTES_MAX, events.tooLarge, verified);
  }

  #connected(client: MqttClient): void {
    const connection = ++this.#connection;
    client.subscribe([...this.options.subscriptions], { qos: 1 }, (error, granted) => {
      if (connection !== this.#connection || client !== this.#client) return;
      // A node that hears nothing must not believe that it is connected.
      if (error || granted?.some(({ qos }) => qos === 128)) {
        this.#troubled(NO_SUBSCRIPTION);
        client.stream.destroy();
        return;
      }
      this.#ready = true;
      this.#trouble = null;
      for (const [topic, text] of this.#retained) this.#enqueue({ topic, text, retain: true });
      this.options.events.connected();
    });
  }

  #closed(): void {
    const wasReady = this.#ready;
    this.#connection++;
    this.#ready = false;
    this.#queue = [];
    this.#queueBytes = 0;
    // The client would keep them and send them again: by then they are old, and those who need them ask anew.
    const numbers = [...this.#unacknowledged];
    this.#unacknowledged.clear();
    for (const number of numbers) this.#client?.removeOutgoingMessage(number);
    if (wasReady) this.options.events.disconnected();
    else if (!this.#isTold) this.#troubled(NO_ANSWER);
  }

  publish(topic: string, text: string, retain: boolean): boolean {
    if (text.length > MESSAGE_BYTES_MAX) return false;
    if (retain && (this.#retained.has(topic) || this.#retained.size < RETAINED_MAX))
      this.#retained.set(topic, text);
    return this.#ready && this.#enqueue({ topic, text, retain });
  }

  #enqueue(message: Outgoing): boolean {
    // Of what the broker keeps only the newest counts.
    if (message.retain) {
      const older = this.#queue.findIndex(({ topic, retain }) => retain && topic === message.topic);
      if (older >= 0) this.#queueBytes -= this.#queue.splice(older, 1)[0]?.text.length ?? 0;
    }
    const bytes = this.#queueBytes + message.text.length;
    if (this.#queue.length >= QUEUE_MESSAGES_MAX || bytes > QUEUE_BYTES_MAX) return false;
    this.#queue.push(message);
    this.#queueBytes = bytes;
    this.#flush();
    return true;
  }

  #flush(): void {
    while (this.#ready && this.#client !== null && this.#unacknowledged.size < UNACKNOWLEDGED_MAX) {
      const next = this.#queue.shift();
      if (next === undefined) return;
      this.#queueBytes -= next.text.length;
      const { topic, text, retain } = next;
      let number = 0;
      this.#client.publish(topic, text, { qos: 1, retain }, () => {
        if (this.#unacknowledged.delete(number)) this.#flush();
      });
      number = this.#client.getLastMessageId();
      this.#unacknowledged.add(number);
    }
  }

  /** Takes back what the broker keeps of this node, and disconnects; within two seconds, whatever the broker does. */
  async stop(): Promise<void> {
    const client = this.#client;
    if (client === null) return;
    if (this.#ready && this.options.will !== undefined) {
      const { will } = this.options;
      const emptied = new Promise<void>((resolve) => {
        client.publish(will, '', { qos: 1, retain: true }, () => resolve());
      });
      await withinMs(emptied, 1_000);
    }
    this.#client = null;
    this.#retained.clear();
    await withinMs(client.endAsync(true), 1_000);
    client.stream?.destroy();
  }
}

/** Resolves when the broker has shown the certificate that it is known by. */
const pinned = (socket: TLSSocket, pin: string): Promise<void> =>
  new Promise((resolve, reject) =>
    socket.once('secureConnect', () => {
      if (isPinned(shownChain(socket), pin)) resolve();
      else reject(Object.assign(new Error('The broker is another one.'), { code: NOT_PINNED }));
    }),
  );

function withinMs(work: Promise<unknown>, ms: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    const done = (): void => {
      clearTimeout(timer);
      resolve();
    };
    work.then(done, done);
  });
}

function addressOf(url: string): { host: string; port: number; tls: boolean } {
  const bad = (): never => {
    throw new TownError(
      'bad-broker-url',
      `Expected the address of a broker such as mqtt://board.local:1883, found ${url.slice(0, 200)}.`,
    );
  };
  if (!URL.canParse(url)) return bad();
  const { protocol, hostname, port } = new URL(url);
  if ((protocol !== 'mqtt:' && protocol !== 'mqtts:') || hostname === '') return bad();
  const tls = protocol === 'mqtts:';
  return { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port) || (tls ? 8883 : 1883), tls };
}
