/**
 * What a process said was acknowledged, before it died, and whether it is there. The child tells a line a thing on its stdout, when
 * and only when it is durable: `entry ID`, `block ID`, `merge ID`, `vote HEIGHT HASH`, `ref NAME OID`, `flushed OID`.
 */
import { writeSync } from 'node:fs';
import { sha256 } from '../../ledger/hash.js';
import type { EntryId, Sha256 } from '../../ledger/ids.js';
import type { Store } from '../store.js';

/** Of what earlier rounds said, so many of each kind are looked up again after every round; at the end all of it. */
const againMax = 200;
const votesMax = 10_000;

const waitMsMax = 60_000;
const bell = new Int32Array(new SharedArrayBuffer(4));

/** Says a thing, at once: what is written here is in the pipe when the process dies. A pipe that is full is waited for. */
export function tell(line: string): void {
  const bytes = Buffer.from(`${line}\n`);
  for (let done = 0, waited = 0; done < bytes.length;) {
    try {
      done += writeSync(1, bytes, done);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN' || waited >= waitMsMax) throw error;
      waited += 1;
      Atomics.wait(bell, 0, 0, 1);
    }
  }
}

/** Ends the process as the daemon ends itself when the disk fails. */
export function tellFatal(error: unknown): never {
  tell(
    `fatal ${String(error instanceof Error ? (error.stack ?? error.message) : error).replaceAll('\n', ' | ')}`,
  );
  process.exit(3);
}

/** Resolves when the parent says that it is time: until then a child has its libraries in memory and nothing open. */
export async function told(): Promise<void> {
  await new Promise<void>((resolve) => process.stdin.once('data', () => resolve()));
  // A parent that is gone leaves no child behind.
  process.stdin.once('end', () => process.exit(4)).resume();
}

type Kind = 'entry' | 'block' | 'merge';

/** Everything that was acknowledged in a folder, over all rounds. */
export class Acknowledged {
  private readonly ids = { entry: [] as string[], block: [] as string[], merge: [] as string[] };
  /** Where the newest round begins in each list. */
  private readonly since = { entry: 0, block: 0, merge: 0 };
  private votes: { readonly height: number; readonly hash: string }[] = [];
  /** The values of each ref that were acknowledged, oldest first. */
  private readonly refs = new Map<string, string[]>();
  /** Packs that were combined and taken away, and rows that went to the archive. */
  readonly tidied = { combined: 0, removed: 0, archived: 0 };
  /** The block that git had last, by the word of a flush that was done. */
  flushed: string | null = null;

  /** Takes the lines of a round; lines that say nothing of what is durable are left out. */
  take(lines: readonly string[]): void {
    for (const kind of ['entry', 'block', 'merge'] as const) this.since[kind] = this.ids[kind].length;
    for (const line of lines) {
      const [what, first = '', second = ''] = line.split(' ');
      if (what === 'entry' || what === 'block' || what === 'merge') this.ids[what].push(first);
      else if (what === 'vote') this.votes.push({ height: Number(first), hash: second });
      else if (what === 'ref') this.refs.set(first, [...(this.refs.get(first) ?? []).slice(-1), second]);
      else if (what === 'flushed') this.flushed = first;
      else if (what === 'combined' || what === 'removed' || what === 'archived')
        this.tidied[what] += Number(first);
    }
    this.votes = this.votes.slice(-votesMax);
  }

  get counts(): { readonly [kind in Kind]: number } {
    const { entry, block, merge } = this.ids;
    return { entry: entry.length, block: block.length, merge: merge.length };
  }

  /**
   * What is not there of what was acknowledged, in words; [] when nothing is lost.
   * @param all also everything of the rounds before; else a sample of that
   */
  async lost(store: Store, all = false): Promise<string[]> {
    const look: { readonly [kind in Kind]: (id: string) => boolean | Promise<boolean> } = {
      entry: (id) => isWhole(store, id as EntryId),
      block: (id) => store.block(id as Sha256) !== null,
      merge: (id) => store.mergeById(id as Sha256) !== null,
    };
    const lost: string[] = [];
    for (const kind of ['entry', 'block', 'merge'] as const) {
      const ids = this.ids[kind];
      const step = all ? 1 : Math.max(1, Math.floor(this.since[kind] / againMax));
      for (const [place, id] of ids.entries()) {
        if (place < this.since[kind] && place % step !== 0) continue;
        if (!(await look[kind](id)))
          lost.push(`${kind} ${id}, number ${place} of ${ids.length}, ${this.since[kind]} before this round`);
      }
    }
    return [...lost, ...this.lostVotes(store), ...this.lostRefs(store)];
  }

  /** Votes of heights that are not decided are there, whatever else. */
  private lostVotes(store: Store): string[] {
    const open = (store.lastMerge()?.height ?? -1) + 1;
    this.votes = this.votes.filter(({ height }) => height >= open);
    const here = new Set(store.consensusLog(open).map(({ text }) => sha256(text)));
    return this.votes
      .filter(({ height, hash }) => height === open && !here.has(hash as Sha256))
      .map(({ height, hash }) => `vote ${hash} at height ${height}`);
  }

  /** A ref may have moved on, in the moment of the kill; back it never goes. */
  private lostRefs(store: Store): string[] {
    const lost: string[] = [];
    for (const [name, values] of this.refs) {
      const here = store.refs().find((ref) => ref.name === name)?.oid;
      if (here === undefined || values.slice(0, -1).some((old) => old === here && old !== values.at(-1)))
        lost.push(`${name} is ${here ?? 'not there'} instead of ${values.at(-1) ?? ''}`);
    }
    return lost;
  }
}

/** Whether the entry is there, in the database or in the archive, with the bytes that it was acknowledged with. */
async function isWhole(store: Store, id: EntryId): Promise<boolean> {
  const row = await store.archive.entry(id);
  return row !== null && sha256(row.bytes) === (id as string);
}
