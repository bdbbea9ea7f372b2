/** What a contract asks of the accounts, carried out: movements between accounts and locks, and charges for metered use. */
import {
  credit,
  isAmount,
  move,
  noSuchAccount,
  readAccount,
  accountOf,
  type Arrival,
  type Refusal,
} from './accounts.js';
import { takeFromAllowance, type Spender } from './allowances.js';
import type { Posting } from './contract-protocol.js';
import { dueId, writeDue, type Due } from './dues.js';
import type { EntryId, MemberId } from './ids.js';
import type { Overlay } from './state.js';

type Charge = Extract<Posting, { readonly op: 'charge' }>;

/** The fact that metered use is charged by. */
export interface Meter {
  readonly id: EntryId;
  readonly spender: Spender;
  /** The entry's time (ms). */
  readonly tau: number;
}

/** Who asks, and what they may. */
export interface PostingRights {
  readonly dapp: string;
  /** Whose available credits may be taken: the entry's author, the vault where the charter grants it. */
  readonly mayDebit: (account: string) => boolean;
  /** Null: this entry cannot charge. */
  readonly meter: Meter | null;
  readonly arrival: Arrival;
}

/** Carries out postings in order, or says which rule refuses one of them (then the caller drops the overlay). */
export function carryOut(
  state: Overlay,
  postings: readonly Posting[],
  { dapp, mayDebit, meter, arrival }: PostingRights,
): Refusal | null {
  for (const [index, posting] of postings.entries()) {
    const refused =
      posting.op === 'charge'
        ? charge(state, posting, meter, index, arrival)
        : move(state, dapp, [posting], mayDebit, arrival);
    if (refused) return refused;
  }
  return null;
}

/**
 * Metered use: from the member's allowance at the node that saw it, as far as that goes; the rest is a due. Restrictive
 * facts cannot charge: a merge judges them before what stands in front of them in their branch, and could take what the
 * node has paid out already.
 */
function charge(
  state: Overlay,
  { member, to, amount }: Charge,
  meter: Meter | null,
  index: number,
  arrival: Arrival,
): Refusal | null {
  if (!meter)
    return { code: 'facts-only', reason: 'Only a fact that is not restrictive can charge for metered use.' };
  if (!isAmount(amount)) return { code: 'bad-amount', reason: 'An amount is a whole number above 0.' };
  for (const account of [accountOf(member), to])
    if (!readAccount(state, account)) return noSuchAccount(account);
  if (accountOf(member) === to)
    return { code: 'same-account', reason: 'Nobody is charged for the good of their own account.' };
  const taken = takeFromAllowance(state, meter.spender, member, amount);
  if (taken > 0) {
    const refused = credit(state, to, taken, arrival);
    if (refused) return refused;
  }
  if (taken === amount) return null;
  const due: Due = {
    member: member as MemberId,
    to,
    amount: amount - taken,
    entry: meter.id,
    since: meter.tau,
  };
  writeDue(state, dueId(meter.id, index), due);
  return null;
}
