/** Members and their keys: found, join, further keys, revocations, roles. */
import { VAULT, accountOf, move, openAccount } from './accounts.js';
import { MEMBER, STEWARD, keyOfNode, permits } from './charter.js';
import type { VerifiedEntry } from './entry.js';
import { isKeyId, isMemberId, isSha256 } from './ids.js';
import {
  INVITATION_DOMAIN,
  KERNEL,
  KEYS_MAX,
  KEY_DOMAIN,
  authorOf,
  badBody,
  hasOnly,
  invitationText,
  keyProofText,
  readKey,
  readMember,
  refuse,
  speakerOf,
  type Finding,
  type Handler,
  type Invitation,
  type KernelContext,
  type Member,
  type MemberKey,
} from './kernel.js';
import { lastSteward, takeRestriction } from './kernel-standing.js';
import { memberIdOf, nodeIdOf, verifyText } from './signature.js';
import { writeJson, type Overlay } from './state.js';

/** The town's first steward: vouched for by a founding node, once, while there are no members. */
export const found: Handler = (entry, state, context) => {
  if (!hasOnly(entry.body)) return badBody(entry.type, 'empty');
  if (state.keys(KERNEL, 'members', '', 1).length > 0)
    return refuse('founded-already', 'The town has members: further ones join by invitation.', 'members/');
  const vouched = (entry.cosigned ?? []).some(({ by }) => keyOfNode(context.charter, nodeIdOf(by)) === by);
  if (!vouched) return refuse('not-vouched-for', 'A node of the charter must co-sign the first steward.');
  return admit(entry, state, context, [MEMBER, STEWARD]);
};

/** A new member, by their own new key and an invitation. */
export const join: Handler = (entry, state, context) => {
  const { charter, time, authority } = context;
  const invitation = entry.body['invitation'] as unknown as Invitation | undefined;
  if (!hasOnly(entry.body, 'invitation') || !isInvitation(invitation))
    return badBody(entry.type, '{invitation: {town, nonce, roles, until, by, sig}}');
  if (invitation.town !== entry.town) return refuse('other-town', 'The invitation is for another town.');
  if (!verifyText(invitation.by, INVITATION_DOMAIN, invitationText(invitation), invitation.sig))
    return refuse('bad-invitation', 'The signature of the invitation does not fit.');
  const host = speakerOf(charter, authority, invitation.by);
  if (host.kind !== 'member' || !permits(charter, host.member.roles, 'member.invite'))
    return refuse('bad-invitation', 'Who signed the invitation may not invite.');
  if (!invitation.roles.every((role) => Object.hasOwn(charter.roles, role)))
    return refuse('bad-invitation', 'The invitation names a role that the charter does not have.');
  if (invitation.roles.includes(STEWARD) && !host.member.roles.includes(STEWARD))
    return refuse('bad-invitation', 'Only a steward can invite a steward.');
  if (time > invitation.until)
    return refuse('invitation-expired', 'The invitation has expired: ask for a new one.');
  if (state.get(KERNEL, 'invitations', invitation.nonce) !== undefined)
    return refuse(
      'invitation-used',
      'The invitation was used already: each is good for one member.',
      `invitations/${invitation.nonce}`,
    );
  const refused = admit(entry, state, context, invitation.roles);
  if (refused) return refused;
  writeJson(state, KERNEL, 'invitations', invitation.nonce, {
    member: memberIdOf(entry.by),
    entry: entry.id,
  });
  return null;
};

function isInvitation(value: unknown): value is Invitation {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  const v = value as { [name: string]: unknown };
  return (
    Object.keys(v).length === 6 &&
    isSha256(v['town']) &&
    isSha256(v['nonce']) &&
    Array.isArray(v['roles']) &&
    v['roles'].length <= 8 &&
    v['roles'].every((role) => typeof role === 'string') &&
    Number.isSafeInteger(v['until']) &&
    isKeyId(v['by']) &&
    typeof v['sig'] === 'string'
  );
}

function admit(
  entry: VerifiedEntry,
  state: Overlay,
  { charter, tau, arrival }: KernelContext,
  roles: readonly string[],
): Finding {
  const { by: key, id: from } = entry;
  if (readKey(state, key)) return refuse('key-known', 'This key belongs to a member already.', `keys/${key}`);
  const id = memberIdOf(key);
  // Ids are 64 bits of a hash: two keys with the same one can be looked for, and found.
  if (readMember(state, id))
    return refuse('member-known', `There is a member ${id} with another key.`, `members/${id}`);
  const given = { status: 'active', entry: from, since: tau } as const;
  const suspended = takeRestriction(state, id);
  const standing = suspended ? { status: 'suspended' as const, ...suspended } : given;
  const member: Member = { id, roles: [...roles].sort(), keys: [key], joined: tau, ...standing };
  writeJson(state, KERNEL, 'members', id, member);
  writeJson(state, KERNEL, 'keys', key, { member: id, ...given } satisfies MemberKey);
  openAccount(state, accountOf(id));
  const { grant } = charter.members;
  if (grant === 0) return null;
  const posting = { op: 'transfer', from: VAULT, to: accountOf(id), amount: grant } as const;
  const paid = move(state, KERNEL, [posting], (account) => account === VAULT, arrival);
  return (
    paid && {
      ...paid,
      code: 'vault-empty',
      reason: `The vault cannot pay the grant of ${grant} credits: ${paid.reason}`,
    }
  );
}

/** A further key of the author, which proves itself by a signature. */
export const addKey: Handler = (entry, state, context) => {
  const { key, proof } = entry.body;
  if (!hasOnly(entry.body, 'key', 'proof') || !isKeyId(key) || typeof proof !== 'string')
    return badBody(entry.type, '{key, proof}');
  const member = authorOf(entry, context);
  if (readKey(state, key)) return refuse('key-known', 'This key belongs to a member already.', `keys/${key}`);
  if (member.keys.length >= KEYS_MAX)
    return refuse('too-many-keys', `A member has at most ${KEYS_MAX} keys.`, `members/${member.id}`);
  if (!verifyText(key, KEY_DOMAIN, keyProofText(entry.town, member.id, key), proof))
    return refuse('bad-proof', 'The new key did not sign for this member.');
  const now = readMember(state, member.id) ?? member;
  writeJson(state, KERNEL, 'members', member.id, { ...now, keys: [...now.keys, key].sort() });
  writeJson(state, KERNEL, 'keys', key, {
    member: member.id,
    status: 'active',
    entry: entry.id,
    since: context.tau,
  } satisfies MemberKey);
  return null;
};

/** Ends a key: one's own, or by who may. What it signed and is not merged yet is rejected. */
export const revokeKey: Handler = (entry, state, context) => {
  const { key } = entry.body;
  if (!hasOnly(entry.body, 'key') || !isKeyId(key)) return badBody(entry.type, '{key}');
  const member = authorOf(entry, context);
  const known = readKey(state, key);
  const about = `keys/${key}`;
  if (known && known.member !== member.id && !member.roles.includes(STEWARD))
    return refuse('not-your-key', 'A member can revoke their own keys; those of others a steward.', about);
  if (!known && !member.roles.includes(STEWARD))
    return refuse('unknown-key', 'No member has this key.', about);
  const holder = known?.status === 'active' ? readMember(state, known.member) : undefined;
  const others = holder?.keys.some((one) => one !== key && readKey(state, one)?.status === 'active');
  const guarded = holder && !others ? lastSteward(state, holder, context) : null;
  if (guarded) return guarded;
  // A revocation of a key not seen yet is kept: the key is dead when it appears.
  const owner = known?.member ?? member.id;
  writeJson(state, KERNEL, 'keys', key, {
    member: owner,
    status: 'revoked',
    entry: entry.id,
    since: context.tau,
  } satisfies MemberKey);
  return null;
};

/** The roles of a member, all of them. */
export const setRoles: Handler = (entry, state, context) => {
  const { charter } = context;
  const { member: id, roles } = entry.body;
  if (
    !hasOnly(entry.body, 'member', 'roles') ||
    !isMemberId(id) ||
    !Array.isArray(roles) ||
    roles.length > 8 ||
    !roles.every((role) => typeof role === 'string')
  )
    return badBody(entry.type, '{member, roles: [..]}');
  const member = readMember(state, id);
  const about = `members/${id}`;
  if (!member) return refuse('no-such-member', `There is no member ${id}.`, about);
  if (member.status === 'left') return refuse('member-left', 'The member has left the town.', about);
  const wanted = [...new Set(roles as string[])].sort();
  if (!wanted.every((role) => Object.hasOwn(charter.roles, role)))
    return refuse('no-such-role', 'The charter does not have one of these roles.');
  const changesSteward = member.roles.includes(STEWARD) !== wanted.includes(STEWARD);
  if (changesSteward && !authorOf(entry, context).roles.includes(STEWARD))
    return refuse('stewards-only', 'Only a steward makes somebody a steward, or takes that back.', about);
  const guarded = wanted.includes(STEWARD) ? null : lastSteward(state, member, context);
  if (guarded) return guarded;
  writeJson(state, KERNEL, 'members', id, { ...member, roles: wanted });
  return null;
};
