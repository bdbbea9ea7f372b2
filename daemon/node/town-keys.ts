/**
 * The keys of the town at this node (sync/key-ring.ts), durable before one is used: in `keys/town-keys.json` (mode 600);
 * `keys/town.key` is a copy of the one in use. What came early is not kept over a restart: it is given again.
 */
import { readFile } from 'node:fs/promises';
import { bytesOf, hexOf } from '../ledger/hash.js';
import type { NodeId } from '../ledger/ids.js';
import { isNodeId, TownError } from '../ledger/ids.js';
import { writeFileDurably } from '../store/durable-file.js';
import {
  changedTo,
  given,
  isSameKey,
  knownTo,
  newRing,
  openingKeys,
  risen,
  strangersTo,
  type Fate,
  type KeyRing,
  type RingPlace,
} from '../sync/key-ring.js';
import type { TownKey } from '../sync/message.js';
import type { HeldKey } from '../sync/town-key-gift.js';
import { NODE_KEYS, RING, townKeyPaths } from './key-files.js';
import { keyText, readSummed, summed } from './key-text.js';

interface Kept {
  readonly v: 1;
  readonly key: string;
  readonly generation: number;
  readonly knownBy: readonly NodeId[];
  readonly retired: readonly string[];
}

/** Makes the text durable; `key` is the one in use from then on, null: it stays. */
type Keep = (text: string, key: Uint8Array | null) => Promise<void>;

export class TownKeys {
  private constructor(
    private ring: KeyRing,
    private readonly keep: Keep,
  ) {}

  /** Of a key that does not outlive the process. */
  static inMemory(key: Uint8Array): TownKeys {
    return TownKeys.keptBy(null, key, () => Promise.resolve()) as TownKeys;
  }

  /**
   * @param text what was kept last; null: nothing yet, and `key` is the one of the town
   * @returns null where the text holds no keys
   */
  static keptBy(text: string | null, key: Uint8Array, keep: Keep): TownKeys | null {
    if (text === null) return new TownKeys(newRing({ key, generation: 0, knownBy: [] }), keep);
    const kept = keptIn(text);
    if (kept === null) return null;
    const { generation, knownBy, retired } = kept;
    return new TownKeys(newRing({ key: bytesOf(kept.key), generation, knownBy }, retired.map(bytesOf)), keep);
  }

  /**
   * @param key the one of `keys/town.key`, where nothing else is kept yet
   * @throws TownError `no-keys`
   */
  static async open(folder: string, key: Uint8Array): Promise<TownKeys> {
    const { ring: path, copy } = townKeyPaths(folder);
    const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return null;
      throw error;
    });
    const keys = TownKeys.keptBy(text, key, async (kept, next) => {
      await writeFileDurably(path, kept, 0o600);
      if (next !== null) await writeFileDurably(copy, keyText(NODE_KEYS.town, next), 0o600);
    });
    if (keys !== null) return keys;
    throw new TownError(
      'no-keys',
      `${path} does not hold the keys of the town.`,
      'One flipped bit is set right by `town verify --repair`. Else put back the file from this board; without it the node must join anew.',
    );
  }

  /** Writes the key that a node was welcomed with, and the height at which it was made. Durable when it resolves. */
  static async found(folder: string, key: Uint8Array, generation: number): Promise<void> {
    await writeFileDurably(townKeyPaths(folder).ring, TownKeys.foundText(key, generation), 0o600);
  }

  /** What a node that is welcomed keeps first. */
  static foundText(key: Uint8Array, generation: number): string {
    return textOf(newRing({ key, generation, knownBy: [] }));
  }

  /** The one that this node seals with. */
  get current(): HeldKey {
    return this.ring.held;
  }

  /** What a message to one node is sealed with: what that one gave last, where this node has not caught up with it. */
  keyFor(node: NodeId): Uint8Array {
    return (this.ring.early.get(node) ?? this.ring.held).key;
  }

  /** What messages may be sealed with. */
  opening(): readonly TownKey[] {
    return openingKeys(this.ring);
  }

  /** Nodes that know the key and are not of the town any more: a new one is due. */
  strangers(nodes: ReadonlySet<NodeId>): readonly NodeId[] {
    return strangersTo(this.ring, nodes);
  }

  /** A node gives a key. Durable when it resolves. */
  async take(from: NodeId, key: HeldKey, place: RingPlace): Promise<Fate> {
    const { ring, fate } = given(this.ring, from, key, place);
    await this.put(ring);
    return fate;
  }

  /** `main` has gone on. Durable when it resolves. @returns whether another key is in use now */
  async rise(place: RingPlace): Promise<boolean> {
    const before = this.ring.held.key;
    await this.put(risen(this.ring, place));
    return !isSameKey(before, this.ring.held.key);
  }

  /** These nodes know the key. Durable when it resolves; writes nothing where it is known. */
  async knownTo(nodes: readonly NodeId[]): Promise<void> {
    await this.put(knownTo(this.ring, nodes));
  }

  /** From now on this is the key; the one before is given up. Durable when it resolves. */
  async change(next: HeldKey): Promise<void> {
    await this.put(changedTo(this.ring, next));
  }

  private async put(ring: KeyRing): Promise<void> {
    const { held, retired } = this.ring;
    if (ring.held !== held || ring.retired !== retired) {
      const isNew = !isSameKey(ring.held.key, held.key);
      await this.keep(textOf(ring), isNew ? ring.held.key : null);
    }
    this.ring = ring;
  }
}

function textOf({ held, retired }: KeyRing): string {
  const { key, generation, knownBy } = held;
  const kept: Kept = { v: 1, key: hexOf(key), generation, knownBy, retired: retired.map(hexOf) };
  return `${JSON.stringify(summed(RING, kept))}\n`;
}

const isKey = (value: unknown): value is string => typeof value === 'string' && /^[0-9a-f]{64}$/.test(value);

const FIELDS: ReadonlySet<string> = new Set(['v', 'key', 'generation', 'knownBy', 'retired']);

/** The text of the ring's file, by its sum. */
export const readRing = (text: string): ReturnType<typeof readSummed> => readSummed(RING, text, FIELDS);

function keptIn(text: string): Kept | null {
  const read = readRing(text);
  if (read?.t !== 'key') return null;
  const found = read.value as Partial<Kept>;
  const { v, key, generation, knownBy, retired } = found;
  if (v !== 1 || !isKey(key) || !Number.isSafeInteger(generation)) return null;
  const lists =
    Array.isArray(knownBy) && knownBy.every(isNodeId) && Array.isArray(retired) && retired.every(isKey);
  return lists ? (found as Kept) : null;
}
