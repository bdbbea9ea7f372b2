/** Offline allowances: opened by the member, paid out and returned by the node that holds them, fenced by stewards. */
import { VAULT, accountOf, creditSurely, debit, isAmount, readAccount } from './accounts.js';
import {
  allowanceKey,
  closeAllowance,
  fillAllowance,
  readAllowance,
  readComing,
  readFence,
  takeFromAllowance,
  type Fence,
} from './allowances.js';
import { dueId, writeDue } from './dues.js';
import { isMemberId, isNodeId, type NodeId } from './ids.js';
import { isSuspended } from './kernel-evidence.js';
import {
  KERNEL,
  authorOf,
  badBody,
  hasOnly,
  isMemo,
  keysOf,
  readMember,
  refuse,
  tooFewStewards,
  type Handler,
} from './kernel.js';
import { writeJson, type StateReader } from './state.js';

/** Puts available credits of the author at a node, which can pay them out once the merge is adopted there. */
export const openAllowance: Handler = (entry, state, context) => {
  const { node, amount } = entry.body;
  if (!hasOnly(entry.body, 'node', 'amount') || !isNodeId(node) || !isAmount(amount))
    return badBody(entry.type, '{node, amount above 0}');
  const { charter, tau, arrival } = context;
  if (!charter.nodes[node])
    return refuse('no-such-node', `The charter names no node ${node}.`, 'charter/charter');
  if (isSuspended(state, node))
    return refuse(
      'node-suspended',
      'This node is suspended: its payments would not be merged.',
      `nodes/${node}`,
    );
  const { id } = authorOf(entry, context);
  const about = `allowances/${allowanceKey(id, node)}`;
  if (readFence(state, id, node))
    return refuse(
      'allowance-fenced',
      'This allowance is being closed: open another when that is done.',
      `fences/${allowanceKey(id, node)}`,
    );
  const { most } = charter.allowances;
  const held = (readAllowance(state, id, node)?.amount ?? 0) + readComing(state, id, node);
  if (held + amount > most)
    return refuse(
      'allowance-too-large',
      // Exact, as a reason is the same everywhere: the sum may be beyond what a double holds.
      `An allowance holds at most ${most} credits; with these ${amount} it would hold ${BigInt(held) + BigInt(amount)}.`,
      about,
    );
  const own = accountOf(id);
  const refused = debit(state, own, amount, (account) => account === own);
  if (refused) return refused;
  fillAllowance(state, { member: id, node, amount, since: tau }, arrival);
  return null;
};

/**
 * A payment out of a member's allowance at the node that signs this. Never rejected: what the allowance does not cover
 * becomes a due, and who cannot receive (left, or not known) receives into suspense.
 */
export const payFromAllowance: Handler = (entry, state, { charter, tau, arrival }) => {
  const { member, to, amount, memo } = entry.body;
  const isRight =
    hasOnly(entry.body, 'member', 'to', 'amount', 'memo') &&
    isMemberId(member) &&
    (isMemberId(to) || to === VAULT) &&
    isAmount(amount) &&
    amount <= charter.supply &&
    isMemo(memo);
  if (!isRight)
    return badBody(entry.type, '{member, to: <member> or "vault", amount above 0, memo?: <envelope>}');
  const payee = to === VAULT ? VAULT : accountOf(to as string);
  const taken = takeFromAllowance(state, entry, member, amount);
  creditSurely(state, payee, taken, arrival);
  if (taken < amount) {
    const about = `allowances/${allowanceKey(member, entry.node)}`;
    const short = `The allowance covers ${taken} of ${amount} credits`;
    if (!readMember(state, member))
      return {
        ...refuse('no-such-member', `${short}, and there is no member ${member} to owe the rest.`),
        irregular: true,
      };
    writeDue(state, dueId(entry.id, 0), {
      member,
      to: payee,
      amount: amount - taken,
      entry: entry.id,
      since: tau,
    });
    return { ...refuse('allowance-short', `${short}; the rest is a due.`, about), irregular: true };
  }
  return readAccount(state, payee)
    ? null
    : {
        ...refuse('no-such-account', `There is no account ${payee}: its credits wait in suspense.`),
        irregular: true,
      };
};

/** The node gives back what it has not paid out. */
export const returnAllowance: Handler = (entry, state, { arrival }) => {
  const { member } = entry.body;
  if (!hasOnly(entry.body, 'member') || !isMemberId(member)) return badBody(entry.type, '{member}');
  if (entry.line !== 'main' || closeAllowance(state, member, entry.node, arrival) === 0)
    return refuse(
      'no-allowance',
      'The member has no allowance at this node.',
      `allowances/${allowanceKey(member, entry.node)}`,
    );
  return null;
};

/**
 * Stewards close an allowance whose node is lost: after the charter's wait what is left goes back to the member. Until
 * then entries of the node up to number `n` are paid from it; later ones are dues at once.
 */
export const fenceAllowance: Handler = (entry, state, context) => {
  const { member, node, n } = entry.body;
  const isRight =
    hasOnly(entry.body, 'member', 'node', 'n') &&
    isMemberId(member) &&
    isNodeId(node) &&
    Number.isSafeInteger(n) &&
    (n as number) >= 0;
  if (!isRight) return badBody(entry.type, '{member, node, n: the last running number that is paid}');
  const unsigned = tooFewStewards(entry, context);
  if (unsigned) return unsigned;
  const key = allowanceKey(member, node);
  if (!readAllowance(state, member, node))
    return refuse('no-allowance', 'The member has no allowance at this node.', `allowances/${key}`);
  if (readFence(state, member, node))
    return refuse('allowance-fenced', 'This allowance is being closed already.', `fences/${key}`);
  const until = context.time + context.charter.allowances.fenceWaitMs;
  const fence: Fence = { member, node, n: n as number, until, entry: entry.id };
  writeJson(state, KERNEL, 'fences', key, fence);
  return null;
};

/** An allowance that is open at a node, or undefined. */
export function allowanceAt(state: StateReader, node: NodeId): string | undefined {
  for (const key of keysOf(state, 'allowances')) if (key.endsWith(`.${node}`)) return key;
  return undefined;
}
