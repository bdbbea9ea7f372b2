/** What becomes of dues: the debtor pays, the creditor (or a steward) waives. */
import { accountOf, creditSurely, debit, isAmount } from './accounts.js';
import { STEWARD } from './charter.js';
import { isDueId, readDue, writeDue } from './dues.js';
import { authorOf, badBody, hasOnly, refuse, type Finding, type Handler } from './kernel.js';

const noSuchDue = (id: string): Finding =>
  refuse('no-such-due', 'There is no such due: it may be paid or waived already.', `dues/${id}`);

/** Pays a due of the author, the whole of it or a part. */
export const payDue: Handler = (entry, state, context) => {
  const { due: id, amount } = entry.body;
  if (!hasOnly(entry.body, 'due', 'amount') || !isDueId(id) || (amount !== undefined && !isAmount(amount)))
    return badBody(entry.type, '{due: <id>, amount?: above 0}');
  const debtor = authorOf(entry, context);
  const due = readDue(state, id);
  if (!due) return noSuchDue(id);
  if (due.member !== debtor.id) return refuse('not-your-due', 'Who owes a due pays it.', `dues/${id}`);
  const paid = amount ?? due.amount;
  if (paid > due.amount)
    return refuse('more-than-due', `${due.amount} credits are due; these are ${paid}.`, `dues/${id}`);
  const own = accountOf(debtor.id);
  const refused = debit(state, own, paid, (account) => account === own);
  if (refused) return refused;
  creditSurely(state, due.to, paid, context.arrival);
  writeDue(state, id, paid === due.amount ? null : { ...due, amount: due.amount - paid });
  return null;
};

/** Crosses a due off: by whom it is owed to, or by a steward. */
export const waiveDue: Handler = (entry, state, context) => {
  const { due: id } = entry.body;
  if (!hasOnly(entry.body, 'due') || !isDueId(id)) return badBody(entry.type, '{due: <id>}');
  const author = authorOf(entry, context);
  const due = readDue(state, id);
  if (!due) return noSuchDue(id);
  if (due.to !== accountOf(author.id) && !author.roles.includes(STEWARD))
    return refuse('not-your-due', 'A due is waived by whom it is owed to, or by a steward.', `dues/${id}`);
  writeDue(state, id, null);
  return null;
};
