/** Tells an entry in one plain sentence. Who may not read personal fields gets a sentence without them. */
import { accusedIn } from '../ledger/equivocation.js';
import type { JsonObject } from '../ledger/ids.js';

export interface Told {
  /** Names where they may be known, else ids. */
  readonly by: string;
  readonly member: (id: unknown) => string;
  readonly node: (id: unknown) => string;
  readonly person: (id: unknown) => string;
  /** The record of a door event where it may be read. */
  readonly record: { readonly person?: string; readonly reason?: string } | null;
  /** The reason of a suspension or revocation where it may be read. */
  readonly reason: string | null;
}

const short = (value: unknown): string => `${String(value).slice(0, 8)}…`;

const payee = (to: unknown, member: Told['member']): string => (to === 'vault' ? 'the town' : member(to));

const because = ({ reason }: Told): string => (reason === null ? '' : `: ${reason}`);

type Teller = (body: JsonObject, told: Told) => string;

const doorWords: { readonly [code: string]: string } = {
  granted: 'was let in',
  'exit-button': 'left by the exit button',
  'remote-open': 'was opened remotely',
  'unknown-badge': 'was refused: the badge is not known',
  'badge-revoked': 'was refused: the badge is revoked',
  'person-suspended': 'was refused: the person is suspended',
  'badge-expired': 'was refused: the badge has expired',
  'no-right-here': 'was refused: the badge is not for this door',
  lockdown: 'was refused: the door is locked down',
  'unknown-door': 'was refused: the town does not know this door',
  'no-table': 'was refused: the gate had no rights table yet',
  'stale-table': 'was refused: the rights table of the gate is too old',
  'bad-read': 'was refused: the badge could not be read',
};

const tellers: { readonly [type: string]: Teller } = {
  'member.found': (_body, { by }) => `${by} became the first steward of the town`,
  'member.join': (_body, { by }) => `${by} joined the town with an invitation`,
  'member.add-key': (body, { by }) => `${by} registered a further key ${short(body['key'])}`,
  'member.revoke-key': (body, { by }) => `${by} revoked the key ${short(body['key'])}`,
  'member.roles': (body, { by, member }) =>
    `${by} set the roles of ${member(body['member'])} to ${String(body['roles'])}`,
  'credit.transfer': (body, { by, member }) =>
    `${by} sent ${String(body['amount'])} credits to ${member(body['to'])}`,
  'credit.grant': (body, { by, member }) =>
    `${by} granted ${String(body['amount'])} credits from ${body['from'] === 'suspense' ? 'suspense' : 'the vault'} to ${member(body['to'])}`,
  'member.suspend': (body, told) =>
    `${told.by} suspended the member ${told.member(body['member'])}${because(told)}`,
  'member.reinstate': (body, { by, member }) => `${by} reinstated the member ${member(body['member'])}`,
  'member.leave': (_body, { by }) => `${by} left the town`,
  'allowance.open': (body, { by, node }) =>
    `${by} put ${String(body['amount'])} credits at ${node(body['node'])}, to be paid out there`,
  'allowance.pay': (body, { by, member }) =>
    `${by} paid ${String(body['amount'])} credits of ${member(body['member'])} to ${payee(body['to'], member)}`,
  'allowance.return': (body, { by, member }) =>
    `${by} gave back what was left of the allowance of ${member(body['member'])}`,
  'allowance.fence': (body, { by, member, node }) =>
    `${by} had the allowance of ${member(body['member'])} at ${node(body['node'])} closed`,
  'due.pay': (body, { by }) =>
    `${by} paid ${body['amount'] === undefined ? 'the whole' : `${String(body['amount'])} credits`} of the due ${short(body['due'])}`,
  'due.waive': (body, { by }) => `${by} waived the due ${short(body['due'])}`,
  'charter.change': (body, { by }) => {
    const places = [
      ...Object.keys((body['set'] ?? {}) as JsonObject),
      ...((body['remove'] ?? []) as string[]),
    ];
    return `${by} changed the charter at ${places.join(', ')}`;
  },
  'evidence.equivocation': (body, { by, node }) => {
    const accused = accusedIn(body);
    const who = accused === null ? 'a node' : node(accused);
    return `${by} showed that ${who} signed two different ${body['kind'] === 'votes' ? 'votes' : 'blocks'} for one place`;
  },
  'node.readmit': (body, { by, node }) =>
    `${by} readmitted ${node(body['node'])}: its branch goes on after block ${String(body['seq'])}`,
  'fork.adopt': (body, { by, node }) =>
    `${by} brought home the draft ${String(body['line'])} of ${node(body['node'])}, up to its block ${String(body['seq'])}`,
  'record.erase': (body, { by, person, member }) =>
    `${by} had the records of ${String(body['subject']).startsWith('m') ? member(body['subject']) : person(body['subject'])} erased`,
  'membership.add': (body, { by, person }) => `${by} added ${person(body['person'])} to the register`,
  'membership.update': (body, { by, person }) => `${by} updated the record of ${person(body['person'])}`,
  'membership.suspend': (body, told) => `${told.by} suspended ${told.person(body['person'])}${because(told)}`,
  'membership.reinstate': (body, { by, person }) => `${by} reinstated ${person(body['person'])}`,
  'membership.link': (body, { by, person, member }) =>
    `${by} linked ${person(body['person'])} with the member ${member(body['member'])}`,
  'door-access.add-door': (body, { by }) =>
    `${by} added the door "${String(body['name'])}" (${String(body['door'])})`,
  'door-access.enrol': (body, { by, person }) =>
    `${by} enrolled the badge ${short(body['badge'])} for ${person(body['person'])}`,
  'door-access.revoke': (body, told) =>
    `${told.by} revoked the badge ${short(body['badge'])}${because(told)}`,
  'door-access.reactivate': (body, { by }) => `${by} made the badge ${short(body['badge'])} valid again`,
  'door-access.lockdown': (body, { by }) => `${by} locked down the door ${String(body['door'])}`,
  'door-access.unlock': (body, { by }) => `${by} ended the lockdown of the door ${String(body['door'])}`,
  'door-access.event': (body, { record, person }) => {
    const who = record?.person ? person(record.person) : 'Somebody';
    if (body['kind'] === 'late')
      return `At the door ${String(body['door'])} a strike moved before its record was known to be on disk`;
    if (body['code'] === 'remote-open') return `The door ${String(body['door'])} was opened remotely`;
    return `At the door ${String(body['door'])} ${who.replace(/^Somebody$/, 'somebody')} ${doorWords[String(body['code'])] ?? String(body['outcome'])}`;
  },
  'gigs.open': (body, { by }) =>
    `${by} opened the gig "${String(body['title'])}" for ${String(body['price'])} credits`,
  'gigs.take': (body, { by }) => `${by} took the gig ${short(body['gig'])}`,
  'gigs.withdraw': (body, { by }) => `${by} stepped back from the gig ${short(body['gig'])}`,
  'gigs.accept': (body, { by }) => `${by} accepted the taker of the gig ${short(body['gig'])}`,
  'gigs.decline': (body, { by }) => `${by} declined the taker of the gig ${short(body['gig'])}`,
  'gigs.submit': (body, { by }) => `${by} submitted the work on the gig ${short(body['gig'])}`,
  'gigs.complete': (body, { by }) =>
    `${by} completed the gig ${short(body['gig'])} with ${String(body['stars'])} of 5 stars`,
  'gigs.accept-rating': (body, { by }) => `${by} accepted the rating of the gig ${short(body['gig'])}`,
  'gigs.dispute': (body, { by }) => `${by} disputed the rating of the gig ${short(body['gig'])}`,
  'gigs.settle': (body, { by }) =>
    `${by} settled the gig ${short(body['gig'])} with ${String(body['sharePercent'])} % for the taker`,
  'gigs.close': (body, { by }) => `${by} closed the gig ${short(body['gig'])} after its time was over`,
  'gigs.cancel': (body, { by }) => `${by} cancelled the gig ${short(body['gig'])}`,
};

/** One sentence without a full stop; unknown types are told by their type. */
export function tellEntry(type: string, body: JsonObject, told: Told): string {
  return tellers[type]?.(body, told) ?? `${told.by} said ${type}`;
}
