/**
 * How this node and its peers get to know each other's clock and protocol. It greets who comes, and who is refused because of its
 * clock; an answer that carries the nonce of the question is new, so it tells what time its sender has. Nothing is sent while nobody
 * comes or goes. A node whose town has gone on to a protocol that it does not speak says so: see `outdated`.
 */
import { quorumOf } from '../consensus/quorum.js';
import { hexOf } from '../ledger/hash.js';
import type { JsonObject, NodeId } from '../ledger/ids.js';
import type { SenderClocks } from '../sync/sender-clocks.js';
import { readHello, SPOKEN, type HelloBody } from '../sync/hello.js';
import { HELLO } from '../sync/message.js';
import type { MainLine } from './main-line.js';

/** One node is asked, and answered, at most so often. */
const ASK_GAP_MS = 5_000;
const ANSWER_GAP_MS = 1_000;
/** An answer that takes longer tells no time: half of that is how wrong it may be. */
const ANSWER_MS_MAX = 30_000;
const PEERS_MAX = 1_000;

export interface GreetingParts {
  readonly self: NodeId;
  readonly main: MainLine;
  readonly clocks: SenderClocks;
  /** Random bytes, never the same twice. */
  readonly random: (length: number) => Uint8Array;
  /** Milliseconds that never go back. */
  readonly steady: () => number;
  /** @returns false where it was not sent */
  readonly send: (kind: typeof HELLO, to: NodeId, body: JsonObject) => boolean;
  /** A sender's clock is known now that was not before, or has been put back. */
  readonly learned: (from: NodeId) => void;
  /** The town has gone on to a protocol that this program does not speak, or a node lags behind the town's. Told once each. */
  readonly outdated: (who: 'self' | NodeId, version: number) => void;
}

interface Known {
  question: { readonly nonce: string; readonly at: number } | null;
  askedAt: number;
  answeredAt: number;
  hello: HelloBody | null;
}

export class Greeting {
  private readonly peers = new Map<NodeId, Known>();
  private readonly told = new Set<string>();

  constructor(private readonly parts: GreetingParts) {}

  /** A node is heard that was not, or is refused because of its clock: it is asked what time it has. */
  ask(node: NodeId): void {
    const known = this.known(node);
    const now = this.parts.steady();
    if (known === null || now - known.askedAt < ASK_GAP_MS) return;
    const nonce = this.nonce();
    if (!this.say(node, nonce, null)) return;
    known.askedAt = now;
    known.question = { nonce, at: now };
  }

  /** A hello of a node of the charter. @param at by its clock; @throws TownError `malformed` */
  receive(from: NodeId, at: number, body: JsonObject): void {
    const hello = readHello(body);
    const known = this.known(from);
    if (known === null) return;
    known.hello = hello;
    const { steady, clocks, learned } = this.parts;
    const now = steady();
    const { question } = known;
    if (question !== null && hello.answers === question.nonce && now - question.at <= ANSWER_MS_MAX) {
      known.question = null;
      clocks.learn(from, at);
      learned(from);
    }
    if (hello.nonce !== null && now - known.answeredAt >= ANSWER_GAP_MS) {
      known.answeredAt = now;
      // In the same message: both know the other's clock after three.
      const asks = !clocks.isKnown(from) && known.question === null;
      if (asks) known.question = { nonce: this.nonce(), at: (known.askedAt = now) };
      this.say(from, asks ? (known.question?.nonce ?? null) : null, hello.nonce);
    }
    this.compare();
  }

  /** A merge was adopted: other nodes may count, and the town's version may be another. */
  adopted(nodes: ReadonlySet<NodeId>): void {
    for (const node of this.peers.keys()) if (!nodes.has(node)) this.peers.delete(node);
    this.compare();
  }

  private say(to: NodeId, nonce: string | null, answers: string | null): boolean {
    const town = this.parts.main.charter.protocol;
    return this.parts.send(HELLO, to, { speaks: { ...SPOKEN }, town, nonce, answers });
  }

  private nonce(): string {
    return hexOf(this.parts.random(16));
  }

  private known(node: NodeId): Known | null {
    let known = this.peers.get(node);
    if (known === undefined && this.peers.size < PEERS_MAX) {
      known = { question: null, askedAt: -Infinity, answeredAt: -Infinity, hello: null };
      this.peers.set(node, known);
    }
    return known ?? null;
  }

  /** This node is behind when a quorum of the validators says so, or all the others where it is needed for one: of fewer it might be a lie. */
  private compare(): void {
    const { charter } = this.parts.main;
    const hellos = charter.validators.map((id) => this.peers.get(id as NodeId)?.hello ?? null);
    const beyond = hellos.flatMap((hello) => (hello !== null && hello.town > SPOKEN.to ? [hello.town] : []));
    const quorum = quorumOf(charter.validators.length, charter.quorum);
    const others = charter.validators.filter((id) => id !== this.parts.self).length;
    if (beyond.length > 0 && beyond.length >= Math.min(quorum, others))
      this.tell('self', Math.min(...beyond));
    for (const [node, { hello }] of this.peers)
      if (hello !== null && hello.speaks.to < charter.protocol) this.tell(node, charter.protocol);
  }

  private tell(who: 'self' | NodeId, version: number): void {
    if (this.told.has(`${who} ${version}`) || this.told.size >= PEERS_MAX) return;
    this.told.add(`${who} ${version}`);
    this.parts.outdated(who, version);
  }
}
