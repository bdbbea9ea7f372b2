/**
 * The side of joining that invites, as a pure state machine: whose ask counts, who waits for a steward, and what is answered.
 * The order in which the caller must work: on `keep`, make the record durable before any `send` that stands behind it; after a
 * restart `startHost` is given the records. So an invitation is used once, whatever happens.
 */
import { canonicalize } from '../ledger/canonical.js';
import type { KeyId, NodeId, Sha256 } from '../ledger/ids.js';
import { invariant, TownError } from '../ledger/ids.js';
import { isSealingKey, sealTo } from '../ledger/sealing.js';
import { nodeIdOf, publicKeyOf } from '../ledger/signature.js';
import { checkInvitation, isPlainName, type Invitation } from './invitation.js';
import {
  ASK_BYTES_MAX,
  counted,
  GRACE_MS,
  isProven,
  isRefusalCode,
  isWelcome,
  joinTopic,
  makeAnswer,
  openAsk,
  partAbout,
  readJoinTopic,
  REASON_MAX,
  sealJoining,
  WELCOME_BYTES_MAX,
  welcomeAbout,
  type AnswerContent,
  type Ask,
  type Counts,
  type Welcome,
} from './joining.js';

/** Invitations at a time, those included whose asker waits or was answered within the grace. */
export const INVITATIONS_MAX = 32;
/** One answer in this time for the asker of an invitation, and one for all others who show it. Below the asker's own pause. */
export const ANSWER_GAP_MS = 1_000;

/** Said to a node that has shown the right secret and is not let in. */
type TurnedAway = 'other-town' | 'invitation-expired' | 'invitation-used';

/** Why an ask came to nothing. All but `TurnedAway` are counted and not answered. */
export type HostRefusal =
  | TurnedAway
  | 'foreign-topic'
  | 'retained-command'
  | 'too-large'
  | 'unknown-invitation'
  | 'not-sealed'
  | 'bad-ask'
  | 'bad-signature'
  | 'too-often';

/** The node that showed an invitation first. */
export interface Asker {
  readonly key: KeyId;
  readonly node: NodeId;
  readonly sealing: string;
  readonly name: string;
  readonly nonce: string;
  readonly askedAt: number;
}

/** What the host keeps of an invitation: plain JSON. Holds the secret: never in the ledger or a log. */
export interface HostedInvitation {
  readonly invitation: Invitation;
  readonly asker: Asker | null;
  /** `waiting` also before anybody asked. */
  readonly answer: AnswerContent;
}

interface Answered {
  readonly asker: number | null;
  readonly others: number | null;
  /** The part of a state that was asked for last, and when. */
  readonly part?: { readonly number: number; readonly at: number };
}

export interface HostState {
  readonly town: Sha256;
  readonly node: NodeId;
  readonly secretKey: Uint8Array;
  readonly invitations: ReadonlyMap<string, HostedInvitation>;
  /** When the last answer went out, to the asker and to the others. */
  readonly answered: ReadonlyMap<string, Answered>;
  readonly refusals: Counts<HostRefusal>;
}

export type HostInput =
  | { readonly t: 'invite'; readonly invitation: Invitation; readonly now: number }
  /** A steward takes an invitation back. */
  | { readonly t: 'withdraw'; readonly id: string; readonly now: number }
  | {
      readonly t: 'message';
      readonly topic: string;
      readonly payload: string;
      readonly retained: boolean;
      readonly now: number;
    }
  /** A steward lets in the node with this key: the one they saw. `ephemeral`: 32 random bytes. */
  | {
      readonly t: 'approve';
      readonly id: string;
      readonly key: KeyId;
      readonly welcome: Welcome;
      readonly ephemeral: Uint8Array;
      readonly now: number;
    }
  | {
      readonly t: 'refuse';
      readonly id: string;
      /** Lower-case words with dashes, at most 64 characters. A reason is cut at 250. */
      readonly code: string;
      readonly reason: string;
      readonly now: number;
    }
  /** The part of a state that was `wanted`. `ephemeral`: 32 random bytes. */
  | {
      readonly t: 'part';
      readonly id: string;
      readonly part: number;
      readonly text: string;
      readonly ephemeral: Uint8Array;
      readonly now: number;
    }
  /** Now and then, an hour is enough: drops what is over. */
  | { readonly t: 'tick'; readonly now: number };

export type HostOutput =
  /** Make durable, under the invitation's id, before what follows. */
  | { readonly t: 'keep'; readonly record: HostedInvitation }
  | { readonly t: 'forget'; readonly id: string }
  | { readonly t: 'send'; readonly topic: string; readonly payload: string }
  /** A node waits for a steward: told once. */
  | { readonly t: 'asked'; readonly id: string; readonly asker: Asker }
  /** The node that was welcomed wants this part of what the town split off with: answer with the input `part`. */
  | { readonly t: 'wanted'; readonly id: string; readonly part: number }
  | { readonly t: 'refused'; readonly id: string | null; readonly reason: HostRefusal };

type Turn = { readonly state: HostState; readonly outputs: readonly HostOutput[] };

/** The host with what it kept. `secretKey`: Ed25519 seed of this node. */
export function startHost(options: {
  readonly town: Sha256;
  readonly secretKey: Uint8Array;
  readonly records: readonly HostedInvitation[];
}): HostState {
  const { town, secretKey, records } = options;
  return {
    town,
    node: nodeIdOf(publicKeyOf(secretKey)),
    secretKey,
    invitations: new Map(records.map((record) => [record.invitation.id, record])),
    answered: new Map(),
    refusals: {},
  };
}

/**
 * Takes one input: the state that follows, and what the caller has to do now, in this order.
 * @throws TownError for what a person asks for and cannot have: `bad-invitation`, `too-many-invitations`, `no-such-invitation`,
 *   `nobody-waits`, `other-asker`, `already-answered`, `bad-welcome`, `welcome-too-large`. Messages never throw.
 */
export function stepHost(state: HostState, input: HostInput): Turn {
  switch (input.t) {
    case 'invite':
      return invite(state, input.invitation, input.now);
    case 'withdraw':
      return withdraw(state, input.id, input.now);
    case 'message':
      return heard(state, input);
    case 'approve':
      return approve(state, input);
    case 'refuse':
      return settle(state, waitingRecord(state, input.id), refusedWith(input.code, input.reason), input.now);
    case 'part':
      return givePart(state, input);
    case 'tick':
      return tidy(state, input.now);
  }
}

/** The nodes that wait for a steward, the first to ask first. */
export const waitingAskers = (
  state: HostState,
): readonly { readonly invitation: Invitation; readonly asker: Asker }[] =>
  [...state.invitations.values()]
    .flatMap(({ invitation, asker, answer }) =>
      asker && answer.status === 'waiting' ? [{ invitation, asker }] : [],
    )
    .sort((a, b) => a.asker.askedAt - b.asker.askedAt);

const isOver = ({ invitation }: HostedInvitation, now: number): boolean =>
  now >= invitation.expires + GRACE_MS;

function forget(state: HostState, ids: readonly string[]): Turn {
  if (ids.length === 0) return { state, outputs: [] };
  const keep = <T>(map: ReadonlyMap<string, T>) => new Map([...map].filter(([id]) => !ids.includes(id)));
  return {
    state: { ...state, invitations: keep(state.invitations), answered: keep(state.answered) },
    outputs: ids.map((id) => ({ t: 'forget', id })),
  };
}

const idsOf = (state: HostState, which: (record: HostedInvitation) => boolean): readonly string[] =>
  [...state.invitations.values()].filter(which).map(({ invitation }) => invitation.id);

const tidy = (state: HostState, now: number): Turn =>
  forget(
    state,
    idsOf(state, (record) => isOver(record, now)),
  );

/** As `tidy`; when there is no place left, those too that ran out and were never shown. */
function makePlace(state: HostState, now: number): Turn {
  const isFull = idsOf(state, (record) => !isOver(record, now)).length >= INVITATIONS_MAX;
  const isUseless = (record: HostedInvitation): boolean =>
    isOver(record, now) || (isFull && record.asker === null && now >= record.invitation.expires);
  return forget(state, idsOf(state, isUseless));
}

const withRecord = (state: HostState, record: HostedInvitation): HostState => ({
  ...state,
  invitations: new Map(state.invitations).set(record.invitation.id, record),
});

function invite(before: HostState, invitation: Invitation, now: number): Turn {
  const { state, outputs } = makePlace(before, now);
  checkInvitation(invitation);
  const bad = (why: string): TownError => new TownError('bad-invitation', `This is no invitation: ${why}.`);
  if (invitation.town !== state.town || invitation.host !== state.node)
    throw bad('it is not for this town or not from this node');
  if (invitation.expires <= now) throw bad('it has run out already');
  if (state.invitations.has(invitation.id)) throw bad('its id is taken');
  if (state.invitations.size >= INVITATIONS_MAX)
    throw new TownError(
      'too-many-invitations',
      `${INVITATIONS_MAX} invitations are open or were used lately.`,
      'Withdraw one that is not needed, or wait until one has run out.',
    );
  const record: HostedInvitation = { invitation, asker: null, answer: { status: 'waiting' } };
  return { state: withRecord(state, record), outputs: [...outputs, { t: 'keep', record }] };
}

function recordOf(state: HostState, id: string): HostedInvitation {
  const record = state.invitations.get(id);
  if (record) return record;
  throw new TownError('no-such-invitation', `There is no invitation ${id}.`, 'See them: town node list');
}

/** An invitation that a node has shown and nobody has answered yet. */
function waitingRecord(state: HostState, id: string): HostedInvitation & { readonly asker: Asker } {
  const record = recordOf(state, id);
  if (!record.asker) throw new TownError('nobody-waits', `No node has shown the invitation ${id} yet.`);
  assertOpen(record);
  return { ...record, asker: record.asker };
}

function assertOpen({ invitation, answer }: HostedInvitation): void {
  if (answer.status !== 'waiting')
    throw new TownError(
      'already-answered',
      `The invitation ${invitation.id} is answered already: ${answer.status}.`,
      'A node that was let in is taken out again by a change of the charter.',
    );
}

/** Line breaks and control characters would let a reason paint on the other side's terminal. */
function refusedWith(code: string, reason: string): AnswerContent {
  invariant(isRefusalCode(code), 'the code of a refusal is lower-case words with dashes');
  const plain = Array.from(reason.replace(/[\p{Cc}\p{Cs}]/gu, ' '));
  return { status: 'refused', code, reason: plain.slice(0, REASON_MAX).join('') };
}

function withdraw(state: HostState, id: string, now: number): Turn {
  const record = recordOf(state, id);
  assertOpen(record);
  // Nobody has seen it: gone at once, and its place is free. Who shows it later is told nothing, as with any wrong code.
  if (!record.asker) return forget(state, [id]);
  return settle(state, { ...record, asker: record.asker }, WITHDRAWN, now);
}

function approve(state: HostState, input: HostInput & { t: 'approve' }): Turn {
  const record = waitingRecord(state, input.id);
  const { invitation, asker } = record;
  if (asker.key !== input.key)
    throw new TownError(
      'other-asker',
      `The node that waits with the invitation ${input.id} is ${asker.node}, another than the one approved.`,
      'Compare the ids of the nodes on both screens.',
    );
  // Who has no doors cannot tell badges apart, whatever the caller put in.
  const badgeKey = invitation.role === 'door' ? input.welcome.badgeKey : null;
  const welcome: Welcome = { ...input.welcome, badgeKey };
  if (!isWelcome(welcome) || welcome.town !== state.town || (invitation.role === 'door' && badgeKey === null))
    throw new TownError('bad-welcome', 'This is no welcome to this town.');
  const bytes = Buffer.from(canonicalize(welcome), 'utf8');
  if (bytes.length > WELCOME_BYTES_MAX)
    throw new TownError(
      'welcome-too-large',
      `The welcome has ${bytes.length} bytes; a message carries ${WELCOME_BYTES_MAX}.`,
      'The first charter or the list of nodes is too long to join over MQTT.',
    );
  const about = welcomeAbout(state.town, invitation.id, asker.key);
  const sealed = sealTo(asker.sealing, bytes, about, input.ephemeral);
  return settle(state, record, { status: 'welcome', sealed }, input.now);
}

/** Writes down the last word on an invitation, then says it. */
function settle(
  before: HostState,
  record: HostedInvitation & { readonly asker: Asker },
  answer: AnswerContent,
  now: number,
): Turn {
  const settled: HostedInvitation = { ...record, answer };
  const { state, outputs } = send(withRecord(before, settled), record.invitation, record.asker, answer, now);
  return { state, outputs: [{ t: 'keep', record: settled }, ...outputs] };
}

/** An answer to the node that holds the invitation. */
function send(
  state: HostState,
  invitation: Invitation,
  to: Pick<Ask, 'nonce'>,
  content: AnswerContent,
  now: number,
  whom: 'asker' | 'others' = 'asker',
): Turn {
  const { id } = invitation;
  const answer = makeAnswer({ town: state.town, invitation: id, nonce: to.nonce }, content, state.secretKey);
  const last = state.answered.get(id) ?? { asker: null, others: null };
  return {
    state: { ...state, answered: new Map(state.answered).set(id, { ...last, [whom]: now }) },
    outputs: [
      {
        t: 'send',
        topic: joinTopic(state.town, id, 'answer'),
        payload: sealJoining(invitation, 'answer', answer),
      },
    ],
  };
}

const TURNED_AWAY: { readonly [reason in TurnedAway]: AnswerContent } = {
  'other-town': refusedWith('other-town', 'The invitation is for another town than the node names.'),
  'invitation-expired': refusedWith('invitation-expired', 'The invitation has run out.'),
  'invitation-used': refusedWith('invitation-used', 'Another node has used this invitation already.'),
};
const WITHDRAWN = refusedWith('invitation-withdrawn', 'The invitation was taken back.');

function refuse(before: HostState, id: string | null, reason: HostRefusal): Turn {
  return {
    state: { ...before, refusals: counted(before.refusals, reason) },
    outputs: [{ t: 'refused', id, reason }],
  };
}

function heard(state: HostState, message: HostInput & { t: 'message' }): Turn {
  const topic = readJoinTopic(message.topic);
  if (topic?.direction !== 'ask') return refuse(state, null, 'foreign-topic');
  const id = topic.invitation;
  if (topic.town16 !== state.town.slice(0, 16)) return refuse(state, id, 'other-town');
  if (message.retained) return refuse(state, id, 'retained-command');
  if (Buffer.byteLength(message.payload) > ASK_BYTES_MAX) return refuse(state, id, 'too-large');
  const record = state.invitations.get(id);
  if (!record || isOver(record, message.now)) return refuse(state, id, 'unknown-invitation');
  const ask = openAsk(record.invitation, message.payload);
  if (typeof ask === 'string') return refuse(state, id, ask);
  return asked(state, record, ask, message.now);
}

function asked(state: HostState, record: HostedInvitation, ask: Ask, now: number): Turn {
  const { invitation, asker } = record;
  const { id } = invitation;
  if (!isSealingKey(ask.sealing) || !isPlainName(ask.name)) return refuse(state, id, 'bad-ask');
  if (!isProven(ask)) return refuse(state, id, 'bad-signature');
  const isOurs = ask.town === state.town;
  if (asker === null && isOurs && now < invitation.expires) return claim(state, record, ask, now);
  const isAsker = isOurs && asker !== null && asker.key === ask.key && asker.sealing === ask.sealing;
  if (isAsker && ask.part !== undefined && record.answer.status === 'welcome')
    return wantPart(state, { ...record, asker }, { ...ask, part: ask.part }, now);
  const last = state.answered.get(id)?.[isAsker ? 'asker' : 'others'] ?? null;
  if (last !== null && Math.abs(now - last) < ANSWER_GAP_MS) return refuse(state, id, 'too-often');
  if (isAsker) {
    // It may have started again with a new nonce: what the steward decides later goes to the present attempt.
    const renewed = withRecord(state, { ...record, asker: { ...asker, nonce: ask.nonce } });
    return send(renewed, invitation, ask, record.answer, now);
  }
  const reason: TurnedAway = !isOurs ? 'other-town' : asker ? 'invitation-used' : 'invitation-expired';
  const { state: after, outputs } = refuse(state, id, reason);
  const sent = send(after, invitation, ask, TURNED_AWAY[reason], now, 'others');
  return { state: sent.state, outputs: [...outputs, ...sent.outputs] };
}

/** Whom the charter has let in asks for part after part; for the same one again once in the gap, as its answer may be lost. */
function wantPart(
  before: HostState,
  record: HostedInvitation & { readonly asker: Asker },
  { part, nonce }: { readonly part: number; readonly nonce: string },
  now: number,
): Turn {
  const { id } = record.invitation;
  const last = before.answered.get(id) ?? { asker: null, others: null };
  if (last.part?.number === part && Math.abs(now - last.part.at) < ANSWER_GAP_MS)
    return refuse(before, id, 'too-often');
  const answered = new Map(before.answered).set(id, { ...last, part: { number: part, at: now } });
  const renewed = withRecord({ ...before, answered }, { ...record, asker: { ...record.asker, nonce } });
  return { state: renewed, outputs: [{ t: 'wanted', id, part }] };
}

/** Says nothing where the invitation is gone by now, or its asker was not let in. */
function givePart(state: HostState, { id, part, text, ephemeral, now }: HostInput & { t: 'part' }): Turn {
  const { invitation, asker, answer } = state.invitations.get(id) ?? { asker: null };
  if (!invitation || asker === null || answer?.status !== 'welcome') return { state, outputs: [] };
  const about = partAbout(state.town, id, asker.key, part);
  const sealed = sealTo(asker.sealing, Buffer.from(text, 'utf8'), about, ephemeral);
  return send(state, invitation, asker, { status: 'part', part, sealed }, now);
}

/** The first node that shows an invitation has it, and nobody else ever. */
function claim(before: HostState, { invitation }: HostedInvitation, ask: Ask, now: number): Turn {
  const key = ask.key as KeyId;
  const { sealing, name, nonce } = ask;
  const asker: Asker = { key, node: nodeIdOf(key), sealing, name, nonce, askedAt: now };
  const record: HostedInvitation = { invitation, asker, answer: { status: 'waiting' } };
  const { state, outputs } = send(withRecord(before, record), invitation, ask, record.answer, now);
  const { id } = invitation;
  return { state, outputs: [{ t: 'keep', record }, { t: 'asked', id, asker }, ...outputs] };
}
