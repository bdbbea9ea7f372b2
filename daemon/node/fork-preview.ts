/** What a set of writes would change, in the words of people: credits, members, the charter. */
import type { Account } from '../ledger/accounts.js';
import type { Json, JsonObject } from '../ledger/ids.js';
import type { StateReader, StateWrite } from '../ledger/state.js';
import type { ForkChanges } from './fork-cases.js';

const parsed = (text: string | null | undefined): Json =>
  text === null || text === undefined ? null : (JSON.parse(text) as Json);

/** Collections of the kernel that are told in their own words, and bookkeeping that is not told. */
const TOLD_APART = new Set(['accounts', 'members', 'charter', 'branches', 'forks']);

/**
 * @param before the state without the writes; @param nameOf a member's name, or null
 */
export function changesOf(
  before: StateReader,
  writes: readonly StateWrite[],
  nameOf: (member: string) => string | null,
): ForkChanges {
  const of = (collection: string) =>
    writes
      .filter((write) => write.dapp === 'kernel' && write.collection === collection)
      .map(({ key, value }) => ({
        key,
        before: parsed(before.get('kernel', collection, key)),
        after: parsed(value),
      }));
  const ownedIn = (account: Json): number => {
    const { available = 0, locked = 0 } = (account ?? {}) as unknown as Partial<Account>;
    return available + locked;
  };
  const memberOf = (account: string): string | null =>
    account.startsWith('member.') ? account.slice('member.'.length) : null;
  const others = new Map<string, number>();
  for (const { dapp, collection } of writes) {
    if (dapp === 'kernel' && TOLD_APART.has(collection)) continue;
    const place = `${dapp}/${collection}`;
    others.set(place, (others.get(place) ?? 0) + 1);
  }
  return {
    balances: of('accounts')
      .map(({ key, ...values }) => ({
        account: key,
        name: nameOf(memberOf(key) ?? ''),
        before: ownedIn(values.before),
        after: ownedIn(values.after),
      }))
      .filter((balance) => balance.before !== balance.after),
    members: of('members').map(({ key, ...values }) => ({ member: key, name: nameOf(key), ...values })),
    charter: of('charter').flatMap((change) => differences('', change.before, change.after)),
    others: [...others].map(([place, count]) => ({ place, count })),
  };
}

const isObject = (value: Json | undefined): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** The places where two values differ, by JSON pointer (RFC 6901); lists count as one place. */
export function differences(at: string, before: Json, after: Json): ForkChanges['charter'] {
  if (JSON.stringify(before) === JSON.stringify(after)) return [];
  if (!isObject(before) || !isObject(after)) return [{ at, before, after }];
  const names = [...new Set([...Object.keys(before), ...Object.keys(after)])].sort();
  return names.flatMap((name) =>
    differences(
      `${at}/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`,
      before[name] ?? null,
      after[name] ?? null,
    ),
  );
}
