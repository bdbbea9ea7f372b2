/** Sealed records for the tests of the API alone: every optional field filled. */
import type { RecordCases } from '../node/record-cases.js';
import type { Recorded } from '../node/recorded.js';

/** Notes a call and gives its answer. */
type Note = <T>(method: string, args: unknown[], answer: T) => Promise<T>;

export const recordsInMemory = (note: Note, recorded: Recorded): RecordCases => ({
  overview: (s) =>
    note('records.overview', [s], {
      retentionMonths: 12,
      readers: ['door'],
      mayRead: true,
      months: [
        { month: '2026-11', keys: 12, over: false },
        { month: '2024-03', keys: 3, over: true },
      ],
      missing: 1,
      erased: 2,
    }),
  erase: (...args) => note('records.erase', args, { ...recorded, person: 'p0123456789abcdef', badges: 1 }),
});
