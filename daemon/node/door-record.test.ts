/** What a door saw, as it is sealed. */
import t from 'tap';
import { canonicalize } from '../ledger/canonical.js';
import { openedForm, sealedForm, type SealedDoorRecord } from './door-record.js';

t.test('what is sealed of a door record opens as it was, the badge in fewer characters', async (t) => {
  const badge = `${'0f'.repeat(31)}ff`;
  const record: SealedDoorRecord = { id: '0123456789abcdef-7', at: 1_700_000_000_000, badge, person: 'p1' };
  const sealed = sealedForm(record);
  t.same(openedForm(sealed), record);
  t.equal(canonicalize(sealed).length, canonicalize({ ...record }).length - 21);
  t.same(openedForm(sealedForm({ id: 'x-1', at: 1 })), { id: 'x-1', at: 1 }, 'what is not there stays away');
  const late: SealedDoorRecord = { id: 'x-2', at: 2, by: 'm1', of: 'x-1', waitedMs: 9, reason: 'Late.' };
  t.same(openedForm(sealedForm(late)), late);
  t.same(
    openedForm(sealedForm({ id: 'x-3', at: 3, badge: 'odd' })).badge,
    'odd',
    'what is no hash stays as it is',
  );
  for (const nothing of [null, 7, 'text', []]) t.same(openedForm(nothing), {});
});
