/**
 * Credits: double entry, two-phase transfers. Every movement takes from one place and gives to another;
 * nothing mints, nothing overdraws. What the whole must come to stands in supply.ts.
 */
import type { StateReader } from './state.js';
import { type Overlay, readJson, writeJson } from './state.js';
import type { Posting } from './contract-protocol.js';
import { invariant } from './ids.js';

export const VAULT = 'vault';
/** Holds what somebody would have received who left the town. Given out again by `credit.grant`. */
export const SUSPENSE = 'suspense';
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

/** What moves credits between accounts and locks. A `charge` is metered use: see postings.ts. */
export type Movement = Exclude<Posting, { readonly op: 'charge' }>;

export interface Refusal {
  readonly code: string;
  readonly reason: string;
  /** The place in the kernel's state that it hinged on, `<collection>/<key>` or `<collection>/`: who wrote there last is why. */
  readonly about?: string;
}

/**
 * How credits that arrive are kept. In a merge they can be spent at once. In a node's view they wait
 * (`kernel/incoming`, which never reaches a merge) until the merge confirms them.
 */
export type Arrival = 'spendable' | 'pending';

const KERNEL = 'kernel';
const BAD_AMOUNT: Refusal = { code: 'bad-amount', reason: 'An amount is a whole number above 0.' };
export const lockKey = (dapp: string, id: string): string => `${dapp}.${id}`;

export const readAccount = (state: StateReader, account: string): Account | undefined =>
  readJson<Account>(state, KERNEL, 'accounts', account);
export const readLock = (state: StateReader, dapp: string, id: string): Lock | undefined =>
  readJson<Lock>(state, KERNEL, 'locks', lockKey(dapp, id));
/** Credits on their way to an account in this view. */
export const readIncoming = (state: StateReader, account: string): number =>
  readJson<{ amount: number }>(state, KERNEL, 'incoming', account)?.amount ?? 0;

export const isAmount = (value: unknown): value is number =>
  Number.isSafeInteger(value) && (value as number) > 0;

/**
 * Carries out movements in order, or says which rule refuses one of them (then the caller drops the overlay).
 * @param mayDebit whose available credits may be taken: the entry's author, the vault where the charter grants it
 */
export function move(
  state: Overlay,
  dapp: string,
  movements: readonly Movement[],
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
  movement: Movement,
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
      // Keys of the state end up as file names in git, where ".lock" is no ending.
      if (!/^[a-z0-9][a-z0-9-]{0,79}$/.test(id) || id === 'lock')
        return {
          code: 'bad-lock',
          reason: 'A lock id is [a-z0-9][a-z0-9-]* up to 80 characters, and not "lock".',
        };
      if (readLock(state, dapp, id))
        return {
          code: 'lock-exists',
          reason: `There is a lock "${id}" already.`,
          about: `locks/${lockKey(dapp, id)}`,
        };
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
      if (!lock) return noSuchLock(dapp, movement.id);
      // Told in a reason, so exact: 16 parts may come to more than a double holds.
      let sum = 0n;
      for (const part of movement.parts) {
        if (!isAmount(part.amount)) return BAD_AMOUNT;
        sum += BigInt(part.amount);
      }
      if (sum > BigInt(lock.amount))
        return {
          code: 'overdrawn',
          reason: `The lock holds ${lock.amount} credits; ${sum} were to be paid from it.`,
          about: `locks/${lockKey(dapp, movement.id)}`,
        };
      unlock(state, lock);
      for (const part of movement.parts) {
        const refused = credit(state, part.to, part.amount, arrival);
        if (refused) return refused;
      }
      const rest = lock.amount - Number(sum);
      return rest > 0 ? credit(state, lock.from, rest, arrival) : null;
    }
    case 'release': {
      const lock = readLock(state, dapp, movement.id);
      if (!lock) return noSuchLock(dapp, movement.id);
      unlock(state, lock);
      return credit(state, lock.from, lock.amount, arrival);
    }
  }
}

const noSuchLock = (dapp: string, id: string): Refusal => ({
  code: 'no-such-lock',
  reason: `There is no lock "${id}" (a lock is resolved once).`,
  about: `locks/${lockKey(dapp, id)}`,
});

export const noSuchAccount = (account: string): Refusal => ({
  code: 'no-such-account',
  reason: `There is no account ${account}.`,
  about: `accounts/${account}`,
});

/** Takes available credits of an account, or says which rule refuses it. */
export function debit(
  state: Overlay,
  account: string,
  amount: number,
  mayDebit: (a: string) => boolean,
): Refusal | null {
  if (!isAmount(amount)) return BAD_AMOUNT;
  if (!mayDebit(account))
    return { code: 'not-your-credits', reason: `This entry may not take credits of ${account}.` };
  const found = readAccount(state, account);
  if (!found) return noSuchAccount(account);
  if (found.available < amount) {
    const incoming = readIncoming(state, account);
    return {
      code: 'not-enough-credits',
      reason:
        `${amount} credits are needed and ${found.available} are there` +
        (incoming > 0 ? ` (${incoming} more are on their way and can be spent once merged).` : '.'),
      about: `accounts/${account}`,
    };
  }
  writeJson(state, KERNEL, 'accounts', account, { ...found, available: found.available - amount });
  return null;
}

/**
 * Gives credits to an account; what goes to a member who left goes to suspense instead.
 * @returns a refusal where there is no such account: then nothing moved
 */
export function credit(state: Overlay, account: string, amount: number, arrival: Arrival): Refusal | null {
  if (!isAmount(amount)) return BAD_AMOUNT;
  if (!readAccount(state, account)) return noSuchAccount(account);
  put(state, hasLeft(state, account) ? SUSPENSE : account, amount, arrival);
  return null;
}

/** Gives credits to an account, or to suspense where it cannot be had: for what may not be lost. */
export function creditSurely(state: Overlay, account: string, amount: number, arrival: Arrival): void {
  if (amount > 0 && credit(state, account, amount, arrival)) put(state, SUSPENSE, amount, arrival);
}

function hasLeft(state: StateReader, account: string): boolean {
  if (!account.startsWith('member.')) return false;
  const member = readJson<{ status: string }>(state, KERNEL, 'members', account.slice('member.'.length));
  return member?.status === 'left';
}

function put(state: Overlay, account: string, amount: number, arrival: Arrival): void {
  if (arrival === 'pending') return addIncoming(state, account, amount);
  const found = readAccount(state, account) ?? { available: 0, locked: 0 };
  writeJson(state, KERNEL, 'accounts', account, { ...found, available: found.available + amount });
}

/** Credits on their way to a place, in this view alone: an account, or an allowance. */
export function addIncoming(state: Overlay, place: string, amount: number): void {
  writeJson(state, KERNEL, 'incoming', place, { amount: readIncoming(state, place) + amount });
}

/** Takes a lock away; its credits are in nobody's account until the caller gives them to somebody. */
export function unlock(state: Overlay, lock: Lock): void {
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
