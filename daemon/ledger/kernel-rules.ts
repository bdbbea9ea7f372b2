/** Every type of entry that the kernel judges itself, with its rule. */
import { dappOf, verbOf, type VerifiedEntry } from './entry.js';
import { TownError } from './ids.js';
import { fenceAllowance, openAllowance, payFromAllowance, returnAllowance } from './kernel-allowances.js';
import { change } from './kernel-charter.js';
import { grant, transfer } from './kernel-credits.js';
import { payDue, waiveDue } from './kernel-dues.js';
import { equivocation, readmit } from './kernel-evidence.js';
import { adopt } from './kernel-forks.js';
import { addKey, found, join, revokeKey, setRoles } from './kernel-members.js';
import { leave, reinstate, suspend } from './kernel-standing.js';
import { erase } from './kernel-records.js';
import { refuse, type Finding, type KernelContext, type Rule } from './kernel.js';
import type { Overlay } from './state.js';

const RULES: ReadonlyMap<string, Rule> = new Map<string, Rule>([
  ['member.found', { handler: found, kind: 'claim', open: true }],
  ['member.join', { handler: join, kind: 'claim', open: true }],
  ['member.add-key', { handler: addKey, kind: 'claim' }],
  ['member.revoke-key', { handler: revokeKey, kind: 'claim', restrictive: true }],
  ['member.roles', { handler: setRoles, kind: 'claim' }],
  ['member.suspend', { handler: suspend, kind: 'claim', restrictive: true }],
  ['member.reinstate', { handler: reinstate, kind: 'claim' }],
  ['member.leave', { handler: leave, kind: 'claim' }],
  ['credit.transfer', { handler: transfer, kind: 'claim' }],
  ['credit.grant', { handler: grant, kind: 'claim' }],
  ['allowance.open', { handler: openAllowance, kind: 'claim' }],
  ['allowance.pay', { handler: payFromAllowance, kind: 'fact' }],
  ['allowance.return', { handler: returnAllowance, kind: 'fact' }],
  ['allowance.fence', { handler: fenceAllowance, kind: 'claim' }],
  ['due.pay', { handler: payDue, kind: 'claim' }],
  ['due.waive', { handler: waiveDue, kind: 'claim' }],
  ['charter.change', { handler: change, kind: 'claim' }],
  ['fork.adopt', { handler: adopt, kind: 'claim' }],
  ['record.erase', { handler: erase, kind: 'claim' }],
  ['evidence.equivocation', { handler: equivocation, kind: 'fact', restrictive: true }],
  ['node.readmit', { handler: readmit, kind: 'claim' }],
]);

/** The rule for a type of entry; undefined where it is not the kernel's. */
export const kernelRule = (type: string): Rule | undefined => RULES.get(type);

/** Judges a kernel entry whose author may say it; where it is refused, drop the overlay. */
export function applyKernelEntry(entry: VerifiedEntry, state: Overlay, context: KernelContext): Finding {
  const rule = RULES.get(entry.type);
  if (!rule)
    return refuse('unknown-type', `The kernel has no "${verbOf(entry.type)}" of "${dappOf(entry.type)}".`);
  try {
    return rule.handler(entry, state, context);
  } catch (error) {
    if (error instanceof TownError) return refuse(error.code, error.message);
    throw error;
  }
}
