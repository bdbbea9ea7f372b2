/** Allowances, dues and standing for the tests of the API alone: every optional field filled. */
import type { AllowanceView, DueView, MoneyCases, StandingCases } from '../node/money-cases.js';
import type { Recorded } from '../node/recorded.js';

/** Notes a call and gives its answer. */
type Note = <T>(method: string, args: unknown[], answer: T) => Promise<T>;

const allowance: AllowanceView = {
  member: 'm0123456789abcdef',
  memberName: 'Ada',
  node: '0123456789abcdef',
  nodeName: 'board',
  here: true,
  amount: 40,
  coming: 10,
  fence: { n: 7, until: 1_700_000_000_000 },
};

const due: DueView = {
  id: 'e'.repeat(64),
  member: 'm0123456789abcdef',
  memberName: 'Ada',
  to: 'vault',
  toName: null,
  amount: 12,
  entry: 'e'.repeat(64),
  since: 1_700_000_000_000,
  can: ['pay', 'waive'],
};

export const moneyInMemory = (note: Note, recorded: Recorded): MoneyCases => ({
  allowances: (s) =>
    note('money.allowances', [s], {
      most: 200,
      fenceWaitMs: 604_800_000,
      items: [allowance, { ...allowance, memberName: null, here: false, fence: null }],
    }),
  openAllowance: (...args) => note('money.openAllowance', args, recorded),
  payAllowance: (...args) => note('money.payAllowance', args, recorded),
  returnAllowance: (...args) => note('money.returnAllowance', args, recorded),
  fenceAllowance: (...args) => note('money.fenceAllowance', args, recorded),
  dues: (s) => note('money.dues', [s], [due, { ...due, toName: 'Grace', to: 'mfedcba9876543210', can: [] }]),
  payDue: (...args) => note('money.payDue', args, recorded),
  waiveDue: (...args) => note('money.waiveDue', args, recorded),
});

export const standingInMemory = (note: Note, recorded: Recorded): StandingCases => ({
  suspend: (...args) => note('standing.suspend', args, recorded),
  reinstate: (...args) => note('standing.reinstate', args, recorded),
  leave: (...args) => note('standing.leave', args, recorded),
});
