/** Credits that move at once: between members, and out of the vault. */
import { SUSPENSE, VAULT, accountOf, move, type Arrival } from './accounts.js';
import type { VerifiedEntry } from './entry.js';
import { isMemberId } from './ids.js';
import { KERNEL, authorOf, badBody, hasOnly, isMemo, type Finding, type Handler } from './kernel.js';
import type { Overlay } from './state.js';

/** Credits from an account that this entry may take from, to a member. */
function pay(entry: VerifiedEntry, state: Overlay, from: string, arrival: Arrival): Finding {
  const { to, amount, memo } = entry.body;
  const isRight = isMemberId(to) && Number.isSafeInteger(amount) && isMemo(memo);
  if (!isRight) return badBody(entry.type, '{to: <member>, amount, memo?: <envelope>}');
  const posting = { op: 'transfer', from, to: accountOf(to), amount: amount as number } as const;
  return move(state, KERNEL, [posting], (account) => account === from, arrival);
}

/** Credits of the author, to a member. */
export const transfer: Handler = (entry, state, context) =>
  hasOnly(entry.body, 'to', 'amount', 'memo')
    ? pay(entry, state, accountOf(authorOf(entry, context).id), context.arrival)
    : badBody(entry.type, '{to: <member>, amount, memo?: <envelope>}');

/** Credits out of the vault, or out of suspense, by who may. */
export const grant: Handler = (entry, state, { arrival }) => {
  const { from } = entry.body;
  return hasOnly(entry.body, 'to', 'amount', 'memo', 'from') && (from === undefined || from === SUSPENSE)
    ? pay(entry, state, from === SUSPENSE ? SUSPENSE : VAULT, arrival)
    : badBody(entry.type, '{to: <member>, amount, memo?: <envelope>, from?: "suspense"}');
};
