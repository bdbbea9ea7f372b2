/**
 * A broker and the ways to it, in simulated time. While the network is bad it loses, doubles, delays and reorders; ways can be
 * cut in one direction or both; the broker itself can go away, with or without what it kept. Who is cut off notices late.
 */
import type { NodeId } from '../ledger/ids.js';
import type { MakeTransport } from '../node/peering-parts.js';
import type { Transport, TransportEvents } from '../sync/transport.js';
import { SECOND, type Chance, type Timeline } from './timeline.js';

/** The client sends a ping every 15 s; half as long again, and either side gives the connection up. */
const NOTICE_MS_MAX = 22.5 * SECOND;
const RECONNECT_MS = SECOND;
const TRAVEL_MS_MAX = 50;

/** How bad the network is; all zero: good. */
export interface Weather {
  readonly loss: number;
  readonly doubled: number;
  /** How much of what is sent is late, and how late at most: milliseconds. */
  readonly late: number;
  readonly lateMs: number;
  /** Whether messages overtake each other on one connection, as none do over TCP. */
  readonly reorders: boolean;
}

export const FAIR: Weather = { loss: 0, doubled: 0, late: 0, lateMs: 0, reorders: false };

/** What a broker does that lies: shares of the messages. */
export interface Lies {
  /** Gives an old message again, to anybody, as a kept one or not. */
  readonly replays: number;
  /** Gives a message changed. */
  readonly tampers: number;
  /** Puts junk, or an old message, into what it keeps. */
  readonly junk: number;
  /** Gives this node no heads; null: all get theirs. */
  readonly withholds: number | null;
}

/** Messages that a lying broker remembers. */
const REMEMBERED_MAX = 200;
const JUNK_BYTES_MAX = 2_000;

interface Sent {
  readonly topic: string;
  readonly payload: Uint8Array;
}

/** What the network needs of the process that talks. */
export interface NetworkedProcess {
  readonly node: NodeId;
  readonly isAlive: () => boolean;
  /** Runs something later, unless the process has ended by then. */
  readonly after: (ms: number, run: () => void) => void;
  /** The process may end here. False: it has ended. */
  readonly reach: (point: 'sending' | 'received') => boolean;
}

type Options = Parameters<MakeTransport>[0];

/** One connection, as the broker sees it. */
interface Session {
  readonly process: NetworkedProcess;
  readonly subscriptions: readonly string[];
  readonly will: string;
  readonly events: TransportEvents;
  /** When the last message on its way arrives, to and from the broker: the next comes after it. */
  readonly last: { to: number; from: number };
  /** The client has noticed that it is broken. */
  readonly ended: () => void;
  open: boolean;
}

/** Whether bytes get through between a node and the broker. */
interface Way {
  toBroker: boolean;
  fromBroker: boolean;
}

export class SimulatedBroker {
  weather: Weather = FAIR;
  lies: Lies | null = null;
  /** Whether it takes what it is given and gives nothing on, neither now nor later. */
  swallows = false;
  /** Who reads along with what nodes give to the broker. */
  ear: ((from: NodeId, topic: string, text: string) => void) | null = null;
  /** Whom the lies mean by a number. */
  nodeAt: (index: number) => NodeId | undefined = () => undefined;
  /** Messages that were given to the broker. */
  messages = 0;
  readonly #ways = new Map<NodeId, Way>();
  readonly #sessions = new Set<Session>();
  readonly #retained = new Map<string, Uint8Array>();
  readonly #remembered: Sent[] = [];
  #isHere = true;

  constructor(
    private readonly time: Timeline,
    private readonly chance: Chance,
  ) {}

  transport(process: NetworkedProcess): MakeTransport {
    return (options) => new SimulatedTransport(this, process, options);
  }

  // Faults ---------------------------------------------------------------------------------------------------------------

  /** Opens or cuts the way between a node and the broker. */
  setWay(node: NodeId, way: Partial<Way>): void {
    Object.assign(this.#way(node), way);
    for (const session of this.#sessions) if (session.process.node === node) this.#noticeLater(session);
  }

  isCut(node: NodeId): boolean {
    const { toBroker, fromBroker } = this.#way(node);
    return !toBroker || !fromBroker;
  }

  #way(node: NodeId): Way {
    let way = this.#ways.get(node);
    if (way === undefined) this.#ways.set(node, (way = { toBroker: true, fromBroker: true }));
    return way;
  }

  /** The broker goes away; every connection breaks. @param forgets what it kept for those who come later */
  leave(forgets: boolean): void {
    this.#isHere = false;
    if (forgets) this.#retained.clear();
    for (const session of [...this.#sessions]) this.#end(session, false, this.chance.between(0, 2 * SECOND));
  }

  comeBack(): void {
    this.#isHere = true;
  }

  /** A process ended: its socket is closed at once, unless the power failed: then the broker notices late. */
  processEnded(process: NetworkedProcess): void {
    const ms = this.chance.hits(0.5) ? 0 : this.chance.between(0, NOTICE_MS_MAX);
    for (const session of this.#sessions)
      if (session.process === process) this.time.after(ms, () => this.#end(session, true, 0));
  }

  #noticeLater(session: Session): void {
    const { node } = session.process;
    // A connection whose way is open again in time goes on, without what was lost.
    const look = (): void => {
      if (session.open && this.isCut(node)) this.#end(session, true, this.chance.between(0, NOTICE_MS_MAX));
    };
    if (this.isCut(node)) this.time.after(this.chance.between(SECOND, NOTICE_MS_MAX), look);
  }

  /** Ends a connection at the broker now, at the client after so long. */
  #end(session: Session, withWill: boolean, clientMs: number): void {
    if (!this.#sessions.delete(session)) return;
    session.open = false;
    session.process.after(clientMs, session.ended);
    if (withWill && this.#isHere && !this.swallows) this.#take(session.will, new Uint8Array(), true, null);
  }

  // What clients do ------------------------------------------------------------------------------------------------------

  /** A connection, if broker and way are there. @param ended told when the client notices that it is broken */
  connect(process: NetworkedProcess, options: Options, ended: () => void): Session | null {
    if (!this.#isHere || this.isCut(process.node)) return null;
    const { subscriptions, will, events } = options;
    const last = { to: 0, from: 0 };
    const session: Session = { process, subscriptions, will, events, ended, last, open: true };
    this.#sessions.add(session);
    for (const [topic, payload] of this.swallows ? [] : this.#retained)
      if (isWanted(session, topic)) this.#deliver(session, topic, payload, true);
    return session;
  }

  send(session: Session, topic: string, text: string, retain: boolean): void {
    const { process, open } = session;
    this.messages += 1;
    this.ear?.(process.node, topic, text);
    const { chance, weather } = this;
    if (!open || !this.#way(process.node).toBroker || chance.hits(weather.loss / 2)) return;
    this.#travel(session, 'to', () => {
      if (!this.#isHere || this.swallows) return;
      const payload = Buffer.from(text);
      this.#take(topic, payload, retain, process);
      this.#lie({ topic, payload });
    });
  }

  /** A message is at the broker: it goes to who subscribed. */
  #take(topic: string, payload: Uint8Array, retain: boolean, sender: NetworkedProcess | null): void {
    if (retain && payload.length > 0) this.#retained.set(topic, payload);
    if (retain && payload.length === 0) this.#retained.delete(topic);
    // What a node said itself it would only drop.
    for (const session of this.#sessions)
      if (session.process !== sender && isWanted(session, topic) && !this.#isWithheld(session, topic))
        this.#deliver(session, topic, payload, false);
  }

  #deliver(session: Session, topic: string, payload: Uint8Array, retained: boolean): void {
    const { chance, weather } = this;
    if (chance.hits(weather.loss / 2)) return;
    for (let copies = chance.hits(weather.doubled) ? 2 : 1; copies > 0; copies -= 1)
      this.#travel(session, 'from', () => {
        const { process, events, open } = session;
        if (!open || !process.isAlive() || !this.#way(process.node).fromBroker) return;
        if (process.reach('received')) events.delivered({ topic, payload, retained });
      });
  }

  /** Runs something when a message that sets out now arrives; in order, unless the weather is such that it does not matter. */
  #travel({ last }: Session, way: 'to' | 'from', arrived: () => void): void {
    const { chance, weather, time } = this;
    const ms = chance.hits(weather.late)
      ? chance.between(0, weather.lateMs)
      : chance.between(1, TRAVEL_MS_MAX);
    const at = weather.reorders ? time.now + ms : Math.max(time.now + ms, last[way]);
    last[way] = Math.max(at, last[way]);
    time.after(at - time.now, arrived);
  }

  // Lies -----------------------------------------------------------------------------------------------------------------

  #isWithheld(session: Session, topic: string): boolean {
    const { withholds } = this.lies ?? { withholds: null };
    return withholds !== null && topic.includes('/heads/') && session.process.node === this.nodeAt(withholds);
  }

  /** What a broker that lies does when a message has come. */
  #lie(sent: Sent): void {
    const { chance, lies } = this;
    if (lies === null) return;
    this.#remembered.push(sent);
    if (this.#remembered.length > REMEMBERED_MAX) this.#remembered.shift();
    const sessions = [...this.#sessions];
    if (sessions.length === 0) return;
    const old = chance.pick(this.#remembered);
    if (chance.hits(lies.replays))
      this.#deliver(chance.pick(sessions), old.topic, old.payload, chance.hits(0.5));
    if (chance.hits(lies.tampers)) {
      const payload = Uint8Array.from(sent.payload);
      const at = chance.index(payload.length);
      payload[at] = (payload[at] ?? 0) ^ (1 << chance.index(8));
      this.#deliver(chance.pick(sessions), sent.topic, payload, chance.hits(0.2));
    }
    if (!chance.hits(lies.junk)) return;
    const { topic } = chance.pick(this.#remembered);
    const junk = Buffer.alloc(1 + chance.index(JUNK_BYTES_MAX), chance.index(256));
    const nothing = new Uint8Array();
    this.#take(topic, chance.pick([old.payload, junk, nothing]), chance.hits(0.7), null);
  }
}

/** Whether one of the session's filters (MQTT 3.1.1, 4.7) takes the topic. */
function isWanted({ subscriptions }: Session, topic: string): boolean {
  const levels = topic.split('/');
  return subscriptions.some((filter) => {
    const wanted = filter.split('/');
    return (
      wanted.every((level, at) => level === '#' || level === '+' || level === levels[at]) &&
      (wanted.length === levels.length || wanted.at(-1) === '#')
    );
  });
}

/** What the daemon sees of it: as the real one, it connects again and again, and tells its retained messages anew. */
class SimulatedTransport implements Transport {
  readonly #retained = new Map<string, string>();
  #session: Session | null = null;
  #stopped = false;

  constructor(
    private readonly broker: SimulatedBroker,
    private readonly process: NetworkedProcess,
    private readonly options: Options,
  ) {}

  start(): void {
    this.process.after(TRAVEL_MS_MAX, () => this.#connect());
  }

  #connect(): void {
    if (this.#stopped) return;
    this.#session = this.broker.connect(this.process, this.options, () => {
      this.#session = null;
      this.options.events.disconnected();
      this.process.after(RECONNECT_MS, () => this.#connect());
    });
    if (this.#session === null) return this.process.after(RECONNECT_MS, () => this.#connect());
    for (const [topic, text] of this.#retained) this.broker.send(this.#session, topic, text, true);
    this.options.events.connected();
  }

  publish(topic: string, text: string, retain: boolean): boolean {
    if (!this.process.reach('sending')) return false;
    if (retain) this.#retained.set(topic, text);
    if (this.#session === null) return false;
    this.broker.send(this.#session, topic, text, retain);
    return true;
  }

  stop(): Promise<void> {
    this.#stopped = true;
    return Promise.resolve();
  }
}
