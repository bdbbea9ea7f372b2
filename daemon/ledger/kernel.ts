/**
 * What the kernel's entries share: members and their keys, who speaks, what a handler is given and gives back.
 * The kernel is small: identity, permissions, accounts, the charter (kernel-*.ts). Everything else is a dapp.
 */
import type { Arrival, Refusal } from './accounts.js';
import { canonicalize } from './canonical.js';
import { STEWARD, keyOfNode, parseCharter, permits, type Charter } from './charter.js';
import { signersOf, type VerifiedEntry } from './entry.js';
import { isEnvelope } from './envelope.js';
import type { EntryId, Json, JsonObject, KeyId, MemberId, Millis, NodeId, Sha256 } from './ids.js';
import { TownError } from './ids.js';
import { nodeIdOf } from './signature.js';
import { readJson, type Overlay, type StateReader } from './state.js';

export const KERNEL = 'kernel';
export const INVITATION_DOMAIN = 'mergetown/invitation/v1';
export const KEY_DOMAIN = 'mergetown/key/v1';
/** At most this many keys has one member, revoked ones included. */
export const KEYS_MAX = 16;

/** Kept as `kernel/members/<id>`, for ever. */
export interface Member {
  readonly id: MemberId;
  readonly roles: readonly string[];
  /** A suspended member says nothing and still receives credits; who left does neither, and stays in history. */
  readonly status: 'active' | 'suspended' | 'left';
  readonly keys: readonly KeyId[];
  /** The entry time (ms) of the join. */
  readonly joined: number;
  /** The entry that gave the present status, and its time (ms). */
  readonly entry: EntryId;
  readonly since: number;
}

/** Kept as `kernel/keys/<key>`. */
export interface MemberKey {
  readonly member: MemberId;
  readonly status: 'active' | 'revoked';
  /** The entry that gave the present status, and its time (ms). */
  readonly entry: EntryId;
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

interface ReadCharter {
  readonly text: string;
  readonly charter: Charter;
}

/** `main`, a view and a state ahead may have different ones. */
const READ_MAX = 4;
/** The last charters read, by their text: one is asked for at every entry and message and changes once in a while. */
let lastRead: readonly ReadCharter[] = [];

export function readCharter(state: StateReader): Charter {
  const text = state.get(KERNEL, 'charter', 'charter') ?? 'null';
  let read = lastRead.find((known) => known.text === text);
  if (read === undefined) {
    read = { text, charter: parseCharter(JSON.parse(text)) };
    lastRead = [read, ...lastRead].slice(0, READ_MAX);
  }
  return read.charter;
}

/** What a handler may know beside the state it changes. */
export interface KernelContext {
  readonly charter: Charter;
  /** Authority is judged here: the parent state for restrictive entries, else the state as it is by now. */
  readonly authority: StateReader;
  readonly town: Sha256;
  /** Of the merge that is being made, and its time T (ms); `tau` is the entry's own. */
  readonly height: number;
  readonly time: number;
  readonly tau: number;
  readonly arrival: Arrival;
  /** Of the merge before this one: its set and that of this one differ by one at most. */
  readonly validators: readonly string[];
  /** The time (ms) of an adopted merge of this line. @throws TownError `unknown-base` */
  readonly baseTime: (base: Sha256) => Millis;
}

/** Who speaks: a member by an active key, a node by its own, somebody who may not any more, or nobody known. */
export type Speaker =
  | { readonly kind: 'member'; readonly member: Member }
  | { readonly kind: 'node'; readonly node: NodeId }
  | { readonly kind: 'unknown' }
  /** `entry`: what took the say from them. */
  | {
      readonly kind: 'revoked' | 'suspended' | 'left';
      readonly member: MemberId;
      readonly entry: EntryId;
    };

export function speakerOf(charter: Charter, state: StateReader, key: KeyId): Speaker {
  // First: were it a member's key too, or revoked as one, what the node sees and pays would be on record nevertheless.
  const node = nodeIdOf(key);
  if (keyOfNode(charter, node) === key) return { kind: 'node', node };
  const known = readKey(state, key);
  if (known) {
    if (known.status !== 'active') return { kind: 'revoked', member: known.member, entry: known.entry };
    const member = readMember(state, known.member);
    if (!member) return { kind: 'unknown' };
    return member.status === 'active'
      ? { kind: 'member', member }
      : { kind: member.status, member: member.id, entry: member.entry };
  }
  return { kind: 'unknown' };
}

/**
 * What a handler makes of an entry. Null: accepted. A refusal: nothing of what it changed stays. With `irregular`
 * (facts alone): what it changed stays, and the fact is on record as one that broke a rule.
 */
export type Finding = (Refusal & { readonly irregular?: true }) | null;

/** Judges a kernel entry whose author may say it; changes the overlay. A TownError it throws is a refusal. */
export type Handler = (entry: VerifiedEntry, state: Overlay, context: KernelContext) => Finding;

/** One type of the kernel's entries. */
export interface Rule {
  readonly handler: Handler;
  /** A claim asks and may be refused; a fact is what a node saw or did, signed by it, and never rejected. */
  readonly kind: 'claim' | 'fact';
  /** Revokes or suspends: goes first in a merge, judged on the parent state, and holds from any verified head at once. */
  readonly restrictive?: true;
  /** Who may say it is judged by the handler itself, not by the roles of the charter. */
  readonly open?: true;
}

/** A refusal; `about`: `<collection>/<key>` or `<collection>/` of the kernel's state that it hinged on. */
export const refuse = (code: string, reason: string, about?: string): Refusal => ({
  code,
  reason,
  ...(about === undefined ? {} : { about }),
});
export const badBody = (type: string, wants: string): Refusal =>
  refuse('bad-body', `The body of ${type} must be ${wants}.`);

export const hasOnly = (body: JsonObject, ...names: readonly string[]): boolean =>
  Object.keys(body).every((name) => names.includes(name));
/** Words for people in an entry: sealed or absent. */
export const isMemo = (memo: Json | undefined): boolean => memo === undefined || isEnvelope(memo);

/** The member who signed. @throws TownError `members-only` */
export function authorOf(entry: VerifiedEntry, context: KernelContext): Member {
  const speaker = speakerOf(context.charter, context.authority, entry.by);
  if (speaker.kind !== 'member') throw new TownError('members-only', 'Only a member can say this.');
  return speaker.member;
}

/**
 * Whether as many stewards signed as the charter's `amend` rule asks for: those who may change the charter, each once,
 * whatever number of keys they have.
 */
export function tooFewStewards(entry: VerifiedEntry, { charter, authority }: KernelContext): Refusal | null {
  const stewards = new Set<string>();
  for (const key of signersOf(entry)) {
    const speaker = speakerOf(charter, authority, key);
    if (speaker.kind === 'member' && permits(charter, speaker.member.roles, 'charter.change'))
      stewards.add(speaker.member.id);
  }
  if (stewards.size >= charter.amend) return null;
  return refuse(
    'too-few-signatures',
    `This is signed by ${charter.amend} stewards, as the charter's "amend" says; ${stewards.size} signed.`,
  );
}

/** Every key of one of the kernel's collections, in bytewise order. */
export function* keysOf(state: StateReader, collection: string): Generator<string> {
  for (let after = ''; ;) {
    const page = state.keys(KERNEL, collection, after, 1024);
    yield* page;
    if (page.length < 1024) return;
    after = page[page.length - 1] as string;
  }
}

/** Active members with the role of a steward and a key to sign with. */
export function countStewards(state: StateReader): number {
  let count = 0;
  for (const id of keysOf(state, 'members')) {
    const member = readMember(state, id);
    if (member && isSigningSteward(state, member)) count += 1;
  }
  return count;
}

/** Whether a member can sign as a steward. */
export const isSigningSteward = (state: StateReader, { status, roles, keys }: Member): boolean =>
  status === 'active' &&
  roles.includes(STEWARD) &&
  keys.some((key) => readKey(state, key)?.status === 'active');
