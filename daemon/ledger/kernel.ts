/**
 * The kernel's own entries: identity, permissions, accounts, the charter. Everything else is a dapp.
 * Each handler changes the overlay and returns null, or returns the rule that refuses the entry.
 */
import { VAULT, accountOf, move, openAccount, type Arrival, type Refusal } from './accounts.js';
import { canonicalize } from './canonical.js';
import {
  MEMBER,
  STEWARD,
  changeCharter,
  charterText,
  keyOfNode,
  parseCharter,
  permits,
  type Charter,
  type CharterChange,
} from './charter.js';
import type { VerifiedEntry } from './entry.js';
import { signersOf, verbOf, dappOf } from './entry.js';
import { isEnvelope } from './envelope.js';
import type { Json, JsonObject, KeyId, MemberId, NodeId } from './ids.js';
import { TownError, isKeyId, isMemberId, isSha256 } from './ids.js';
import { memberIdOf, nodeIdOf, verifyText } from './signature.js';
import type { StateReader } from './state.js';
import { type Overlay, readJson, writeJson } from './state.js';

const KERNEL = 'kernel';
export const INVITATION_DOMAIN = 'mergetown/invitation/v1';
export const KEY_DOMAIN = 'mergetown/key/v1';
/** At most this many keys has one member, revoked ones included. */
export const KEYS_MAX = 16;

export interface Member {
  readonly id: MemberId;
  readonly roles: readonly string[];
  readonly status: 'active';
  readonly keys: readonly KeyId[];
  /** The entry time (ms) of the join. */
  readonly joined: number;
}

export interface MemberKey {
  readonly member: MemberId;
  readonly status: 'active' | 'revoked';
  readonly since: number;
}

/** The right to join once, signed by a member who may invite. `until` in ms. */
export interface Invitation {
  readonly town: string;
  readonly nonce: string;
  readonly roles: readonly string[];
  readonly until: number;
  readonly by: KeyId;
  readonly sig: string;
}

export const invitationText = ({ town, nonce, roles, until }: Omit<Invitation, 'by' | 'sig'>): string =>
  canonicalize({ town, nonce, roles, until });
export const keyProofText = (town: string, member: string, key: string): string =>
  canonicalize({ town, member, key });

export const readMember = (state: StateReader, id: string): Member | undefined =>
  readJson(state, KERNEL, 'members', id);
export const readKey = (state: StateReader, key: string): MemberKey | undefined =>
  readJson(state, KERNEL, 'keys', key);

/** The last charter read, by its text: it is asked for at every entry and changes once in a while. */
let lastRead: { readonly text: string; readonly charter: Charter } | null = null;

export function readCharter(state: StateReader): Charter {
  const text = state.get(KERNEL, 'charter', 'charter') ?? 'null';
  if (lastRead?.text !== text) lastRead = { text, charter: parseCharter(JSON.parse(text)) };
  return lastRead.charter;
}

/** Kernel verbs that revoke: they go first in a merge. */
export const KERNEL_RESTRICTIVE: ReadonlySet<string> = new Set(['member.revoke-key']);

/** What a handler may know beside the state it changes. */
export interface KernelContext {
  readonly charter: Charter;
  /** Authority is judged here: the parent state for restrictive entries, else the state as it is by now. */
  readonly authority: StateReader;
  readonly time: number;
  readonly tau: number;
  readonly arrival: Arrival;
}

/** Who speaks: a member by an active key, a node by its own, or nobody known. */
export type Speaker =
  | { readonly kind: 'member'; readonly member: Member }
  | { readonly kind: 'node'; readonly node: NodeId }
  | { readonly kind: 'unknown' }
  | { readonly kind: 'revoked'; readonly member: MemberId };

export function speakerOf(charter: Charter, state: StateReader, key: KeyId): Speaker {
  const known = readKey(state, key);
  if (known) {
    if (known.status !== 'active') return { kind: 'revoked', member: known.member };
    const member = readMember(state, known.member);
    return member ? { kind: 'member', member } : { kind: 'unknown' };
  }
  const node = nodeIdOf(key);
  return keyOfNode(charter, node) === key ? { kind: 'node', node } : { kind: 'unknown' };
}

type Handler = (entry: VerifiedEntry, state: Overlay, context: KernelContext) => Refusal | null;

const refuse = (code: string, reason: string): Refusal => ({ code, reason });
const badBody = (type: string, wants: string): Refusal =>
  refuse('bad-body', `The body of ${type} must be ${wants}.`);

const hasOnly = (body: JsonObject, ...names: readonly string[]): boolean =>
  Object.keys(body).every((name) => names.includes(name));
const isMemo = (memo: Json | undefined): boolean => memo === undefined || isEnvelope(memo);

/** The town's first steward: vouched for by a founding node, once, while there are no members. */
const found: Handler = (entry, state, { charter, tau, arrival }) => {
  if (!hasOnly(entry.body)) return badBody(entry.type, 'empty');
  if (state.keys(KERNEL, 'members', '', 1).length > 0)
    return refuse('founded-already', 'The town has members: further ones join by invitation.');
  const vouched = (entry.cosigned ?? []).some(({ by }) => keyOfNode(charter, nodeIdOf(by)) === by);
  if (!vouched) return refuse('not-vouched-for', 'A node of the charter must co-sign the first steward.');
  return admit(state, charter, entry.by, [MEMBER, STEWARD], tau, arrival);
};

/** A new member, by their own new key and an invitation. */
const join: Handler = (entry, state, { charter, time, tau, arrival, authority }) => {
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
    return refuse('invitation-used', 'The invitation was used already: each is good for one member.');
  const refused = admit(state, charter, entry.by, invitation.roles, tau, arrival);
  if (refused) return refused;
  writeJson(state, KERNEL, 'invitations', invitation.nonce, { member: memberIdOf(entry.by) });
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
  state: Overlay,
  charter: Charter,
  key: KeyId,
  roles: readonly string[],
  tau: number,
  arrival: Arrival,
): Refusal | null {
  if (readKey(state, key)) return refuse('key-known', 'This key belongs to a member already.');
  const id = memberIdOf(key);
  const member: Member = { id, roles: [...roles].sort(), status: 'active', keys: [key], joined: tau };
  writeJson(state, KERNEL, 'members', id, member);
  writeJson(state, KERNEL, 'keys', key, { member: id, status: 'active', since: tau } satisfies MemberKey);
  openAccount(state, accountOf(id));
  const { grant } = charter.members;
  if (grant === 0) return null;
  const paid = move(
    state,
    KERNEL,
    [{ op: 'transfer', from: VAULT, to: accountOf(id), amount: grant }],
    (account) => account === VAULT,
    arrival,
  );
  return paid && refuse('vault-empty', `The vault cannot pay the grant of ${grant} credits: ${paid.reason}`);
}

function author(entry: VerifiedEntry, context: KernelContext): Member {
  const speaker = speakerOf(context.charter, context.authority, entry.by);
  if (speaker.kind !== 'member') throw new TownError('members-only', 'Only a member can say this.');
  return speaker.member;
}

/** A further key of the author, which proves itself by a signature. */
const addKey: Handler = (entry, state, context) => {
  const { key, proof } = entry.body;
  if (!hasOnly(entry.body, 'key', 'proof') || !isKeyId(key) || typeof proof !== 'string')
    return badBody(entry.type, '{key, proof}');
  const member = author(entry, context);
  if (readKey(state, key)) return refuse('key-known', 'This key belongs to a member already.');
  if (member.keys.length >= KEYS_MAX)
    return refuse('too-many-keys', `A member has at most ${KEYS_MAX} keys.`);
  if (!verifyText(key, KEY_DOMAIN, keyProofText(entry.town, member.id, key), proof))
    return refuse('bad-proof', 'The new key did not sign for this member.');
  const now = readMember(state, member.id) ?? member;
  writeJson(state, KERNEL, 'members', member.id, { ...now, keys: [...now.keys, key].sort() });
  writeJson(state, KERNEL, 'keys', key, { member: member.id, status: 'active', since: context.tau });
  return null;
};

/** Ends a key: one's own, or by who may. What it signed and is not merged yet is rejected. */
const revokeKey: Handler = (entry, state, context) => {
  const { key } = entry.body;
  if (!hasOnly(entry.body, 'key') || !isKeyId(key)) return badBody(entry.type, '{key}');
  const member = author(entry, context);
  const known = readKey(state, key);
  if (known && known.member !== member.id && !member.roles.includes(STEWARD))
    return refuse('not-your-key', 'A member can revoke their own keys; those of others a steward.');
  if (!known && !member.roles.includes(STEWARD)) return refuse('unknown-key', 'No member has this key.');
  // A revocation of a key not seen yet is kept: the key is dead when it appears.
  const owner = known?.member ?? member.id;
  writeJson(state, KERNEL, 'keys', key, { member: owner, status: 'revoked', since: context.tau });
  return null;
};

const setRoles: Handler = (entry, state, context) => {
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
  if (!member) return refuse('no-such-member', `There is no member ${id}.`);
  const wanted = [...new Set(roles as string[])].sort();
  if (!wanted.every((role) => Object.hasOwn(charter.roles, role)))
    return refuse('no-such-role', 'The charter does not have one of these roles.');
  const changesSteward = member.roles.includes(STEWARD) !== wanted.includes(STEWARD);
  if (changesSteward && !author(entry, context).roles.includes(STEWARD))
    return refuse('stewards-only', 'Only a steward makes somebody a steward, or takes that back.');
  if (member.roles.includes(STEWARD) && !wanted.includes(STEWARD) && countStewards(state) <= charter.amend)
    return refuse('last-steward', 'Then too few stewards would be left to change the charter.');
  writeJson(state, KERNEL, 'members', id, { ...member, roles: wanted });
  return null;
};

function countStewards(state: StateReader): number {
  let count = 0;
  for (let after = ''; ;) {
    const page = state.keys(KERNEL, 'members', after, 1024);
    for (const id of page) if (readMember(state, id)?.roles.includes(STEWARD)) count += 1;
    if (page.length < 1024) return count;
    after = page[page.length - 1] as string;
  }
}

/** Credits from an account that this entry may take from, to a member. */
function pay(entry: VerifiedEntry, state: Overlay, from: string, arrival: Arrival): Refusal | null {
  const { to, amount, memo } = entry.body;
  const isRight =
    hasOnly(entry.body, 'to', 'amount', 'memo') &&
    isMemberId(to) &&
    Number.isSafeInteger(amount) &&
    isMemo(memo);
  if (!isRight) return badBody(entry.type, '{to: <member>, amount, memo?: <envelope>}');
  const posting = { op: 'transfer', from, to: accountOf(to), amount: amount as number } as const;
  return move(state, KERNEL, [posting], (account) => account === from, arrival);
}

const transfer: Handler = (entry, state, context) =>
  pay(entry, state, accountOf(author(entry, context).id), context.arrival);

/** Credits out of the vault, by who may. */
const grant: Handler = (entry, state, { arrival }) => pay(entry, state, VAULT, arrival);

const change: Handler = (entry, state, { charter, authority }) => {
  const { set, remove } = entry.body;
  const isObject = typeof set === 'object' && set !== null && !Array.isArray(set);
  if (
    !hasOnly(entry.body, 'set', 'remove') ||
    !isObject ||
    !Array.isArray(remove) ||
    !remove.every((r) => typeof r === 'string')
  )
    return badBody(entry.type, '{set: {pointer: value}, remove: [pointer]}');
  const stewards = new Set<string>();
  for (const key of signersOf(entry)) {
    const speaker = speakerOf(charter, authority, key);
    if (speaker.kind === 'member' && permits(charter, speaker.member.roles, 'charter.change'))
      stewards.add(speaker.member.id);
  }
  if (stewards.size < charter.amend)
    return refuse(
      'too-few-signatures',
      `The charter is changed by ${charter.amend} stewards; ${stewards.size} signed.`,
    );
  const next = changeCharter(charter, { set, remove } as CharterChange);
  if (next.amend > countStewards(state))
    return refuse('too-few-stewards', `There are fewer than ${next.amend} stewards to sign the next change.`);
  state.put(KERNEL, 'charter', 'charter', charterText(next));
  return null;
};

interface Rule {
  readonly handler: Handler;
  /** Who may say it is judged by the handler itself, not by the roles of the charter. */
  readonly open?: boolean;
}

const RULES: ReadonlyMap<string, Rule> = new Map<string, Rule>([
  ['member.found', { handler: found, open: true }],
  ['member.join', { handler: join, open: true }],
  ['member.add-key', { handler: addKey }],
  ['member.revoke-key', { handler: revokeKey }],
  ['member.roles', { handler: setRoles }],
  ['credit.transfer', { handler: transfer }],
  ['credit.grant', { handler: grant }],
  ['charter.change', { handler: change }],
]);

export const isKernelType = (type: string): boolean => RULES.has(type);
export const isOpenKernelType = (type: string): boolean => RULES.get(type)?.open === true;

/** Judges a kernel entry whose author may say it; changes the overlay, or refuses (then drop the overlay). */
export function applyKernelEntry(
  entry: VerifiedEntry,
  state: Overlay,
  context: KernelContext,
): Refusal | null {
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
