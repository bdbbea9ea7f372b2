/**
 * Why an entry was refused: which entry brought it about. While a merge is replayed, `Writers` remembers who last wrote each
 * value; a `TracedOverlay` what a judgement has read.
 */
import type { EntryId } from './ids.js';
import { isSha256 } from './ids.js';
import { Overlay, type StateReader, type StateWrite } from './state.js';

/** A value, `<dapp>/<collection>/<key>`; or, ending with `/`, a whole collection. */
export type TracedPlace = string;

const CHARTER = 'kernel/charter/';
/** What arrives in a node's view; never in a merge. */
const INCOMING = 'kernel/incoming/';

/** An overlay that remembers what is read through it. The charter is read for every entry and not counted. */
export class TracedOverlay extends Overlay {
  private readonly places = new Set<TracedPlace>();

  /** All that was read, in bytewise order, whatever was read first. */
  get read(): readonly TracedPlace[] {
    return [...this.places].sort();
  }

  override get(dapp: string, collection: string, key: string): string | undefined {
    this.note(`${dapp}/${collection}/${key}`);
    return super.get(dapp, collection, key);
  }

  override keys(dapp: string, collection: string, after: string, limit: number): readonly string[] {
    this.note(`${dapp}/${collection}/`);
    return super.keys(dapp, collection, after, limit);
  }

  private note(place: TracedPlace): void {
    if (place.startsWith(CHARTER) || place.startsWith(INCOMING)) return;
    this.places.add(place);
  }
}

/** Who last wrote what in the merge at hand. */
export class Writers {
  private readonly last = new Map<TracedPlace, { readonly entry: EntryId; readonly turn: number }>();
  private turns = 0;

  /** An entry was accepted with these writes. */
  note(entry: EntryId, writes: readonly StateWrite[]): void {
    this.turns += 1;
    const mark = { entry, turn: this.turns };
    for (const { dapp, collection, key } of writes) {
      this.last.set(`${dapp}/${collection}/${key}`, mark);
      this.last.set(`${dapp}/${collection}/`, mark);
    }
  }

  /** The entry of this merge that was the last to write one of these places; undefined where none was. */
  latest(places: readonly TracedPlace[]): EntryId | undefined {
    let found: { readonly entry: EntryId; readonly turn: number } | undefined;
    for (const place of places) {
      const mark = this.last.get(place);
      if (mark && (!found || mark.turn > found.turn)) found = mark;
    }
    return found?.entry;
  }
}

/** Collections of the kernel whose values name in `entry` the entry that made them what they are. */
const SIGNED_RECORDS: ReadonlySet<string> = new Set([
  'dues',
  'erasures',
  'fences',
  'forks',
  'invitations',
  'keys',
  'nodes',
  'restrictions',
]);

/** The entry that a kernel's record says it comes from, in whichever merge that was; undefined where it says none. */
export function recordedEntry(state: StateReader, place: TracedPlace): EntryId | undefined {
  const [dapp, collection, key] = place.split('/') as [string, string, string];
  if (dapp !== 'kernel' || !SIGNED_RECORDS.has(collection) || key === '') return undefined;
  const text = state.get(dapp, collection, key);
  const entry = text === undefined ? undefined : (JSON.parse(text) as { entry?: unknown } | null)?.entry;
  return isSha256(entry) ? (entry as string as EntryId) : undefined;
}
