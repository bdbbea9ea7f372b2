/**
 * The side of joining that was invited, as a pure state machine: it asks, again and again with a growing pause, until the host
 * has answered or the invitation has run out. What it is told it believes only after it has checked it: the host's signature,
 * that the genesis hashes to the town of the invitation, that the checkpoint fits.
 */
import { parseCharter, type Charter } from '../ledger/charter.js';
import type { KeyId, Sha256 } from '../ledger/ids.js';
import { invariant, TownError } from '../ledger/ids.js';
import { readGenesis, type Genesis } from '../ledger/merge.js';
import { openSealed, sealingKeyOf } from '../ledger/sealing.js';
import { nodeIdOf } from '../ledger/signature.js';
import { checkInvitation, isPlainName, type Invitation } from './invitation.js';
import {
  ANSWER_BYTES_MAX,
  counted,
  GRACE_MS,
  isFromHost,
  isWelcome,
  joinTopic,
  makeAsk,
  openAnswer,
  partAbout,
  sealJoining,
  welcomeAbout,
  type Answer,
  type Ask,
  type Counts,
  type Welcome,
} from './joining.js';
import { PART_CHARS_MAX, unpackSplit, type PackedSplit } from './split-welcome.js';

/** The pause between two asks: doubled each time, from the first to the last. */
export const ASK_PAUSE_FIRST_MS = 2_000;
export const ASK_PAUSE_LAST_MS = 60_000;

/** Why a message was passed over. The asker goes on. */
export type AskerIgnored =
  | 'foreign-topic'
  | 'too-large'
  | 'retained-command'
  | 'not-sealed'
  | 'bad-answer'
  | 'bad-signature'
  | 'other-ask'
  | 'already-answered';

export type AskerInput =
  | { readonly t: 'tick'; readonly now: number }
  | {
      readonly t: 'message';
      readonly topic: string;
      readonly payload: string;
      readonly retained: boolean;
      readonly now: number;
    };

export type AskerOutput =
  | { readonly t: 'send'; readonly topic: string; readonly payload: string }
  /** Feed a `tick` at this time; earlier and later ones do no harm. */
  | { readonly t: 'wake'; readonly at: number }
  /** The host has the ask; a steward has to approve it. Told once. */
  | { readonly t: 'waiting' }
  | { readonly t: 'joined'; readonly welcome: Welcome; readonly genesis: Genesis; readonly charter: Charter }
  /**
   * The end. `invitation-expired` (nobody answered in time), what the host refused it for, or what was wrong with the welcome:
   * `other-town`, `bad-genesis`, `checkpoint-differs`, `bad-welcome`.
   */
  | { readonly t: 'failed'; readonly error: TownError }
  | { readonly t: 'ignored'; readonly reason: AskerIgnored };

export interface AskerOptions {
  readonly invitation: Invitation;
  /** What the node shall be called: 1 to 60 characters. */
  readonly name: string;
  /** Ed25519 seed of the node. */
  readonly secretKey: Uint8Array;
  /** X25519 secret of the node, 32 bytes. */
  readonly sealingSecret: Uint8Array;
  /** 32 random hex digits, new for each attempt. */
  readonly nonce: string;
}

export interface AskerState {
  readonly invitation: Invitation;
  readonly secretKey: Uint8Array;
  readonly sealingSecret: Uint8Array;
  readonly ask: Ask;
  /** The ask as it is sent. */
  readonly payload: string;
  /** `fetching`: let in, and what the town split off with comes in parts. */
  readonly status: 'asking' | 'waiting' | 'fetching' | 'joined' | 'failed';
  /** While `fetching`: the welcome, and the parts so far. */
  readonly fetched: {
    readonly welcome: Welcome;
    readonly host: KeyId;
    readonly parts: readonly string[];
  } | null;
  /** When to ask again; null: not asked yet. */
  readonly nextAt: number | null;
  readonly pauseMs: number;
  readonly ignored: Counts<AskerIgnored>;
}

type Turn = { readonly state: AskerState; readonly outputs: readonly AskerOutput[] };

/**
 * The state before the first `tick`.
 * @throws TownError `bad-invitation`, `bad-name`
 */
export function startAsking(options: AskerOptions): AskerState {
  const invitation = checkInvitation(options.invitation);
  const { town, id } = invitation;
  const { name, nonce, secretKey, sealingSecret } = options;
  invariant(/^[0-9a-f]{32}$/.test(nonce), 'the nonce of an attempt to join is 32 hex digits');
  if (!isPlainName(name))
    throw new TownError('bad-name', 'A name has 1 to 60 characters and no control characters.');
  const ask = makeAsk({ town, invitation: id, name, nonce, sealing: sealingKeyOf(sealingSecret) }, secretKey);
  return {
    invitation,
    secretKey,
    sealingSecret,
    ask,
    payload: sealJoining(invitation, 'ask', ask),
    status: 'asking',
    fetched: null,
    nextAt: null,
    pauseMs: ASK_PAUSE_FIRST_MS,
    ignored: {},
  };
}

/** The topic that the asker listens to. */
export const answerTopic = ({ invitation }: AskerState): string =>
  joinTopic(invitation.town, invitation.id, 'answer');

/** Until when it asks: who was told to wait waits for the steward beyond the expiry. */
const endOf = (state: AskerState): number =>
  state.invitation.expires + (state.status === 'waiting' || state.status === 'fetching' ? GRACE_MS : 0);

/** Takes one input: the state that follows, and what the caller has to do now, in this order. */
export function stepAsker(state: AskerState, input: AskerInput): Turn {
  if (input.t === 'message') return heard(state, input);
  return state.status === 'joined' || state.status === 'failed' ? stay(state) : ticked(state, input.now);
}

const stay = (state: AskerState): Turn => ({ state, outputs: [] });

function ticked(state: AskerState, now: number): Turn {
  if (now >= endOf(state))
    return fail(
      state,
      new TownError(
        'invitation-expired',
        `The invitation to ${state.invitation.name} ran out before the town let this node in.`,
        'Ask for a new one: town node invite',
      ),
    );
  const { nextAt } = state;
  // A clock that was set back must not keep it silent for longer than a pause.
  const due = nextAt === null || now >= nextAt || nextAt - now > ASK_PAUSE_LAST_MS;
  if (!due) return { state, outputs: [{ t: 'wake', at: nextAt }] };
  const next = now + state.pauseMs;
  const topic = joinTopic(state.invitation.town, state.invitation.id, 'ask');
  return {
    state: { ...state, nextAt: next, pauseMs: Math.min(2 * state.pauseMs, ASK_PAUSE_LAST_MS) },
    outputs: [
      { t: 'send', topic, payload: state.payload },
      { t: 'wake', at: Math.min(next, endOf(state)) },
    ],
  };
}

const ignore = (state: AskerState, reason: AskerIgnored): Turn => ({
  state: { ...state, ignored: counted(state.ignored, reason) },
  outputs: [{ t: 'ignored', reason }],
});

const fail = (state: AskerState, error: TownError): Turn => ({
  state: { ...state, status: 'failed' },
  outputs: [{ t: 'failed', error }],
});

function heard(state: AskerState, message: AskerInput & { t: 'message' }): Turn {
  const { invitation, ask } = state;
  if (message.topic !== answerTopic(state)) return ignore(state, 'foreign-topic');
  if (message.retained) return ignore(state, 'retained-command');
  if (Buffer.byteLength(message.payload) > ANSWER_BYTES_MAX) return ignore(state, 'too-large');
  if (state.status === 'joined' || state.status === 'failed') return ignore(state, 'already-answered');
  const answer = openAnswer(invitation, message.payload);
  if (typeof answer === 'string') return ignore(state, answer);
  if (!isFromHost(answer, invitation.host)) return ignore(state, 'bad-signature');
  if (answer.nonce !== ask.nonce) return ignore(state, 'other-ask');
  if (state.status === 'fetching' && answer.status !== 'part') return ignore(state, 'already-answered');
  return answered(state, answer, message.now);
}

function answered(state: AskerState, answer: Answer, now: number): Turn {
  switch (answer.status) {
    case 'waiting':
      if (state.status === 'waiting') return stay(state);
      return { state: { ...state, status: 'waiting' }, outputs: [{ t: 'waiting' }] };
    case 'refused':
      return fail(
        state,
        new TownError(
          answer.code,
          answer.reason,
          'Speak with a steward of the town, or ask for a new invitation.',
        ),
      );
    case 'welcome':
      return believing(state, () => {
        const { ask, sealingSecret } = state;
        const about = welcomeAbout(ask.town, ask.invitation, ask.key);
        const welcome = openSealedJson(sealingSecret, answer.sealed, about);
        if (!isWelcome(welcome)) throw badWelcome('it has another shape');
        const fetched = { welcome, host: answer.host as KeyId, parts: [] };
        return welcome.genesis.split?.parts === undefined
          ? joined(state, welcome, fetched.host)
          : askForPart({ ...state, status: 'fetching', fetched }, now);
      });
    case 'part':
      return believing(state, () => took(state, answer, now));
  }
}

/** Whatever a host sends, a node that asks does not fall over. */
function believing(state: AskerState, read: () => Turn): Turn {
  try {
    return read();
  } catch (error) {
    return fail(state, error instanceof TownError ? error : badWelcome('it cannot be read'));
  }
}

function joined(state: AskerState, welcome: Welcome, host: KeyId): Turn {
  const found = readWelcome(state, welcome, host);
  return { state: { ...state, status: 'joined', fetched: null }, outputs: [{ t: 'joined', ...found }] };
}

/** Asks for the first part that is not here, at once and then as with every ask. */
function askForPart(state: AskerState, now: number): Turn {
  const { invitation, secretKey, fetched } = state;
  const { sig: _, key: _key, ...content } = state.ask;
  const ask = makeAsk({ ...content, part: (fetched?.parts.length ?? 0) + 1 }, secretKey);
  const payload = sealJoining(invitation, 'ask', ask);
  return ticked({ ...state, ask, payload, nextAt: null, pauseMs: ASK_PAUSE_FIRST_MS }, now);
}

/** One part more: parts come in their order, each asked for when the one before is here. */
function took(state: AskerState, { part, sealed }: Answer & { status: 'part' }, now: number): Turn {
  const { ask, fetched, sealingSecret } = state;
  const { split } = fetched?.welcome.genesis ?? {};
  if (!fetched || !split?.parts || part !== fetched.parts.length + 1) return ignore(state, 'other-ask');
  const bytes = openedHere(sealingSecret, sealed, partAbout(ask.town, ask.invitation, ask.key, part));
  const parts = [...fetched.parts, bytes.toString('latin1')];
  if (parts.some((text) => text.length > PART_CHARS_MAX)) throw badWelcome('a part of it is too long');
  if (parts.length < split.parts) return askForPart({ ...state, fetched: { ...fetched, parts } }, now);
  const genesis = { ...fetched.welcome.genesis, split: { origin: split.origin, state: parts.join('') } };
  return joined(state, { ...fetched.welcome, genesis }, fetched.host);
}

function badWelcome(why: string): TownError {
  return new TownError(
    'bad-welcome',
    `The host's welcome does not hold: ${why}.`,
    'Do not join through this host before a steward has looked at it.',
  );
}

/** @throws TownError `bad-welcome`, `other-town`, `bad-genesis`, `checkpoint-differs`, and what reading a charter or commit throws */
function readWelcome(
  { invitation }: AskerState,
  welcome: Welcome,
  host: KeyId,
): { readonly welcome: Welcome; readonly genesis: Genesis; readonly charter: Charter } {
  const { town, role, checkpoint } = invitation;
  const charter = parseCharter(welcome.genesis.charter);
  const raw = Buffer.from(welcome.genesis.raw, 'base64');
  const { nonce, split } = welcome.genesis;
  const taken = split && unpackSplit(split as PackedSplit);
  const genesis = readGenesis(raw, charter, nonce as Sha256, taken);
  if (genesis.merge.town !== town || welcome.town !== town)
    throw new TownError(
      'other-town',
      `The host answers for another town (${genesis.merge.town.slice(0, 16)}…) than the invitation names.`,
      'Do not join through this host.',
    );
  for (const point of [checkpoint, welcome.checkpoint as Invitation['checkpoint']]) {
    const differs =
      (point.height === 0 && point.id !== genesis.merge.id) ||
      (point.height === checkpoint.height && point.id !== checkpoint.id);
    if (differs || point.height < checkpoint.height)
      throw new TownError(
        'checkpoint-differs',
        `The host's history does not contain merge ${checkpoint.height} as the invitation names it.`,
        'The host was put back from an old copy, or its history is another: let a steward look at it.',
      );
  }
  for (const [id, node] of Object.entries(welcome.nodes))
    if (nodeIdOf(node.key as KeyId) !== id) throw badWelcome(`the key of node ${id} is another's`);
  if (welcome.nodes[invitation.host]?.key !== host) throw badWelcome('its nodes do not name the host');
  if ((role === 'door') !== (welcome.badgeKey !== null))
    throw badWelcome(role === 'door' ? 'the badge key is missing' : 'a hub gets no badge key');
  return { welcome, genesis, charter };
}

function openedHere(secret: Uint8Array, sealed: string, about: string): Buffer {
  try {
    return Buffer.from(openSealed(secret, sealed, about));
  } catch {
    throw badWelcome('it is not sealed to this node');
  }
}

function openSealedJson(secret: Uint8Array, sealed: string, about: string): unknown {
  try {
    return JSON.parse(openedHere(secret, sealed, about).toString('utf8'));
  } catch {
    throw badWelcome('it is not sealed to this node');
  }
}
