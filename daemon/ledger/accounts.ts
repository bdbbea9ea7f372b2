/**
 * Credits: double entry, two-phase transfers. Every posting takes from one place and gives to another;
 * nothing mints, nothing overdraws. vault + members + locks = supply, at every merge.
 */
import type { StateReader, StateWrite } from './state.js';
import { type Overlay, readJson, writeJson } from './state.js';
import type { Posting } from './contract-protocol.js';
import { invariant } from './ids.js';

export const VAULT = 'vault';
export const accountOf = (member: string): string => `member.${member}`;

/** Whole credits. `locked` is the sum of the locks on this account. */
export interface Account {
  readonly available: number;
  readonly locked: number;
}

/** Credits put aside by a dapp until it posts or releases them, or `deadline` (ms) passes. */
export interface Lock {
  readonly dapp: string;
  readonly id: string;
  readonly from: string;
  readonly amount: number;
  readonly deadline?: number;
}

export interface Refusal {
  readonly code: string;
  readonly reason: string;
  /** The place in the kernel's state, `<collection>/<key>`, that it hinged on: who wrote there last is why. */
  readonly about?: string;
}

/**
 * How credits that arrive are kept. In a merge they can be spent at once. In a node's view they wait
 * (`kernel/incoming`, which never reaches a merge) until the merge confirms them.
 */
export type Arrival = 'spendable' | 'pending';

const KERNEL = 'kernel';
const lockKey = (dapp: string, id: string): string => `${dapp}.${id}`;

export const readAccount = (state: StateReader, account: string): Account | undefined =>
  readJson<Account>(state, KERNEL, 'accounts', account);
export const readLock = (state: StateReader, dapp: string, id: string): Lock | undefined =>
  readJson<Lock>(state, KERNEL, 'locks', lockKey(dapp, id));
/** Credits on their way to an account in this view. */
export const readIncoming = (state: StateReader, account: string): number =>
  readJson<{ amount: number }>(state, KERNEL, 'incoming', account)?.amount ?? 0;

const isAmount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) > 0;

/**
 * Carries out movements in order, or says which rule refuses one of them (then the caller drops the overlay).
 * @param mayDebit whose available credits may be taken: the entry's author, the vault where the charter grants it
 */
export function move(
  state: Overlay,
  dapp: string,
  movements: readonly Posting[],
  mayDebit: (account: string) => boolean,
  arrival: Arrival,
): Refusal | null {
  for (const movement of movements) {
    const refused = moveOne(state, dapp, movement, mayDebit, arrival);
    if (refused) return refused;
  }
  return null;
}

function moveOne(
  state: Overlay,
  dapp: string,
  movement: Posting,
  mayDebit: (account: string) => boolean,
  arrival: Arrival,
): Refusal | null {
  switch (movement.op) {
    case 'transfer': {
      const { from, to, amount } = movement;
      if (from === to)
        return { code: 'same-account', reason: 'Credits cannot be sent to the account they come from.' };
      return debit(state, from, amount, mayDebit) ?? credit(state, to, amount, arrival);
    }
    case 'lock': {
      const { id, from, amount, deadline } = movement;
      if (!/^[a-z0-9][a-z0-9-]{0,79}$/.test(id))
        return { code: 'bad-lock', reason: 'A lock id is [a-z0-9][a-z0-9-]* up to 80 characters.' };
      if (readLock(state, dapp, id))
        return { code: 'lock-exists', reason: `There is a lock "${id}" already.` };
      const refused = debit(state, from, amount, mayDebit);
      if (refused) return refused;
      const account = readAccount(state, from) as Account;
      writeJson(state, KERNEL, 'accounts', from, { ...account, locked: account.locked + amount });
      const lock: Lock = { dapp, id, from, amount, ...(deadline === undefined ? {} : { deadline }) };
      writeJson(state, KERNEL, 'locks', lockKey(dapp, id), lock);
      return null;
    }
    case 'post': {
      const lock = readLock(state, dapp, movement.id);
      if (!lock)
        return {
          code: 'no-such-lock',
          reason: `There is no lock "${movement.id}" (a lock is resolved once).`,
        };
      let total = 0;
      for (const part of movement.parts) {
        if (!isAmount(part.amount))
          return { code: 'bad-amount', reason: 'An amount is a whole number above 0.' };
        total += part.amount;
      }
      if (total > lock.amount)
        return {
          code: 'overdrawn',
          reason: `The lock holds ${lock.amount} credits; ${total} were to be paid from it.`,
        };
      unlock(state, lock);
      for (const part of movement.parts) {
        const refused = credit(state, part.to, part.amount, arrival);
        if (refused) return refused;
      }
      return total < lock.amount ? credit(state, lock.from, lock.amount - total, arrival) : null;
    }
    case 'release': {
      const lock = readLock(state, dapp, movement.id);
      if (!lock)
        return {
          code: 'no-such-lock',
          reason: `There is no lock "${movement.id}" (a lock is resolved once).`,
        };
      unlock(state, lock);
      return credit(state, lock.from, lock.amount, arrival);
    }
  }
}

function debit(
  state: Overlay,
  account: string,
  amount: number,
  mayDebit: (a: string) => boolean,
): Refusal | null {
  if (!isAmount(amount)) return { code: 'bad-amount', reason: 'An amount is a whole number above 0.' };
  if (!mayDebit(account))
    return { code: 'not-your-credits', reason: `This entry may not take credits of ${account}.` };
  const found = readAccount(state, account);
  if (!found) return { code: 'no-such-account', reason: `There is no account ${account}.` };
  if (found.available < amount) {
    const incoming = readIncoming(state, account);
    return {
      code: 'not-enough-credits',
      reason:
        `${amount} credits are needed and ${found.available} are there` +
        (incoming > 0 ? ` (${incoming} more are on their way and can be spent once merged).` : '.'),
    };
  }
  writeJson(state, KERNEL, 'accounts', account, { ...found, available: found.available - amount });
  return null;
}

function credit(state: Overlay, account: string, amount: number, arrival: Arrival): Refusal | null {
  if (!isAmount(amount)) return { code: 'bad-amount', reason: 'An amount is a whole number above 0.' };
  const found = readAccount(state, account);
  if (!found) return { code: 'no-such-account', reason: `There is no account ${account}.` };
  if (arrival === 'pending')
    writeJson(state, KERNEL, 'incoming', account, { amount: readIncoming(state, account) + amount });
  else writeJson(state, KERNEL, 'accounts', account, { ...found, available: found.available + amount });
  return null;
}

function unlock(state: Overlay, lock: Lock): void {
  const owner = readAccount(state, lock.from);
  invariant(
    owner !== undefined && owner.locked >= lock.amount,
    `the lock ${lock.dapp}.${lock.id} is counted in ${lock.from}`,
  );
  writeJson(state, KERNEL, 'accounts', lock.from, { ...owner, locked: owner.locked - lock.amount });
  writeJson(state, KERNEL, 'locks', lockKey(lock.dapp, lock.id), null);
}

/** Opens an empty account. */
export function openAccount(state: Overlay, account: string): void {
  invariant(readAccount(state, account) === undefined, `${account} is opened once`);
  writeJson(state, KERNEL, 'accounts', account, { available: 0, locked: 0 });
}

/** Gives back every lock whose deadline is not after `time` (ms), by (deadline, key). Returns their keys. */
export function expireLocks(state: Overlay, time: number): readonly string[] {
  const due: { deadline: number; key: string; lock: Lock }[] = [];
  for (const key of eachKey(state, 'locks')) {
    const lock = readJson<Lock>(state, KERNEL, 'locks', key) as Lock;
    if (lock.deadline !== undefined && lock.deadline <= time)
      due.push({ deadline: lock.deadline, key, lock });
  }
  due.sort((a, b) => a.deadline - b.deadline || (a.key < b.key ? -1 : 1));
  for (const { lock } of due) {
    unlock(state, lock);
    const refused = credit(state, lock.from, lock.amount, 'spendable');
    invariant(refused === null, `a released lock goes back to its owner (${refused?.reason ?? ''})`);
  }
  return due.map(({ key }) => key);
}

function* eachKey(state: StateReader, collection: string): Generator<string> {
  for (let after = ''; ;) {
    const page = state.keys(KERNEL, collection, after, 1024);
    yield* page;
    if (page.length < 1024) return;
    after = page[page.length - 1] as string;
  }
}

export interface Totals {
  readonly vault: number;
  readonly members: number;
  readonly locked: number;
}

/** Sums all accounts and locks. @throws InvariantError where locks and accounts disagree */
export function totalsOf(state: StateReader): Totals {
  let vault = 0;
  let members = 0;
  let lockedInAccounts = 0;
  for (const key of eachKey(state, 'accounts')) {
    const account = readJson<Account>(state, KERNEL, 'accounts', key) as Account;
    invariant(account.available >= 0 && account.locked >= 0, `no account is negative (${key})`);
    if (key === VAULT) vault += account.available;
    else members += account.available;
    lockedInAccounts += account.locked;
  }
  let locked = 0;
  for (const key of eachKey(state, 'locks'))
    locked += (readJson<Lock>(state, KERNEL, 'locks', key) as Lock).amount;
  invariant(
    locked === lockedInAccounts,
    `the locks (${locked}) are what the accounts say is locked (${lockedInAccounts})`,
  );
  return { vault, members, locked };
}

/** vault + members + locks = supply, over the whole state. @throws InvariantError */
export function assertSupply(state: StateReader, supply: number): void {
  const { vault, members, locked } = totalsOf(state);
  invariant(
    vault + members + locked === supply,
    `vault ${vault} + members ${members} + locks ${locked} = supply ${supply}`,
  );
}

/** The same law for one step: what changed adds up to nothing, and no balance is negative. @throws InvariantError */
export function assertConserved(below: StateReader, writes: readonly StateWrite[]): void {
  let sum = 0;
  let locksLessLocked = 0;
  for (const { dapp, collection, key, value } of writes) {
    if (dapp !== KERNEL) continue;
    const before = below.get(dapp, collection, key);
    if (collection === 'accounts') {
      const now = value === null ? { available: 0, locked: 0 } : (JSON.parse(value) as Account);
      const was = before === undefined ? { available: 0, locked: 0 } : (JSON.parse(before) as Account);
      invariant(now.available >= 0 && now.locked >= 0, `no account is negative (${key})`);
      sum += now.available - was.available + now.locked - was.locked;
      locksLessLocked -= now.locked - was.locked;
    } else if (collection === 'locks') {
      locksLessLocked += value === null ? 0 : (JSON.parse(value) as Lock).amount;
      locksLessLocked -= before === undefined ? 0 : (JSON.parse(before) as Lock).amount;
    }
  }
  invariant(sum === 0, `a merge neither makes nor loses credits (difference ${sum})`);
  invariant(locksLessLocked === 0, `locks are counted in their accounts (difference ${locksLessLocked})`);
}
