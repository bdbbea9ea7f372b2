/** What ends by itself when its time has come: locks past their deadline, and fenced allowances. Run last in a merge. */
import { credit, unlock, type Lock } from './accounts.js';
import { closeAllowance, type Fence } from './allowances.js';
import { invariant } from './ids.js';
import { readJson, writeJson, type Overlay, type StateReader } from './state.js';

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
  const endings: Ending[] = [];
  for (const [id, lock] of each<Lock>(state, 'locks'))
    if (lock.deadline !== undefined && lock.deadline <= time)
      endings.push({ deadline: lock.deadline, id, end: () => expireLock(state, lock) });
  for (const [key, fence] of each<Fence>(state, 'fences'))
    if (fence.until <= time)
      endings.push({
        deadline: fence.until,
        id: `allowance.${key}`,
        end: () => {
          writeJson(state, KERNEL, 'fences', key, null);
          closeAllowance(state, fence.member, fence.node, 'spendable');
        },
      });
  endings.sort((a, b) => a.deadline - b.deadline || (a.id < b.id ? -1 : 1));
  for (const { end } of endings) end();
  return endings.map(({ id }) => id);
}

function expireLock(state: Overlay, lock: Lock): void {
  unlock(state, lock);
  const refused = credit(state, lock.from, lock.amount, 'spendable');
  invariant(refused === null, `a released lock goes back to its owner (${refused?.reason ?? ''})`);
}

function each<T>(state: StateReader, collection: string): [string, T][] {
  const found: [string, T][] = [];
  for (let after = ''; ;) {
    const page = state.keys(KERNEL, collection, after, 1024);
    for (const key of page) found.push([key, readJson<T>(state, KERNEL, collection, key) as T]);
    if (page.length < 1024) return found;
    after = page[page.length - 1] as string;
  }
}
