/** What ends by itself when its time has come: locks past their deadline, and fenced allowances. Run last in a merge. */
import { credit, unlock, type Lock } from './accounts.js';
import { closeAllowance, type Fence } from './allowances.js';
import { invariant } from './ids.js';
import type { DeadlinePlace } from './deadlines.js';
import { readJson, writeJson, type Overlay } from './state.js';

const KERNEL = 'kernel';

interface Ending {
  readonly deadline: number;
  /** `<dapp>.<lock id>`, or `allowance.<member>.<node>` (no dapp has that name). */
  readonly id: string;
  readonly end: () => void;
}

/**
 * Ends all whose deadline is not after `time` (ms), by (deadline, id): a lock's credits go back to its owner, a fenced
 * allowance's to its member.
 * @returns their ids, in that order
 */
export function expire(state: Overlay, time: number): readonly string[] {
  const endings = state.due(time).map((place) => endingOf(state, place));
  endings.sort((a, b) => a.deadline - b.deadline || (a.id < b.id ? -1 : 1));
  for (const { end } of endings) end();
  return endings.map(({ id }) => id);
}

function endingOf(state: Overlay, { collection, key }: DeadlinePlace): Ending {
  if (collection === 'locks') {
    const lock = valueOf<Lock>(state, collection, key);
    const { deadline } = lock;
    invariant(deadline !== undefined, `the lock ${key} is due, so it has a deadline`);
    return { deadline, id: key, end: () => expireLock(state, lock) };
  }
  const fence = valueOf<Fence>(state, collection, key);
  const end = (): void => {
    writeJson(state, KERNEL, 'fences', key, null);
    closeAllowance(state, fence.member, fence.node, 'spendable');
  };
  return { deadline: fence.until, id: `allowance.${key}`, end };
}

function valueOf<T>(state: Overlay, collection: string, key: string): T {
  const value = readJson<T>(state, KERNEL, collection, key);
  invariant(value !== undefined, `${collection}/${key} is due, so it is there`);
  return value;
}

function expireLock(state: Overlay, lock: Lock): void {
  unlock(state, lock);
  const refused = credit(state, lock.from, lock.amount, 'spendable');
  invariant(refused === null, `a released lock goes back to its owner (${refused?.reason ?? ''})`);
}
