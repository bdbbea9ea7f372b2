/** Recovery for the tests of the API alone: every optional field filled. */
import type { RecoveryCases } from '../node/recovery-cases.js';

/** Notes a call and gives its answer. */
type Note = <T>(method: string, args: unknown[], answer: T) => Promise<T>;

export const recoveryInMemory = (note: Note): RecoveryCases => ({
  place: (s) =>
    note('recovery.place', [s], {
      town: { id: 'f'.repeat(64), name: 'Test town' },
      epoch: 1,
      nextEpoch: 2,
      height: 12,
      parent: 'e'.repeat(64),
      quorum: 'majority',
      keys: { k: 1, keys: ['d'.repeat(64)] },
      nodes: [
        {
          ...{ id: '0123456789abcdef', name: 'attic', validator: true, self: true, connected: true },
          ...{ height: 12, brings: { name: 'attic', roles: [] } },
        },
      ],
    }),
  apply: (...args) =>
    note('recovery.apply', args, { standing: 'begins', epoch: 2, height: 12, restart: true }),
});
