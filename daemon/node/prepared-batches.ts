/**
 * Which batches of blocks have their signatures checked ahead of their turn: each once, and one batch after the other, so that the
 * first is through when its turn comes.
 */
import type { RawBlock } from '../sync/block-batch.js';

type Batch = readonly RawBlock[];

interface Prepared {
  readonly done: Promise<void>;
  /** Entries. */
  readonly count: number;
}

export class PreparedBatches {
  private readonly known = new WeakMap<Batch, Prepared>();
  private last: Promise<void> = Promise.resolve();

  /** Checks a batch (`check` is given the lines of its entries), unless it is checked or waits to be already. */
  once(batch: Batch, check: (texts: readonly string[]) => Promise<void>): Promise<void> {
    const known = this.known.get(batch);
    if (known) return known.done;
    const texts = batch.flatMap(({ entries }) =>
      Buffer.from(entries).toString('utf8').split('\n').slice(0, -1),
    );
    const done = this.last.then(() => check(texts));
    // Whoever waits for it is told that it failed; the next is checked all the same.
    this.last = done.catch(() => undefined);
    this.known.set(batch, { done, count: texts.length });
    return done;
  }

  /** Entries of a batch that is checked or waits to be; 0 for any other. */
  countOf(batch: Batch): number {
    return this.known.get(batch)?.count ?? 0;
  }

  /** What is left of a batch was checked with it. */
  isRestOf(rest: Batch, batch: Batch): void {
    const known = this.known.get(batch);
    if (known) this.known.set(rest, known);
  }
}
