/**
 * The keys of the town at this node: the one it seals with, those it has given up, and those that others gave it before it can tell
 * whether they count. In `keys/town-keys.json` (mode 600), durable before it is used; `keys/town.key` is a copy of the one in use.
 *
 * Keys have an order: the one that was made at the greater height counts, of two of one height the one whose hash is smaller. So all
 * come to hold the same, however many are made at once. One that was given up is never taken again.
 */
import { readFile } from 'node:fs/promises';
import { bytesOf, hexOf, sha256 } from '../ledger/hash.js';
import type { NodeId } from '../ledger/ids.js';
import { isNodeId, TownError } from '../ledger/ids.js';
import { writeFileDurably } from '../store/durable-file.js';
import type { TownKey } from '../sync/message.js';
import type { HeldKey } from '../sync/town-key-gift.js';
import { townKeyPaths } from './key-files.js';

/** Keys that were given up and are still known, to see who has not heard of the new one. */
const RETIRED_MAX = 4;
/** Nodes whose keys wait for this node to catch up. */
const EARLY_MAX = 32;

interface Kept {
  readonly v: 1;
  readonly key: string;
  readonly generation: number;
  readonly knownBy: readonly NodeId[];
  readonly retired: readonly string[];
}

/** Whether the first of two keys is the one that counts. */
export function isBetter(a: HeldKey, b: HeldKey): boolean {
  if (a.generation !== b.generation) return a.generation > b.generation;
  return orderOf(a.key) < orderOf(b.key);
}

const orderOf = (key: Uint8Array): string => sha256(`mergetown/town-key-order/v1 ${hexOf(key)}`);
const isSame = (a: Uint8Array, b: Uint8Array): boolean => hexOf(a) === hexOf(b);

export class TownKeys {
  /** By who gave them. */
  private readonly early = new Map<NodeId, HeldKey>();

  private constructor(
    private held: HeldKey,
    private retired: readonly Uint8Array[],
    private readonly folder: string | null,
  ) {}

  /** Of a key that does not outlive the process. */
  static inMemory(key: Uint8Array): TownKeys {
    return new TownKeys({ key, generation: 0, knownBy: [] }, [], null);
  }

  /**
   * @param key the one of `keys/town.key`, where nothing else is kept yet
   * @throws TownError `no-keys`
   */
  static async open(folder: string, key: Uint8Array): Promise<TownKeys> {
    const path = townKeyPaths(folder).ring;
    let text: string;
    try {
      text = await readFile(path, 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      return new TownKeys({ key, generation: 0, knownBy: [] }, [], folder);
    }
    const kept = keptIn(text);
    if (kept === null)
      throw new TownError(
        'no-keys',
        `${path} does not hold the keys of the town.`,
        'Put back the file from this board; without it the node must join anew.',
      );
    const { generation, knownBy, retired } = kept;
    return new TownKeys({ key: bytesOf(kept.key), generation, knownBy }, retired.map(bytesOf), folder);
  }

  /** The one that this node seals with. */
  get current(): HeldKey {
    return this.held;
  }

  /** What a message to one node is sealed with: what that one gave last, where this node has not caught up with it. */
  keyFor(node: NodeId): Uint8Array {
    return this.early.get(node)?.key ?? this.held.key;
  }

  /** What messages may be sealed with. */
  opening(): readonly TownKey[] {
    return [
      { key: this.held.key, retired: false },
      ...[...this.early.values()].map(({ key }) => ({ key, retired: false })),
      ...this.retired.map((key) => ({ key, retired: true })),
    ];
  }

  isRetired(key: Uint8Array): boolean {
    return this.retired.some((old) => isSame(old, key));
  }

  isCurrent(key: Uint8Array): boolean {
    return isSame(this.held.key, key);
  }

  /** Nodes that know the key and are not of the town any more: a new one is due. */
  strangers(nodes: ReadonlySet<NodeId>): readonly NodeId[] {
    return this.held.knownBy.filter((node) => !nodes.has(node));
  }

  /** These nodes know the key. Durable when it resolves; writes nothing where it is known. */
  async knownTo(nodes: readonly NodeId[], generation = this.held.generation): Promise<void> {
    const knownBy = [...new Set([...this.held.knownBy, ...nodes])].sort();
    if (knownBy.length === this.held.knownBy.length && generation === this.held.generation) return;
    await this.put({ ...this.held, knownBy, generation }, this.retired);
  }

  /** From now on this is the key; the one before is given up. Durable when it resolves. */
  async change(next: HeldKey): Promise<void> {
    const old = this.held.key;
    await this.put(next, [old, ...this.retired].slice(0, RETIRED_MAX));
    for (const [from, { key }] of this.early)
      if (isSame(key, next.key) || isSame(key, old)) this.early.delete(from);
  }

  /** Keeps a key that may count once this node has caught up. @returns false where it was known already */
  keepEarly(from: NodeId, given: HeldKey): boolean {
    const before = this.early.get(from);
    if (before === undefined ? this.early.size >= EARLY_MAX : isSame(before.key, given.key)) return false;
    this.early.set(from, given);
    return true;
  }

  /** The best of the keys that were kept and that count by now; those of who is not of the town are dropped. */
  takeEarly(height: number, nodes: ReadonlySet<NodeId>): HeldKey | null {
    let best: HeldKey | null = null;
    for (const [from, given] of this.early) {
      if (nodes.has(from) && given.generation > height) continue;
      this.early.delete(from);
      const counts = nodes.has(from) && !this.isRetired(given.key) && isBetter(given, best ?? this.held);
      if (counts) best = given;
    }
    return best;
  }

  private async put(held: HeldKey, retired: readonly Uint8Array[]): Promise<void> {
    if (this.folder !== null) {
      const { ring, copy } = townKeyPaths(this.folder);
      const { generation, knownBy } = held;
      const kept: Kept = { v: 1, key: hexOf(held.key), generation, knownBy, retired: retired.map(hexOf) };
      await writeFileDurably(ring, `${JSON.stringify(kept)}\n`, 0o600);
      if (!this.isCurrent(held.key)) await writeFileDurably(copy, `${kept.key}\n`, 0o600);
    }
    this.held = held;
    this.retired = retired;
  }
}

const isKey = (value: unknown): value is string => typeof value === 'string' && /^[0-9a-f]{64}$/.test(value);

function keptIn(text: string): Kept | null {
  let found: Partial<Kept>;
  try {
    found = JSON.parse(text) as Partial<Kept>;
  } catch {
    return null;
  }
  const { v, key, generation, knownBy, retired } = found;
  if (v !== 1 || !isKey(key) || !Number.isSafeInteger(generation)) return null;
  const lists =
    Array.isArray(knownBy) && knownBy.every(isNodeId) && Array.isArray(retired) && retired.every(isKey);
  return lists ? (found as Kept) : null;
}
