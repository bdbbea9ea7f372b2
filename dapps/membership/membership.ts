/**
 * The register of people: who belongs to the town, with or without credits. Names, contacts and the reason of a suspension
 * are sealed envelopes; in plain there is only the pseudonymous id (`p` and 16 hex digits), the status, and the credit
 * member a person is.
 *
 * Collections: `people` (by person), `links` (by member: whose they are), `suspensions` (of people not known yet).
 */
import {
  accept,
  pass,
  Reject,
  veto,
  type Contract,
  type Json,
  type JsonObject,
  type Reader,
} from '../sdk/typescript/contract.js';
import {
  asObject,
  assertLater,
  envelope,
  isEnvelope,
  latest,
  matching,
  onlyFields,
} from '../sdk/typescript/body.js';

/** One value of `people`. `added`: the entry's time, ms; `reason` (sealed) and `since` (ms): of the suspension. */
export interface Person {
  readonly status: 'active' | 'suspended';
  readonly profile: JsonObject;
  readonly member: string | null;
  readonly added: number;
  readonly reason?: JsonObject;
  readonly since?: number;
}

const personIn = (body: JsonObject): string =>
  matching(body, 'person', /^p[0-9a-f]{16}$/, 'a person id: "p" and 16 hex digits');

const findPerson = async (read: Reader, person: string): Promise<Person | null> =>
  (await read.get('people', person)) as unknown as Person | null;

async function knownPerson(read: Reader, person: string): Promise<Person> {
  const found = await findPerson(read, person);
  if (!found) throw new Reject('unknown-person', `There is no person ${person}.`);
  return found;
}

const put = (person: string, value: Person): { collection: string; key: string; value: Json } => ({
  collection: 'people',
  key: person,
  value: value as unknown as Json,
});

export const membership: Contract = {
  verbs: {
    async add({ body }, ctx, read) {
      onlyFields(body, 'person', 'profile');
      const person = personIn(body);
      const profile = envelope(body, 'profile');
      if (await findPerson(read, person))
        throw new Reject('person-exists', `There is a person ${person} already.`);
      const suspended = asObject(await read.get('suspensions', person));
      const fresh = { profile, member: null, added: ctx.tau };
      if (!suspended) return accept({ writes: [put(person, { status: 'active', ...fresh })] });
      return accept({
        writes: [
          put(person, {
            status: 'suspended',
            ...fresh,
            reason: suspended['reason'] as JsonObject,
            since: suspended['since'] as number,
          }),
          { collection: 'suspensions', key: person, value: null },
        ],
      });
    },

    async update({ body }, _ctx, read) {
      onlyFields(body, 'person', 'profile');
      const person = personIn(body);
      const profile = envelope(body, 'profile');
      return accept({ writes: [put(person, { ...(await knownPerson(read, person)), profile })] });
    },

    /** Restrictive: of a person not known yet it is kept, and holds when they appear. */
    async suspend({ body }, ctx, read) {
      onlyFields(body, 'person', 'reason');
      const person = personIn(body);
      const reason = envelope(body, 'reason');
      const found = await findPerson(read, person);
      if (!found) {
        const since = latest(asObject(await read.get('suspensions', person))?.['since'], ctx.tau);
        return accept({ writes: [{ collection: 'suspensions', key: person, value: { reason, since } }] });
      }
      const since = latest(found.since, ctx.tau);
      return accept({ writes: [put(person, { ...found, status: 'suspended', reason, since })] });
    },

    async reinstate({ body }, ctx, read) {
      onlyFields(body, 'person');
      const person = personIn(body);
      const found = await findPerson(read, person);
      const waiting = found ? null : asObject(await read.get('suspensions', person));
      assertLater(ctx.tau, found?.since ?? waiting?.['since']);
      if (waiting) return accept({ writes: [{ collection: 'suspensions', key: person, value: null }] });
      const { reason: _, since: __, ...known } = found ?? (await knownPerson(read, person));
      if (known.status === 'active') throw new Reject('not-suspended', `${person} is not suspended.`);
      return accept({ writes: [put(person, { ...known, status: 'active' })] });
    },

    /** Members link themselves; a steward links anybody. */
    async link({ author, body }, _ctx, read) {
      onlyFields(body, 'person', 'member');
      const person = personIn(body);
      const member = matching(body, 'member', /^m[0-9a-f]{16}$/, 'a member id: "m" and 16 hex digits');
      if (author.member !== member && !author.roles.includes('steward'))
        throw new Reject('not-you', 'Only a steward links somebody else with a person.');
      const found = await knownPerson(read, person);
      if (found.member !== null)
        throw new Reject('already-linked', `${person} is the credit member ${found.member} already.`);
      if ((await read.get('members', member, 'kernel')) === null)
        throw new Reject('unknown-member', `There is no credit member ${member}.`);
      const other = asObject(await read.get('links', member));
      if (other)
        throw new Reject('already-linked', `${member} is the person ${String(other['person'])} already.`);
      return accept({
        writes: [put(person, { ...found, member }), { collection: 'links', key: member, value: { person } }],
      });
    },
  },

  async test(entries, _ctx, read) {
    const members = new Set<string>();
    const linked = new Map<string, string>();
    for await (const { key, value } of read.list('links'))
      linked.set(key, String(asObject(value)?.['person']));
    if (linked.size > 0)
      for await (const { key } of read.list('members', { dapp: 'kernel' })) members.add(key);
    let links = 0;
    for await (const { key, value } of read.list('people')) {
      const { member, profile, status } = value as unknown as Person;
      if (!isEnvelope(profile))
        return veto(entries, 'plain-personal-data', `The profile of ${key} is not sealed.`);
      if (status !== 'active' && status !== 'suspended')
        return veto(entries, 'bad-status', `${key} has no known status.`);
      if (member === null) continue;
      links++;
      if (linked.get(member) !== key)
        return veto(entries, 'bad-link', `${key} and ${member} are not linked both ways.`);
      if (!members.has(member))
        return veto(entries, 'bad-link', `${key} is linked to ${member}, who does not exist.`);
    }
    if (links !== linked.size)
      return veto(entries, 'bad-link', 'A link leads to a person who is not linked.');
    return pass;
  },
};
