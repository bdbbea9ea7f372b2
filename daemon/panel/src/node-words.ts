/** The panel's plain words for boards: who is heard, how far they are, whether they are enough to merge. Pure. */
import { counted, number } from './format.js';
import type { Distance, NodeInvitationState, Status, TownNode } from './shapes.js';

type Validators = Status['validators'];

/** Whether enough validators are heard for a merge. */
export const quorumIsThere = ({ heard, quorum }: Validators): boolean => heard >= quorum;

/** How many there are, must sign, and may be off. */
export function quorumRule({ count, quorum, mayBeOff }: Validators): string {
  const rule =
    count === 1
      ? 'One validator: it alone signs each merge.'
      : `${number(count)} validators, ${number(quorum)} of them must sign a merge.`;
  if (mayBeOff > 0) return `${rule} ${number(mayBeOff)} may be off.`;
  return `${rule} ${count === 1 ? 'It may not' : 'None may'} be off: without it nothing merges.`;
}

/** How many are heard now, and what follows from that. */
export function quorumNow({ count, quorum, heard }: Validators): string {
  if (count === 1 && heard === 1) return 'It is here.';
  const said =
    heard === count ? `All ${number(count)} are heard` : `${number(heard)} of ${number(count)} heard`;
  const missing = quorum - heard;
  return missing <= 0
    ? `${said} just now: enough to merge.`
    : `${said} just now: ${number(missing)} too few. Nothing merges here until ${missing === 1 ? 'one more is' : 'more are'} heard again. Doors go on, and whatever is recorded is kept and merged then.`;
}

/** Names in one sentence, at most so many of them. */
const NAMES_MAX = 8;

function namesOf(names: readonly string[], joint: 'and' | 'or'): string {
  const more = names.length - NAMES_MAX;
  const shown = names.slice(0, NAMES_MAX);
  const all = more > 0 ? [...shown, `${number(more)} more`] : shown;
  const last = all[all.length - 1] ?? '';
  return all.length < 2 ? last : `${all.slice(0, -1).join(', ')} ${joint} ${last}`;
}

type Waiting = Pick<Status, 'next' | 'pendingEntries' | 'validators'>;

/** What waits for a merge, and what that merge waits for. */
export function nextMergeWords({ next, pendingEntries, validators }: Waiting): string {
  const pending =
    pendingEntries === 0 ? 'Nothing pending' : `${counted(pendingEntries, 'entry', 'entries')} pending`;
  const away = next.away.length === 0 ? 'one more validator' : namesOf(next.away, 'or');
  switch (next.state) {
    case 'nothing':
      return `${pending}.`;
    case 'due':
      return `${pending}, to be merged soon.`;
    case 'open':
      return quorumIsThere(validators)
        ? `${pending}; merging now${next.round ? `, in round ${number(next.round)}` : ''}.`
        : `${pending}; waiting for ${away}.`;
    case 'parked':
      return (
        `${pending}. The merge is parked: too few validators were heard for a minute. It goes on by itself when ` +
        `${away} is heard again.`
      );
    case 'diverged':
      return `${pending}. This board merges no more: the town went on in a later epoch without what was merged here.`;
  }
}

/** Who is there. */
export function connectedWords({ next, peers }: Pick<Status, 'next' | 'peers'>): string {
  if (peers.count === 0) return 'This is the town’s only board.';
  if (next.connected.length === 0) return 'No other board is connected.';
  return `Connected: ${namesOf(next.connected, 'and')}.`;
}

const parts = ({ blocks, merges }: Distance): string =>
  [...(merges > 0 ? [counted(merges, 'merge')] : []), ...(blocks > 0 ? [counted(blocks, 'block')] : [])].join(
    ' and ',
  );

type Placed = Pick<TownNode, 'connected' | 'height' | 'ahead' | 'behind'>;

/** How far another board is, or was when it was last heard, seen from the one that is asked. */
export function distanceWords(node: Placed): string {
  if (node.height === null) return 'not known yet';
  return node.connected ? distance(node) : `when last heard: ${distance(node)}`;
}

function distance(node: Placed): string {
  const ahead = parts(node.ahead);
  const behind = parts(node.behind);
  if (ahead === '' && behind === '') return 'has exactly what this board has';
  if (behind === '') return `ahead of this board by ${ahead}`;
  if (ahead === '') return `behind this board by ${behind}`;
  return `ahead by ${ahead}, behind by ${behind}`;
}

export const roleWords: { readonly [role: string]: string } = {
  door: 'Door node: it may tell badges apart.',
  hub: 'Hub: it may not tell badges apart.',
};

export const invitationWords: { readonly [state in NodeInvitationState]: string } = {
  open: 'not used yet',
  asked: 'a board asks to be let in',
  approved: 'let in, once a merge has said so',
  welcomed: 'joined',
  refused: 'refused',
  withdrawn: 'taken back',
  expired: 'expired',
};

/** Whether anything can still become of an invitation. */
export const invitationIsOver = (state: NodeInvitationState): boolean =>
  state === 'welcomed' || state === 'refused' || state === 'withdrawn' || state === 'expired';

/** An id in groups of four, so that it can be compared with the one on another screen. */
export const idInGroups = (id: string): string => id.replace(/(.{4})(?=.)/g, '$1 ');

const goesOnAnyway: ReadonlySet<string> = new Set(['node-not-heard', 'node-behind', 'too-few-heard']);

/** Whether a steward may insist although the town warns. */
export const mayInsist = (code: string): boolean => goesOnAnyway.has(code);
