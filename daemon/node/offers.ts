/**
 * What the others hold, brought by hand: by the path of what peers send, through a quarantine of its own, one part after the other,
 * each told of to who brings it. Who may bring something is who can read the key of this node: the `town` command on this board.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import type { JsonObject, NodeId, Sha256 } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { branchOf, placeOf, readHave, type Branch, type HaveBody } from '../sync/bodies.js';
import type { Item } from '../sync/sync-state.js';
import { Serial } from './drive.js';
import type { NodeKeys } from './key-files.js';
import { PeerIntake, type PeerIntakeParts } from './peer-intake.js';

/** What came of a part. */
export interface Offered {
  /** Of `main`, now. */
  readonly height: number;
  /** Why it, or the rest of it, was not taken. */
  readonly refused: { readonly code: string; readonly reason: string } | null;
  /** Blocks that the merge folds in and that are not here: what is here of their branches contradicts it. */
  readonly lacking: readonly Sha256[];
  /** Some of it builds on a merge that is not here, and was let go. */
  readonly waits: boolean;
}

/** Who takes parts in. */
export interface OfferTaker {
  /** @throws TownError `stopping`, `busy`, and what is wrong with this node itself; what is wrong with the part is told */
  take(part: HaveBody): Promise<Offered>;
}

/** The use case that the API calls. */
export interface OfferCase {
  /**
   * Takes a part.
   * @param text a `HaveBody` as JSON; `proof` as `proofOfOffer` makes it
   * @throws TownError `not-allowed`, `malformed`, and as `OfferTaker.take`
   */
  offer(text: string, proof: string): Promise<Offered>;
}

/** Characters of a part's JSON: what a message may have. */
export const OFFER_CHARS_MAX = 192 * 1024;
const WAITING_MAX = 8;

/** Proves that who offers a part can read this node's key. @returns 64 hex digits */
export const proofOfOffer = ({ secretKey }: Pick<NodeKeys, 'secretKey'>, text: string): string =>
  createHmac('sha256', secretKey).update('mergetown/offer/v1\0').update(text).digest('hex');

export type OffersParts = Pick<
  PeerIntakeParts,
  | 'self'
  | 'store'
  | 'main'
  | 'merger'
  | 'peerBlocks'
  | 'keyOf'
  | 'prepare'
  | 'checkpoint'
  | 'stored'
  | 'replaced'
> & {
  readonly keys: Pick<NodeKeys, 'secretKey'>;
  /** Runs something while nothing that peers sent is taken in. */
  readonly undisturbed: (task: () => Promise<void>) => void;
};

export class Offers implements OfferTaker, OfferCase {
  private readonly intake: PeerIntake;
  private readonly serial = new Serial(WAITING_MAX);
  private refused: Offered['refused'] = null;
  private lacking: readonly Sha256[] = [];
  /** The part at hand is through. */
  private isSettled = false;
  /** More of a head is to come. */
  private isCollecting = false;
  private stopWaiting: (() => void) | null = null;
  private stopped = false;

  constructor(private readonly parts: OffersParts) {
    const { keys: _, undisturbed: __, ...others } = parts;
    this.intake = new PeerIntake({
      ...others,
      received: () => undefined,
      lacking: (heads) => (this.lacking = heads),
      collected: (_head, upTo) => (this.isCollecting = upTo !== null),
      settled: () => (this.isSettled = true),
      refused: (_item, _from, code, reason) => (this.refused = { code, reason }),
      failed: (code, reason) => (this.refused ??= { code, reason }),
    });
  }

  stop(): void {
    this.stopped = true;
    this.intake.stop();
    this.stopWaiting?.();
  }

  async offer(text: string, proof: string): Promise<Offered> {
    const expected = Buffer.from(proofOfOffer(this.parts.keys, text), 'hex');
    const given = Buffer.from(/^[0-9a-f]{64}$/.test(proof) ? proof : '', 'hex');
    if (given.length !== expected.length || !timingSafeEqual(given, expected))
      throw new TownError(
        'not-allowed',
        'Only who can read the key of this node may bring it what others hold.',
        'Run `town bundle apply` as the account that the daemon runs as, on its data folder (--data).',
      );
    return this.take(readHave(parsed(text)));
  }

  take(part: HaveBody): Promise<Offered> {
    return this.serial.run(
      () => this.takeNow(part),
      () => new TownError('busy', 'Several bundles are being taken in already.', 'Try again in a moment.'),
    );
  }

  private takeNow(part: HaveBody): Promise<Offered> {
    return new Promise((resolve, reject) => {
      const isStopping = (): void => reject(new TownError('stopping', 'The node is stopping.'));
      if (this.stopped) return isStopping();
      this.stopWaiting = isStopping;
      this.parts.undisturbed(() => this.pumped(part).then(resolve, reject));
    });
  }

  /** Puts a part into quarantine and gives it its turn. What does not leave it then is let go: it can be brought again. */
  private async pumped(part: HaveBody): Promise<Offered> {
    const { self, main } = this.parts;
    const item = itemOf(part);
    this.refused = null;
    this.lacking = [];
    this.isSettled = this.isCollecting = false;
    this.intake.admit(self, item, part);
    // It is first in the next turn: by then the part has had its own.
    await new Promise<void>((done) => this.intake.undisturbed(async () => done()));
    const { refused, lacking, isSettled } = this;
    if (!this.isCollecting) this.intake.discard(item);
    const waits = !isSettled && refused === null && lacking.length === 0;
    return { height: main.head.height, refused, lacking, waits };
  }
}

/** As the item is called among those that are fetched from peers. */
function itemOf(part: HaveBody): Item {
  if ('merges' in part) return 'merges';
  if ('head' in part) return part.head.id;
  if (!('blocks' in part)) return 'state';
  const { node, line } = placeOf(part.blocks.node);
  return branchOf(node as NodeId, line) satisfies Branch;
}

function parsed(text: string): JsonObject {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as JsonObject;
  } catch {
    // Told below.
  }
  throw new TownError('malformed', 'Not a part of a history: an object of JSON is expected.');
}
