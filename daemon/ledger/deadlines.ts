/**
 * What in a state has a deadline, kept beside it so that a merge need not look through all locks to find the few that are
 * over: a pure function of the state, never stored.
 */
/** Only the kernel's values have deadlines: locks that may have one, and fenced allowances. */
export const DEADLINES_OF = 'kernel';
export const COLLECTIONS_WITH_DEADLINES = ['locks', 'fences'] as const;

export interface DeadlinePlace {
  readonly collection: (typeof COLLECTIONS_WITH_DEADLINES)[number];
  readonly key: string;
}

/** As much as is read of a lock (accounts.ts) or a fence (allowances.ts), which stand on the state and so on this. */
interface Ending {
  readonly deadline?: number;
  readonly until?: number;
}

/** A value of the state that was set, or (null) deleted. */
interface Written {
  readonly dapp: string;
  readonly collection: string;
  readonly key: string;
  readonly value: string | null;
}

/** @param value canonical JSON @returns ms, or undefined where it has none */
export function deadlineOf(collection: DeadlinePlace['collection'], value: string): number | undefined {
  const { deadline, until } = JSON.parse(value) as Ending;
  return collection === 'locks' ? deadline : until;
}

export class Deadlines {
  private readonly places = COLLECTIONS_WITH_DEADLINES.map((name) => ({
    name,
    deadlines: new Map<string, number>(),
  }));
  /** Nothing is due before. */
  private earliest = Infinity;

  note({ dapp, collection, key, value }: Written): void {
    if (dapp !== DEADLINES_OF) return;
    const mine = this.places.find(({ name }) => name === collection);
    if (!mine) return;
    const deadline = value === null ? undefined : deadlineOf(mine.name, value);
    if (deadline === undefined) mine.deadlines.delete(key);
    else mine.deadlines.set(key, deadline);
    if (deadline !== undefined && deadline < this.earliest) this.earliest = deadline;
  }

  /** Where the deadline is not after `time`, in no order. Looks at all only where one may be. */
  upTo(time: number): DeadlinePlace[] {
    if (time < this.earliest) return [];
    const due: DeadlinePlace[] = [];
    let earliest = Infinity;
    for (const { name: collection, deadlines } of this.places)
      for (const [key, deadline] of deadlines) {
        if (deadline < earliest) earliest = deadline;
        if (deadline <= time) due.push({ collection, key });
      }
    // What is due stays so until a merge has ended it.
    this.earliest = earliest;
    return due;
  }
}
