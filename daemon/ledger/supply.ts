/**
 * The law of the accounts: vault + members + locks + allowances + suspense = supply, in every state; in a node's view,
 * what is on its way counts too. It is asserted at every entry and every merge, in production.
 */
import { SUSPENSE, VAULT, type Account, type Lock } from './accounts.js';
import type { Allowance } from './allowances.js';
import { invariant } from './ids.js';
import { readJson, type StateReader, type StateWrite } from './state.js';

const KERNEL = 'kernel';

/** Whole credits. */
export interface Totals {
  readonly vault: number;
  /** What members have available. */
  readonly members: number;
  readonly locked: number;
  readonly allowances: number;
  readonly suspense: number;
  /** On their way in this view; 0 in every merge. */
  readonly incoming: number;
}

/** Sums all places that hold credits. @throws InvariantError where one is negative, or locks and accounts disagree */
export function totalsOf(state: StateReader): Totals {
  let vault = 0;
  let members = 0;
  let suspense = 0;
  let lockedInAccounts = 0;
  for (const [key, account] of each<Account>(state, 'accounts')) {
    invariant(account.available >= 0 && account.locked >= 0, `no account is negative (${key})`);
    if (key === VAULT) vault += account.available;
    else if (key === SUSPENSE) suspense += account.available;
    else members += account.available;
    lockedInAccounts += account.locked;
  }
  let locked = 0;
  for (const [, lock] of each<Lock>(state, 'locks')) locked += lock.amount;
  invariant(
    locked === lockedInAccounts,
    `the locks (${locked}) are what the accounts say is locked (${lockedInAccounts})`,
  );
  let allowances = 0;
  for (const [key, { amount }] of each<Allowance>(state, 'allowances')) {
    invariant(amount > 0, `an allowance that is open holds something (${key})`);
    allowances += amount;
  }
  let incoming = 0;
  for (const [, { amount }] of each<{ amount: number }>(state, 'incoming')) incoming += amount;
  return { vault, members, locked, allowances, suspense, incoming };
}

/** The law over the whole state. @throws InvariantError */
export function assertSupply(state: StateReader, supply: number): void {
  assertTotals(totalsOf(state), supply);
}

/** The law over sums that were made before. @throws InvariantError */
export function assertTotals(totals: Totals, supply: number): void {
  const { vault, members, locked, allowances, suspense, incoming } = totals;
  invariant(
    vault + members + locked + allowances + suspense + incoming === supply,
    `vault ${vault} + members ${members} + locks ${locked} + allowances ${allowances} + suspense ${suspense}` +
      `${incoming === 0 ? '' : ` + on their way ${incoming}`} = supply ${supply}`,
  );
}

/** The sums after some writes, from those before: what did not change is not looked at. @param below the state before */
export function totalsAfter(totals: Totals, below: StateReader, writes: readonly StateWrite[]): Totals {
  const after = { ...totals };
  for (const { dapp, collection, key, value } of writes) {
    if (dapp !== KERNEL) continue;
    const place = placeOf(collection, key);
    if (place === null) continue;
    const before = below.get(dapp, collection, key);
    after[place] += heldIn(value ?? undefined) - heldIn(before);
  }
  return after;
}

function placeOf(collection: string, key: string): keyof Totals | null {
  switch (collection) {
    case 'accounts':
      return key === VAULT ? 'vault' : key === SUSPENSE ? 'suspense' : 'members';
    case 'locks':
      return 'locked';
    case 'allowances':
    case 'incoming':
      return collection;
    default:
      return null;
  }
}

/** What a value of one of these collections holds: an account what is available, the others their amount. */
function heldIn(value: string | undefined): number {
  if (value === undefined) return 0;
  const { available, amount } = JSON.parse(value) as { available?: number; amount?: number };
  return available ?? amount ?? 0;
}

/** The same law for one step: what changed adds up to nothing, and nothing is negative. @throws InvariantError */
export function assertConserved(below: StateReader, writes: readonly StateWrite[]): void {
  let sum = 0;
  let locksLessLocked = 0;
  for (const { dapp, collection, key, value } of writes) {
    if (dapp !== KERNEL) continue;
    const read = <T>(text: string | null | undefined): T | null =>
      typeof text === 'string' ? (JSON.parse(text) as T) : null;
    const before = below.get(dapp, collection, key);
    if (collection === 'accounts') {
      const now = read<Account>(value) ?? { available: 0, locked: 0 };
      const was = read<Account>(before) ?? { available: 0, locked: 0 };
      invariant(now.available >= 0 && now.locked >= 0, `no account is negative (${key})`);
      sum += now.available - was.available + now.locked - was.locked;
      locksLessLocked -= now.locked - was.locked;
    } else if (collection === 'locks') {
      locksLessLocked += (read<Lock>(value)?.amount ?? 0) - (read<Lock>(before)?.amount ?? 0);
    } else if (collection === 'allowances' || collection === 'incoming') {
      const now = read<{ amount: number }>(value)?.amount ?? 0;
      invariant(now >= 0, `nothing is negative (${collection}/${key})`);
      sum += now - (read<{ amount: number }>(before)?.amount ?? 0);
    }
  }
  invariant(sum === 0, `nothing makes or loses credits (difference ${sum})`);
  invariant(locksLessLocked === 0, `locks are counted in their accounts (difference ${locksLessLocked})`);
}

function* each<T>(state: StateReader, collection: string): Generator<[string, T]> {
  for (let after = ''; ;) {
    const page = state.keys(KERNEL, collection, after, 1024);
    for (const key of page) yield [key, readJson<T>(state, KERNEL, collection, key) as T];
    if (page.length < 1024) return;
    after = page[page.length - 1] as string;
  }
}
