import t from 'tap';
import { VAULT, accountOf } from '../ledger/accounts.js';
import { canonicalize } from '../ledger/canonical.js';
import type { EntryId, NodeId } from '../ledger/ids.js';
import type { BuiltMerge } from '../ledger/merge.js';
import { State, type StateWrite } from '../ledger/state.js';
import { noticesOf } from './merge-notices.js';

const entry = 'e'.repeat(64) as EntryId;
const debtor = 'm0000000000000001';
const creditor = 'm0000000000000002';
const due = (key: string, to: string, amount: number): StateWrite => ({
  ...{ dapp: 'kernel', collection: 'dues', key },
  value: canonicalize({ member: debtor, to, amount, entry, since: 1 }),
});

t.test('who owes and who is owed are told of a due once, when it comes up', async (t) => {
  const old = due('a'.repeat(64), VAULT, 9);
  const before = State.from([old]);
  const writes = [
    due('a'.repeat(64), VAULT, 5),
    due(entry, accountOf(creditor), 12),
    due(`${entry}.1`, VAULT, 3),
  ];
  const built = {
    merge: { time: 7 },
    receipt: { entries: [], notices: [] },
    writes,
  } as unknown as BuiltMerge;
  t.match(noticesOf(built, [], before, '0'.repeat(16) as NodeId), [
    { member: debtor, entry, at: 7, text: /^You owe 12 credits/ },
    { member: creditor, entry, at: 7, text: /^You are owed 12 credits/ },
    { member: debtor, text: /^You owe 3 credits/ },
  ]);
  const paid = [{ ...old, value: null }];
  t.same(noticesOf({ ...built, writes: paid }, [], before, '0'.repeat(16) as NodeId), []);
});
