/** Draft forks for the tests of the API alone: one of each shape, every optional field filled. */
import type { ForkCases, ForkDetails, ForkView } from '../node/fork-cases.js';
import type { Recorded } from '../node/recorded.js';

const hash = (letter: string): string => letter.repeat(64);

export const fork: ForkView = {
  name: 'budget',
  status: 'open',
  base: { height: 3, id: hash('a'), oid: 'b'.repeat(40) },
  head: { height: 4, oid: 'c'.repeat(40) },
  created: 1_700_000_000_000,
  by: 'm0123456789abcdef',
  entries: 1,
};

const details: ForkDetails = {
  fork,
  entries: [
    {
      id: hash('e'),
      type: 'credit.transfer',
      at: 1_700_000_000_000,
      says: 'Ada sent 5 credits to Grace',
      onDraft: { verdict: 'accepted' },
      onMain: { verdict: 'rejected', code: 'not-enough', reason: 'There is less.', other: hash('f') },
    },
    {
      id: hash('d'),
      type: 'credit.transfer',
      at: 1_700_000_000_001,
      says: 'Ada sent 6 credits to Grace',
      onDraft: null,
      onMain: null,
    },
  ],
  changes: {
    balances: [
      { account: 'vault', name: null, before: 10, after: 5 },
      { account: 'member.m0123456789abcdef', name: 'Ada', before: 5, after: 10 },
    ],
    members: [{ member: 'm0123456789abcdef', name: null, before: null, after: { roles: ['member'] } }],
    charter: [{ at: '/amend', before: 1, after: 2 }],
    others: [{ place: 'gigs/gigs', count: 1 }],
  },
};

/** @param note remembers the call and answers it */
export const forksInMemory = (
  note: <T>(method: string, args: unknown[], answer: T) => Promise<T>,
  recorded: Recorded,
): ForkCases => ({
  list: (...args) => note('forks.list', args, [fork]),
  create: (...args) => note('forks.create', args, fork),
  show: (...args) => note('forks.show', args, details),
  drop: (...args) => note('forks.drop', args, { ...fork, status: 'dropped' as const }),
  adopt: (...args) => note('forks.adopt', args, recorded),
});
