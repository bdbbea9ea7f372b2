/** The panel's plain words for the codes that the daemon speaks. */
import type { DoorEvent, Gig, GigStatus, GigStep } from './shapes.js';

const doorCodes: { readonly [code: string]: string } = {
  granted: 'the badge is good here',
  'exit-button': 'somebody pressed the exit button',
  'remote-open': 'opened from the panel',
  'unknown-badge': 'nobody in this town has this badge',
  'badge-revoked': 'this badge was revoked',
  'person-suspended': 'this person is suspended',
  'badge-expired': 'this badge is past its last day',
  'no-right-here': 'this badge does not open this door',
  lockdown: 'the door is locked down',
  'unknown-door': 'the town does not know this door yet',
  'no-table': 'the gate has not been told yet who may pass',
  'stale-table': 'the gate has been cut off for too long',
  'bad-read': 'the reader could not make out the badge',
};

/** Refusals that a person gave a reason for; with the others the gate only repeats the code in its own words. */
const reasoned: ReadonlySet<string> = new Set(['badge-revoked', 'person-suspended']);

/** Why a door did what it did, in words, with the reason that a person gave where there is one. */
export function doorReason(event: Pick<DoorEvent, 'code' | 'reason'>): string {
  const words = doorCodes[event.code] ?? event.code.replaceAll('-', ' ');
  return event.reason && reasoned.has(event.code) ? `${words}: ${event.reason}` : words;
}

/** Who stood at the door. */
export function doorWho(event: DoorEvent): string {
  if (event.kind === 'exit') return 'From inside';
  if (event.personName !== null) return event.personName;
  if (event.kind === 'open') return 'From the panel';
  if (event.code === 'unknown-badge' || event.code === 'bad-read') return 'Unknown badge';
  return event.person === undefined ? 'Somebody' : 'A person this board may not name';
}

export const gigStatusWords: { readonly [status in GigStatus]: string } = {
  open: 'open',
  taken: 'taken, waiting for the opener',
  accepted: 'being worked on',
  submitted: 'done, waiting for the rating',
  rated: 'rated, waiting for the taker',
  completed: 'completed',
  cancelled: 'cancelled',
  disputed: 'disputed',
  settled: 'settled',
  expired: 'expired',
};

export const gigStepWords: { readonly [step in GigStep]: string } = {
  take: 'Take this gig',
  withdraw: 'Withdraw',
  accept: 'Accept the taker',
  decline: 'Decline the taker',
  submit: 'Hand in the work',
  complete: 'Rate and complete',
  'accept-rating': 'Accept the rating',
  dispute: 'Dispute the rating',
  settle: 'Settle',
  close: 'Close after the deadline',
  cancel: 'Cancel the gig',
};

export const gigIsOver = (gig: Gig): boolean =>
  gig.status === 'completed' ||
  gig.status === 'cancelled' ||
  gig.status === 'settled' ||
  gig.status === 'expired';

export const stepGroups: { readonly [step in GigStep]: 'main' | 'other' } = {
  take: 'main',
  accept: 'main',
  submit: 'main',
  complete: 'main',
  'accept-rating': 'main',
  settle: 'main',
  close: 'main',
  withdraw: 'other',
  decline: 'other',
  dispute: 'other',
  cancel: 'other',
};
