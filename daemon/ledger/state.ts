/**
 * The state of a town: values by dapp, collection and key. Values are canonical JSON texts.
 * `State` is what a merge left; an `Overlay` holds changes above it that are kept or dropped as a whole.
 */
import { canonicalize } from './canonical.js';
import {
  COLLECTIONS_WITH_DEADLINES,
  DEADLINES_OF,
  Deadlines,
  deadlineOf,
  type DeadlinePlace,
} from './deadlines.js';
import type { Json } from './ids.js';
import { TownError, invariant } from './ids.js';

/** A value of the state is at most this long. */
export const VALUE_BYTES_MAX = 16 * 1024;
/** Where one key of so many moved, all are sorted anew. */
const RESORT_SHARE = 16;

const KEY = /^[a-z0-9][a-z0-9._-]{0,127}$/;
const NAME = /^[a-z][a-z0-9-]{0,31}$/;

/** One change: `value` null deletes. */
export interface StateWrite {
  readonly dapp: string;
  readonly collection: string;
  readonly key: string;
  readonly value: string | null;
}

export interface StateReader {
  /** Canonical JSON, or undefined where there is none. */
  get(dapp: string, collection: string, key: string): string | undefined;
  /** Keys above `after` in bytewise order, `limit` at most. */
  keys(dapp: string, collection: string, after: string, limit: number): readonly string[];
  /** Where something has a deadline that is not after `time` (ms), in no order. */
  due(time: number): readonly DeadlinePlace[];
}

/** @throws TownError `bad-key` where names or key could not stand as a path of the tree */
export function assertPlace(dapp: string, collection: string, key: string): void {
  if (!NAME.test(dapp) || !NAME.test(collection) || !KEY.test(key) || key.endsWith('.lock'))
    throw new TownError(
      'bad-key',
      `"${dapp}/${collection}/${key}" cannot be a place in the state: names are [a-z][a-z0-9-]*, keys [a-z0-9][a-z0-9._-]* up to 128.`,
    );
}

const placeOf = (dapp: string, collection: string): string => `${dapp}/${collection}`;

/** First index in the sorted list whose key is above `after`. */
function firstAbove(sorted: readonly string[], after: string): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((sorted[middle] as string) > after) high = middle;
    else low = middle + 1;
  }
  return low;
}

class Collection {
  readonly values = new Map<string, string>();
  private sorted: readonly string[] = [];
  /** Keys that came or went since they were sorted: sorting all of a large collection anew for one takes long. */
  private readonly moved = new Set<string>();

  set(key: string, value: string | null): void {
    const had = this.values.has(key);
    if (value === null) this.values.delete(key);
    else this.values.set(key, value);
    if (had !== (value !== null)) this.moved.add(key);
  }

  /** In bytewise order; what was given stays as it is. */
  keys(): readonly string[] {
    if (this.moved.size > 0) {
      this.sorted =
        this.moved.size * RESORT_SHARE > this.values.size ? [...this.values.keys()].sort() : this.placed();
      this.moved.clear();
    }
    return this.sorted;
  }

  /** The sorted keys with those that moved in their places, or out. */
  private placed(): string[] {
    const runs: (readonly string[])[] = [];
    let from = 0;
    for (const key of [...this.moved].sort()) {
      const above = firstAbove(this.sorted, key);
      const isThere = above > from && this.sorted[above - 1] === key;
      runs.push(this.sorted.slice(from, isThere ? above - 1 : above));
      if (this.values.has(key)) runs.push([key]);
      from = above;
    }
    return ([] as string[]).concat(...runs, this.sorted.slice(from));
  }
}

export class State implements StateReader {
  private readonly collections = new Map<string, Collection>();
  private readonly deadlines = new Deadlines();

  /** From the rows of a store, or nothing. */
  static from(rows: Iterable<StateWrite>): State {
    const state = new State();
    state.apply(rows);
    return state;
  }

  get(dapp: string, collection: string, key: string): string | undefined {
    return this.collections.get(placeOf(dapp, collection))?.values.get(key);
  }

  keys(dapp: string, collection: string, after: string, limit: number): readonly string[] {
    const sorted = this.collections.get(placeOf(dapp, collection))?.keys() ?? [];
    const from = firstAbove(sorted, after);
    return sorted.slice(from, from + limit);
  }

  apply(writes: Iterable<StateWrite>): void {
    for (const { dapp, collection, key, value } of writes) {
      const place = placeOf(dapp, collection);
      let found = this.collections.get(place);
      if (!found) this.collections.set(place, (found = new Collection()));
      found.set(key, value);
      this.deadlines.note({ dapp, collection, key, value });
    }
  }

  due(time: number): readonly DeadlinePlace[] {
    return this.deadlines.upTo(time);
  }

  /** Every value, collection by collection, keys in bytewise order. */
  *rows(): Generator<StateWrite & { readonly value: string }> {
    for (const place of [...this.collections.keys()].sort()) {
      const [dapp, collection] = place.split('/') as [string, string];
      const found = this.collections.get(place) as Collection;
      for (const key of found.keys()) yield { dapp, collection, key, value: found.values.get(key) as string };
    }
  }
}

/** Changes above another state. Nothing below moves until `settle`. */
export class Overlay implements StateReader {
  private readonly changes = new Map<string, Map<string, string | null>>();

  constructor(readonly below: StateReader) {}

  get(dapp: string, collection: string, key: string): string | undefined {
    const changed = this.changes.get(placeOf(dapp, collection))?.get(key);
    if (changed !== undefined) return changed === null ? undefined : changed;
    return this.below.get(dapp, collection, key);
  }

  keys(dapp: string, collection: string, after: string, limit: number): readonly string[] {
    const changed = this.changes.get(placeOf(dapp, collection));
    if (!changed || changed.size === 0) return this.below.keys(dapp, collection, after, limit);
    // Deleted keys shorten what comes from below: ask for that many more.
    const below = this.below.keys(dapp, collection, after, limit + changed.size);
    const kept = new Set(below);
    for (const [key, value] of changed) {
      if (value === null) kept.delete(key);
      else if (key > after) kept.add(key);
    }
    const sorted = [...kept].sort();
    // Keys past the last one seen from below may have unseen neighbours; they are cut by the limit.
    return sorted.slice(0, limit);
  }

  due(time: number): readonly DeadlinePlace[] {
    const changesOf = (collection: string) => this.changes.get(placeOf(DEADLINES_OF, collection));
    const due = this.below.due(time).filter(({ collection, key }) => !changesOf(collection)?.has(key));
    for (const collection of COLLECTIONS_WITH_DEADLINES)
      for (const [key, value] of changesOf(collection) ?? []) {
        const deadline = value === null ? undefined : deadlineOf(collection, value);
        if (deadline !== undefined && deadline <= time) due.push({ collection, key });
      }
    return due;
  }

  /** Sets (or with null deletes) a value, given as canonical JSON. */
  put(dapp: string, collection: string, key: string, value: string | null): void {
    assertPlace(dapp, collection, key);
    if (value !== null && Buffer.byteLength(value) > VALUE_BYTES_MAX)
      throw new TownError(
        'value-too-large',
        `A value of the state holds at most ${VALUE_BYTES_MAX} bytes; ${dapp}/${collection}/${key} would have ${Buffer.byteLength(value)}.`,
      );
    const place = placeOf(dapp, collection);
    let changed = this.changes.get(place);
    if (!changed) this.changes.set(place, (changed = new Map()));
    changed.set(key, value);
  }

  /** All changes, sorted by place and key; those that change nothing are left out. */
  writes(): readonly StateWrite[] {
    const list: StateWrite[] = [];
    for (const place of [...this.changes.keys()].sort()) {
      const [dapp, collection] = place.split('/') as [string, string];
      const changed = this.changes.get(place) as Map<string, string | null>;
      for (const key of [...changed.keys()].sort()) {
        const value = changed.get(key) as string | null;
        if ((this.below.get(dapp, collection, key) ?? null) !== value)
          list.push({ dapp, collection, key, value });
      }
    }
    return list;
  }

  /** Hands all changes to the overlay below and forgets them. */
  settle(): void {
    const { below } = this;
    invariant(below instanceof Overlay, 'only an overlay above an overlay can settle');
    for (const { dapp, collection, key, value } of this.writes()) below.put(dapp, collection, key, value);
    this.changes.clear();
  }
}

/** Reads a value as JSON. */
export function readJson<T>(
  state: StateReader,
  dapp: string,
  collection: string,
  key: string,
): T | undefined {
  const text = state.get(dapp, collection, key);
  return text === undefined ? undefined : (JSON.parse(text) as T);
}

/** Writes a value as canonical JSON; null deletes. */
export function writeJson(
  state: Overlay,
  dapp: string,
  collection: string,
  key: string,
  value: unknown,
): void {
  state.put(dapp, collection, key, value === null ? null : canonicalize(value as Json));
}
