/** People and their badges: use cases of the registry office. */
import { randomBytes } from 'node:crypto';
import { badgeHash } from '../gate/badge-number.js';
import { hexOf } from '../ledger/hash.js';
import { TownError, type JsonObject } from '../ledger/ids.js';
import { readJson, type StateReader } from '../ledger/state.js';
import { Refused, type Appender } from './appender.js';
import type { Clock } from './clock.js';
import { cleanName, type NodeKeys } from './key-files.js';
import type { MainLine } from './main-line.js';
import { ABOUT, readPerson, type Names, type PersonRecord } from './names.js';
import type { PrivateRecords } from './private-records.js';
import type { Session, Sessions } from './sessions.js';
import type { BadgeView, PersonView, Recorded } from './use-cases.js';
import type { View } from './view.js';

const PEOPLE_MAX = 100_000;
const PAGE = 1000;
const REASON_MAX = 200;

/** As the door-access dapp keeps a badge. */
export interface BadgeRecord {
  readonly person: string;
  readonly doors: readonly string[] | '*';
  readonly status: 'active' | 'revoked';
  readonly until?: number;
  readonly reason?: JsonObject;
}

/** Keys of a collection, page by page, up to a bound. */
export function* keysOf(
  state: StateReader,
  dapp: string,
  collection: string,
  limit = PEOPLE_MAX,
): Generator<string> {
  let given = 0;
  for (let after = ''; given < limit;) {
    const page = state.keys(dapp, collection, after, PAGE);
    for (const key of page) {
      if (given >= limit) return;
      given += 1;
      yield key;
    }
    if (page.length < PAGE) return;
    after = page[page.length - 1] as string;
  }
}

export class People {
  constructor(
    private readonly view: View,
    private readonly main: MainLine,
    private readonly appender: Appender,
    private readonly records: PrivateRecords,
    private readonly names: Names,
    private readonly sessions: Sessions,
    private readonly keys: NodeKeys,
    private readonly clock: Clock,
  ) {}

  list(token: string): readonly PersonView[] {
    this.sessions.needPermission(token, 'membership.add');
    const { state } = this.view;
    const badges = new Map<string, BadgeView[]>();
    for (const badge of keysOf(state, 'door-access', 'badges')) {
      const shown = this.badgeView(badge);
      const list = badges.get(shown.person);
      if (list) list.push(shown);
      else badges.set(shown.person, [shown]);
    }
    return [...keysOf(state, 'membership', 'people')].map((id) => this.personView(id, badges.get(id) ?? []));
  }

  private personView(id: string, badges: readonly BadgeView[]): PersonView {
    const person = readPerson(this.view.state, id) as PersonRecord;
    const { name, contact } = this.names.profile(person);
    const record = this.records.isErased(id)
      ? 'erased'
      : name === null
        ? this.records.whyNot(person.profile)
        : 'readable';
    const { status, member } = person;
    const reason = this.reasonIn(ABOUT.suspension, person.reason);
    return {
      id,
      name,
      contact,
      record,
      status,
      ...(reason === null ? {} : { reason }),
      member,
      badges,
      state: this.stateOf('membership', 'people', id),
    };
  }

  private badgeView(badge: string): BadgeView {
    const record = readJson<BadgeRecord>(this.view.state, 'door-access', 'badges', badge) as BadgeRecord;
    const { person, doors, status, until } = record;
    const reason = this.reasonIn(ABOUT.revocation, record.reason);
    return {
      badge,
      person,
      doors,
      status,
      ...(until === undefined ? {} : { until }),
      ...(reason === null ? {} : { reason }),
      state: this.stateOf('door-access', 'badges', badge),
    };
  }

  /** Null where there is none, or its key is gone or was never here. */
  private reasonIn(about: string, sealed: JsonObject | undefined): string | null {
    const reason = this.records.open(about, sealed);
    return typeof reason === 'string' ? reason : null;
  }

  private stateOf(dapp: string, collection: string, key: string): 'pending' | 'merged' {
    return this.main.seen.get(dapp, collection, key) === this.view.state.get(dapp, collection, key)
      ? 'merged'
      : 'pending';
  }

  async add(
    token: string,
    input: { name: string; contact?: string | undefined },
  ): Promise<Recorded & { person: string }> {
    const session = this.sessions.needPermission(token, 'membership.add');
    return this.addAs(session, input.name, input.contact ?? null);
  }

  /** The entry that adds a person, signed by this session's member. */
  async addAs(
    session: Session,
    name: string,
    contact: string | null,
  ): Promise<Recorded & { person: string }> {
    const clean = cleanName(name);
    const reach = contact?.trim() ? contact.trim() : null;
    if (reach !== null && reach.length > 200)
      throw new TownError(
        'bad-contact',
        'A contact has at most 200 characters.',
        'Give an e-mail address or a telephone number.',
      );
    const person = `p${hexOf(randomBytes(8))}`;
    // Apart from the reasons that are written about them: it is kept as long as they are in the register.
    const profile = await this.records.seal(
      `${person} profile`,
      ABOUT.profile,
      { name: clean, contact: reach },
      this.clock.now(),
    );
    const { id } = await this.appender.claim('membership.add', { person, profile }, session);
    return { entry: id, state: 'pending', person };
  }

  /** A person of the given name who is no credit member yet, or a new one. */
  async findOrAdd(session: Session, name: string): Promise<string> {
    const clean = cleanName(name);
    for (const id of keysOf(this.view.state, 'membership', 'people')) {
      const person = readPerson(this.view.state, id) as PersonRecord;
      if (person.member === null && this.names.profile(person).name === clean) return id;
    }
    return (await this.addAs(session, clean, null)).person;
  }

  async suspend(token: string, person: string, reason: string): Promise<Recorded> {
    const session = this.sessions.needPermission(token, 'membership.suspend');
    const sealed = await this.sealReason(this.known(person), ABOUT.suspension, reason);
    return recorded(await this.appender.claim('membership.suspend', { person, reason: sealed }, session));
  }

  async reinstate(token: string, person: string): Promise<Recorded> {
    const session = this.sessions.needPermission(token, 'membership.reinstate');
    return recorded(
      await this.appender.claim('membership.reinstate', { person: this.known(person) }, session),
    );
  }

  /** Reasons are free text about a person: the ledger gets them sealed. @throws TownError `bad-reason` */
  private sealReason(person: string, about: string, reason: string): Promise<JsonObject> {
    const clean = reason.trim();
    if (clean === '' || Array.from(clean).length > REASON_MAX || /[\p{Cc}\u2028\u2029]/u.test(clean))
      throw new TownError('bad-reason', `A reason has 1 to ${REASON_MAX} characters on one line.`);
    return this.records.seal(person, about, clean, this.clock.now());
  }

  private known(person: string): string {
    if (!readPerson(this.view.state, person))
      throw new TownError('not-found', `There is no person ${person}.`, 'See the list of people.');
    return person;
  }

  async enrolNumber(
    token: string,
    input: {
      person: string;
      badgeNumber: string;
      doors?: readonly string[] | '*' | undefined;
      until?: number | undefined;
    },
  ): Promise<Recorded & { badge: string }> {
    const session = this.sessions.needPermission(token, 'door-access.enrol');
    if (!/^[\x21-\x7e]{1,64}$/.test(input.badgeNumber))
      throw new TownError(
        'bad-badge-number',
        'A badge number is 1 to 64 printable characters without spaces.',
      );
    if (this.keys.badgeKey === null)
      throw new TownError(
        'no-badge-key',
        'This node is a hub: it cannot tell badges apart.',
        'Enrol badges at a node with a door.',
      );
    const badge = badgeHash(hexOf(this.keys.badgeKey), input.badgeNumber);
    return this.enrol(session, { ...input, badge });
  }

  /** The entry that gives a badge (by its hash) to a person. */
  async enrol(
    session: Session,
    input: {
      person: string;
      badge: string;
      doors?: readonly string[] | '*' | undefined;
      until?: number | undefined;
    },
  ): Promise<Recorded & { badge: string }> {
    const { person, badge, doors = '*', until } = input;
    this.known(person);
    this.assertWouldWork(person, badge);
    const body = {
      badge,
      person,
      doors: doors === '*' ? doors : [...doors],
      ...(until === undefined ? {} : { until }),
    };
    const { id } = await this.appender.claim('door-access.enrol', body, session);
    return { entry: id, state: 'pending', badge };
  }

  /** The ledger takes such a badge all the same, for a suspension may come from elsewhere; but who stands here should know. */
  private assertWouldWork(person: string, badge: string): void {
    const { state } = this.view;
    if (readJson<{ status: string }>(state, 'membership', 'people', person)?.status === 'suspended')
      throw new Refused('person-suspended', 'This person is suspended: reinstate them first.');
    if (readJson<BadgeRecord>(state, 'door-access', 'badges', badge)?.status === 'revoked')
      throw new Refused('badge-revoked', 'This badge is revoked: reactivate it, or take another one.');
  }

  async revoke(token: string, badge: string, reason: string): Promise<Recorded> {
    const session = this.sessions.needPermission(token, 'door-access.revoke');
    const known = readJson<BadgeRecord>(this.view.state, 'door-access', 'badges', badge);
    if (!known)
      throw new TownError(
        'not-found',
        `No badge ${badge.slice(0, 12)}… is enrolled.`,
        'See the list of badges.',
      );
    const sealed = await this.sealReason(known.person, ABOUT.revocation, reason);
    return recorded(await this.appender.claim('door-access.revoke', { badge, reason: sealed }, session));
  }
}

export const recorded = ({ id }: { readonly id: string }): Recorded => ({ entry: id, state: 'pending' });
