/** Whom a merge has to tell what. The words for what it was about are found when it is read. */
import { readDue, type Due } from '../ledger/dues.js';
import { dappOf, type VerifiedEntry } from '../ledger/entry.js';
import type { KeyId, MemberId, NodeId } from '../ledger/ids.js';
import { isMemberId } from '../ledger/ids.js';
import { readKey, type MemberKey } from '../ledger/kernel.js';
import type { BuiltMerge } from '../ledger/merge.js';
import type { StateReader } from '../ledger/state.js';
import type { NewNotice } from '../store/rows.js';

/** What a merge tells members: the notices of the dapps, what is owed from now on, then the rejections. Takes what `rejectionNotices` takes. */
export function noticesOf(
  built: BuiltMerge,
  entries: Iterable<VerifiedEntry>,
  before: StateReader,
  own: NodeId,
): readonly NewNotice[] {
  const at = built.merge.time;
  const ofDapps = built.receipt.notices.map(({ member, entry, text }) => ({
    ...{ entry, at, text },
    member: member as MemberId,
  }));
  return [...ofDapps, ...dueNotices(built, before), ...rejectionNotices(built, entries, before, own)];
}

/** For each new due: one for who owes, one for whom it is owed to. */
function dueNotices({ merge, writes }: BuiltMerge, before: StateReader): readonly NewNotice[] {
  const made = writes.filter(
    ({ dapp, collection, key, value }) =>
      dapp === 'kernel' && collection === 'dues' && value !== null && readDue(before, key) === undefined,
  );
  return made.flatMap(({ key, value }) => {
    const { member, to, amount, entry } = JSON.parse(value as string) as Due;
    const place = { entry, at: merge.time };
    const creditor = to.slice('member.'.length);
    const id = key.slice(0, 12);
    return [
      { ...place, member, text: `You owe ${amount} credits that no allowance covered: town due pay ${id}` },
      ...(isMemberId(creditor) && creditor !== member
        ? [{ ...place, member: creditor, text: `You are owed ${amount} credits: town due list` }]
        : []),
    ];
  });
}

/**
 * One notice for the author of each rejected entry; and for whom a payment by way of this node was meant, since it was shown
 * here as credits to come. `entries`: those that the merge folded in; `before`: the state that it stepped from.
 */
function rejectionNotices(
  { merge, receipt, writes }: BuiltMerge,
  entries: Iterable<VerifiedEntry>,
  before: StateReader,
  own: NodeId,
): readonly NewNotice[] {
  const byId = new Map([...entries].map((entry) => [entry.id, entry]));
  const newKeys = new Map<string, MemberId>();
  for (const { dapp, collection, key, value } of writes)
    if (dapp === 'kernel' && collection === 'keys' && value !== null)
      newKeys.set(key, (JSON.parse(value) as MemberKey).member);
  const authorOf = (key: KeyId): MemberId | null => readKey(before, key)?.member ?? newKeys.get(key) ?? null;
  const notices: NewNotice[] = [];
  for (const { id, verdict, code, reason } of receipt.entries) {
    const entry = verdict === 'rejected' ? byId.get(id) : undefined;
    if (!entry) continue;
    const text = `This was rejected (${code ?? 'rejected'}): ${reason ?? 'no reason was given.'}`;
    const author = authorOf(entry.by);
    const promised = entry.node === own ? payeeOf(entry) : null;
    for (const member of new Set([author, promised]))
      if (member !== null) notices.push({ member, entry: id, at: merge.time, text });
  }
  return notices;
}

function payeeOf({ type, body }: VerifiedEntry): MemberId | null {
  const { to } = body;
  return dappOf(type) === 'credit' && isMemberId(to) ? to : null;
}
