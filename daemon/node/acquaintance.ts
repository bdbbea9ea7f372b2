/**
 * How this node and its peers come to understand each other: what time each has, which protocol it speaks, which key of the town it
 * seals with. What could not be read for want of one of these is read once it is there.
 */
import { keyOfNode } from '../ledger/charter.js';
import type { JsonObject, NodeId } from '../ledger/ids.js';
import type { HELLO, Delivery, OpeningKeys } from '../sync/message.js';
import { SenderClocks } from '../sync/sender-clocks.js';
import { SPOKEN } from '../sync/hello.js';
import { Greeting } from './greeting.js';
import type { KnownNodes } from './known-nodes.js';
import type { PeeringParts } from './peering-parts.js';
import { TownKeyKeeper, type TownKeyKeeperParts } from './town-key-keeper.js';
import type { TownKeys } from './town-keys.js';

export interface AcquaintanceParts
  extends
    Pick<PeeringParts, 'main' | 'keys' | 'clock' | 'random' | 'steady' | 'trouble' | 'outdated'>,
    Pick<TownKeyKeeperParts, 'heard' | 'isBehind' | 'publish' | 'refused'> {
  readonly known: KnownNodes;
  readonly ring: TownKeys;
  /** @returns false where it was not sent */
  readonly send: (kind: typeof HELLO, to: NodeId, body: JsonObject) => boolean;
  /** What this one sent before can be read now, maybe; null: what anybody sent. */
  readonly readable: (from: NodeId | null) => void;
  /** The own heads have to be told anew. */
  readonly tellAnew: () => void;
  /** A node seals with a key that was given up: it may be behind, or in an epoch that is over. */
  readonly lags: () => void;
}

export class Acquaintance {
  private readonly clocks: SenderClocks;
  private readonly greeting: Greeting;
  private readonly keeper: TownKeyKeeper;

  constructor(private readonly parts: AcquaintanceParts) {
    const { main, keys, random, steady, clock, known, ring } = parts;
    this.clocks = new SenderClocks(steady, (from) => this.greeting.ask(from));
    this.greeting = new Greeting({
      ...{ self: keys.id, main, random, steady, clocks: this.clocks, send: parts.send },
      learned: (from) => parts.readable(from),
      outdated: (who, version) => this.tellOutdated(who, version),
    });
    this.keeper = new TownKeyKeeper({
      ...{ main, keys, random, steady, clock, ring },
      nodes: () => known.ids(),
      keyOf: (node) => known.keyOf(node) ?? keyOfNode(main.seenCharter, node),
      isSettled: () => known.isSettled,
      heard: parts.heard,
      isBehind: parts.isBehind,
      publish: parts.publish,
      changed: () => {
        parts.readable(null);
        parts.tellAnew();
      },
      refused: parts.refused,
      trouble: parts.trouble,
      failed: (error) =>
        parts.trouble('store-failed', `The town's key could not be changed: ${String(error)}`),
    });
  }

  /** What messages are opened with. */
  get opening(): Required<Pick<OpeningKeys, 'townKeys' | 'sealedWithOld' | 'clocks'>> {
    const { ring } = this.parts;
    return {
      townKeys: () => ring.opening(),
      sealedWithOld: (from) => this.sealedOtherwise(from),
      clocks: this.clocks,
    };
  }

  start(): void {
    this.keeper.start();
  }

  stop(): Promise<void> {
    return this.keeper.stop();
  }

  /** Other nodes may be in the charter, and its protocol another. */
  nodesChanged(nodes: ReadonlySet<NodeId>): void {
    this.clocks.retain(nodes);
    this.greeting.adopted(nodes);
  }

  /** `main` has gone on. */
  adopted(): void {
    this.keeper.adopted();
  }

  /** A node is heard that was not. */
  came(node: NodeId): void {
    this.greeting.ask(node);
  }

  /** What a node of the charter said does not open with any key that is here. */
  sealedOtherwise(node: NodeId): void {
    this.keeper.lags(node);
    this.parts.lags();
  }

  /** @throws TownError `malformed` */
  hello(from: NodeId, at: number, body: JsonObject): void {
    this.greeting.receive(from, at, body);
  }

  /** Somebody gives a key of the town. */
  gift(delivery: Delivery): void {
    this.keeper.receive(delivery);
  }

  private tellOutdated(who: 'self' | NodeId, version: number): void {
    const { trouble, outdated } = this.parts;
    if (who !== 'self')
      return trouble(
        'node-outdated',
        `The town speaks protocol ${version}, and the program of node ${who} does not: it has to be updated.`,
      );
    outdated?.(version);
    trouble(
      'update',
      `The town has gone on to protocol ${version}, and this program speaks ${SPOKEN.to}: update it. ` +
        'Until then this node keeps its doors, and neither signs merges nor records claims.',
    );
  }
}
