/**
 * Offline allowances: credits that a member put at one node, to be paid out by that node alone, while it is cut off too.
 * Only that node's branch takes from one, in its own order, so what the node had adopted is still there when
 * its payments are merged, whatever happened elsewhere. A fence is the exception: it closes one after a stated wait.
 */
import { accountOf, addIncoming, creditSurely, type Arrival } from './accounts.js';
import type { Entry } from './entry.js';
import type { EntryId, MemberId, NodeId } from './ids.js';
import { readJson, writeJson, type Overlay, type StateReader } from './state.js';

const KERNEL = 'kernel';
/** Allowances belong to the main line: what a draft fork says of them counts when it is said on `main`. */
const LINE = 'main';

/** Kept as `kernel/allowances/<member>.<node>` while it holds something. */
export interface Allowance {
  readonly member: MemberId;
  readonly node: NodeId;
  /** Whole credits, above 0. */
  readonly amount: number;
  /** The entry time (ms) of the first opening. */
  readonly since: number;
}

/** A closing on its way, kept as `kernel/fences/<member>.<node>` until it is due. */
export interface Fence {
  readonly member: MemberId;
  readonly node: NodeId;
  /** Entries of the node up to this running number are paid from the allowance still. */
  readonly n: number;
  /** Ms: from then on nothing is. */
  readonly until: number;
  readonly entry: EntryId;
}

/** What of an entry says whether it may take from an allowance at its node. */
export type Spender = Pick<Entry, 'node' | 'line' | 'n'>;

export const allowanceKey = (member: string, node: string): string => `${member}.${node}`;
/** Where an allowance's credits wait in a view. */
const incomingKey = (member: string, node: string): string => `allowance.${allowanceKey(member, node)}`;

export const readAllowance = (state: StateReader, member: string, node: string): Allowance | undefined =>
  readJson<Allowance>(state, KERNEL, 'allowances', allowanceKey(member, node));
export const readFence = (state: StateReader, member: string, node: string): Fence | undefined =>
  readJson<Fence>(state, KERNEL, 'fences', allowanceKey(member, node));
/** Credits on their way into an allowance in this view. */
export const readComing = (state: StateReader, member: string, node: string): number =>
  readJson<{ amount: number }>(state, KERNEL, 'incoming', incomingKey(member, node))?.amount ?? 0;

/** Puts credits, taken from the member before, into their allowance. */
export function fillAllowance(
  state: Overlay,
  { member, node, amount, since }: Allowance,
  arrival: Arrival,
): void {
  if (arrival === 'pending') return addIncoming(state, incomingKey(member, node), amount);
  const there = readAllowance(state, member, node);
  const next: Allowance = there
    ? { ...there, amount: there.amount + amount }
    : { member, node, amount, since };
  writeJson(state, KERNEL, 'allowances', allowanceKey(member, node), next);
}

/**
 * Takes as much of `amount` as the allowance at the entry's node covers for that entry.
 * @returns what was taken, 0 to `amount`; the caller gives it to somebody
 */
export function takeFromAllowance(state: Overlay, spender: Spender, member: string, amount: number): number {
  const { node, line, n } = spender;
  const there = readAllowance(state, member, node);
  if (!there || line !== LINE || n > (readFence(state, member, node)?.n ?? Infinity)) return 0;
  const taken = Math.min(there.amount, amount);
  const left = there.amount - taken;
  const key = allowanceKey(member, node);
  writeJson(state, KERNEL, 'allowances', key, left === 0 ? null : { ...there, amount: left });
  return taken;
}

/** Closes an allowance: what is left goes back to the member, or to suspense where they left. @returns how much */
export function closeAllowance(state: Overlay, member: string, node: string, arrival: Arrival): number {
  const there = readAllowance(state, member, node);
  if (!there) return 0;
  writeJson(state, KERNEL, 'allowances', allowanceKey(member, node), null);
  creditSurely(state, accountOf(member), there.amount, arrival);
  return there.amount;
}
