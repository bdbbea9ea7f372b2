/** The standing of members: suspended, reinstated, gone. */
import { VAULT, accountOf, creditSurely, debit, readAccount } from './accounts.js';
import { isMemberId, type EntryId } from './ids.js';
import {
  KERNEL,
  authorOf,
  badBody,
  countStewards,
  hasOnly,
  isMemo,
  isSigningSteward,
  readMember,
  refuse,
  type Finding,
  type Handler,
  type KernelContext,
  type Member,
} from './kernel.js';
import { readJson, writeJson, type Overlay, type StateReader } from './state.js';

/** A suspension that came before its member, kept as `kernel/restrictions/<member>` until they appear. */
export interface Restriction {
  readonly entry: EntryId;
  /** Its entry's time (ms). */
  readonly since: number;
}

export const readRestriction = (state: StateReader, member: string): Restriction | undefined =>
  readJson<Restriction>(state, KERNEL, 'restrictions', member);

/** Takes a member's say, at once and everywhere; they go on receiving credits. */
export const suspend: Handler = (entry, state, context) => {
  const { member: id, reason } = entry.body;
  if (!hasOnly(entry.body, 'member', 'reason') || !isMemberId(id) || !isMemo(reason))
    return badBody(entry.type, '{member, reason?: <envelope>}');
  const given = { entry: entry.id, since: context.tau };
  const member = readMember(state, id);
  if (!member) {
    writeJson(state, KERNEL, 'restrictions', id, given satisfies Restriction);
    return null;
  }
  if (member.status !== 'active')
    return refuse(`member-${member.status}`, `The member is ${wordOf(member)} already.`, `members/${id}`);
  const guarded = lastSteward(state, member, context);
  if (guarded) return guarded;
  writeJson(state, KERNEL, 'members', id, { ...member, status: 'suspended', ...given } satisfies Member);
  return null;
};

/** Gives a suspended member their say back. */
export const reinstate: Handler = (entry, state, context) => {
  const { member: id } = entry.body;
  if (!hasOnly(entry.body, 'member') || !isMemberId(id)) return badBody(entry.type, '{member}');
  const member = readMember(state, id);
  if (!member && readRestriction(state, id)) {
    writeJson(state, KERNEL, 'restrictions', id, null);
    return null;
  }
  if (!member) return refuse('no-such-member', `There is no member ${id}.`, `restrictions/${id}`);
  if (member.status !== 'suspended')
    return refuse('not-suspended', `The member is ${wordOf(member)}, not suspended.`, `members/${id}`);
  const next: Member = { ...member, status: 'active', entry: entry.id, since: context.tau };
  writeJson(state, KERNEL, 'members', id, next);
  return null;
};

/**
 * The author leaves the town: what they have available goes to the vault, roles and keys end. Locks stay until they are
 * resolved, allowances until their nodes return them, dues until they are waived; what comes back goes to suspense.
 */
export const leave: Handler = (entry, state, context) => {
  if (!hasOnly(entry.body)) return badBody(entry.type, 'empty');
  const { id } = authorOf(entry, context);
  const member = readMember(state, id) as Member;
  const guarded = lastSteward(state, member, context);
  if (guarded) return guarded;
  const own = accountOf(id);
  const { available } = readAccount(state, own) ?? { available: 0 };
  if (available > 0) {
    const refused = debit(state, own, available, (account) => account === own);
    if (refused) return refused;
    creditSurely(state, VAULT, available, context.arrival);
  }
  const next: Member = { ...member, roles: [], status: 'left', entry: entry.id, since: context.tau };
  writeJson(state, KERNEL, 'members', id, next);
  return null;
};

/** The refusal to lose a steward whom the next change of the charter needs. */
export function lastSteward(state: StateReader, member: Member, { charter }: KernelContext): Finding {
  if (!isSigningSteward(state, member)) return null;
  return countStewards(state) > charter.amend
    ? null
    : refuse(
        'last-steward',
        'Then too few stewards would be left to change the charter.',
        `members/${member.id}`,
      );
}

/** What a suspension that came first makes of a member who appears now. */
export function takeRestriction(state: Overlay, id: string): Restriction | undefined {
  const found = readRestriction(state, id);
  if (found) writeJson(state, KERNEL, 'restrictions', id, null);
  return found;
}

const wordOf = ({ status }: Member): string =>
  ({ active: 'active', suspended: 'suspended', left: 'gone' })[status];
