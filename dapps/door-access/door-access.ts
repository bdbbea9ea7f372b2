/**
 * Who may open which door. The gate of each node gets its rights table from the query `rights`.
 * Badges are keyed hashes (64 hex digits); the numbers and the key never enter the ledger.
 *
 * Collections: `doors`, `badges`, and what restricts a badge or door not known yet: `revocations`, `lockdowns`.
 */
import {
  accept,
  irregular,
  pass,
  Reject,
  veto,
  type Contract,
  type Json,
  type JsonObject,
  type Reader,
  type Write,
} from '../sdk/typescript/contract.js';
import {
  asObject,
  assertLater,
  envelope,
  integer,
  isEnvelope,
  latest,
  matching,
  onlyFields,
  text,
} from '../sdk/typescript/body.js';

/** One value of `doors`. `node`: the one that has the door's reader and strike; `since`: of a lockdown, ms. */
export interface Door {
  readonly name: string;
  readonly node: string;
  readonly mode: 'normal' | 'lockdown';
  readonly added: number;
  readonly reason?: string;
  readonly since?: number;
}
/** One value of `badges`. `reason` (sealed) and `since` (ms): of the revocation. */
export interface Badge {
  readonly person: string;
  readonly doors: readonly string[] | '*';
  readonly status: 'active' | 'revoked';
  readonly enrolled: number;
  readonly until?: number;
  readonly reason?: JsonObject;
  readonly since?: number;
}
interface Person {
  readonly status: 'active' | 'suspended';
  readonly reason?: JsonObject;
}

const DOOR = /^[a-z0-9][a-z0-9-]{0,31}$/;
const DOORS_OF_A_BADGE_MAX = 64;
/** Pages end at either, so that they fit into one line of the protocol (1 MiB) beside the doors. */
const RIGHTS_PAGE_BADGES = 3000;
const RIGHTS_PAGE_CHARS = 700_000;

const doorIn = (body: JsonObject): string =>
  matching(body, 'door', DOOR, 'a door id: 1 to 32 of a–z, 0–9 and "-"');
const badgeIn = (body: JsonObject): string =>
  matching(body, 'badge', /^[0-9a-f]{64}$/, 'the keyed hash of a badge: 64 hex digits');

function doorsIn(body: JsonObject): readonly string[] | '*' {
  const doors = body['doors'];
  if (doors === '*') return '*';
  const bad = new Reject(
    'bad-body',
    `"doors" must be "*" or a list of 1 to ${DOORS_OF_A_BADGE_MAX} door ids.`,
  );
  if (!Array.isArray(doors) || doors.length === 0 || doors.length > DOORS_OF_A_BADGE_MAX) throw bad;
  if (!doors.every((door) => typeof door === 'string' && DOOR.test(door))) throw bad;
  return [...new Set(doors as string[])].sort();
}

const findDoor = async (read: Reader, door: string): Promise<Door | null> =>
  (await read.get('doors', door)) as unknown as Door | null;
const findBadge = async (read: Reader, badge: string): Promise<Badge | null> =>
  (await read.get('badges', badge)) as unknown as Badge | null;
const putDoor = (key: string, value: Door): Write => ({
  collection: 'doors',
  key,
  value: value as unknown as Json,
});
const putBadge = (key: string, value: Badge): Write => ({
  collection: 'badges',
  key,
  value: value as unknown as Json,
});
const drop = (collection: string, key: string): Write => ({ collection, key, value: null });

export const doorAccess: Contract = {
  verbs: {
    async 'add-door'({ body }, ctx, read) {
      onlyFields(body, 'door', 'name', 'node');
      const door = doorIn(body);
      const name = text(body, 'name', 60);
      const node = matching(body, 'node', /^[0-9a-f]{16}$/, 'a node id: 16 hex digits');
      if (await findDoor(read, door)) throw new Reject('door-exists', `There is a door "${door}" already.`);
      const locked = asObject(await read.get('lockdowns', door));
      const fresh = { name, node, added: ctx.tau };
      if (!locked) return accept({ writes: [putDoor(door, { ...fresh, mode: 'normal' })] });
      const reason = locked['reason'] as string;
      const since = locked['since'] as number;
      return accept({
        writes: [putDoor(door, { ...fresh, mode: 'lockdown', reason, since }), drop('lockdowns', door)],
      });
    },

    /**
     * A badge that its person has already gets the new doors and end. Of a person who is suspended it opens nothing until
     * they are reinstated: the suspension may be of the same merge, and must not lose the badge.
     */
    async enrol({ body }, ctx, read) {
      onlyFields(body, 'badge', 'person', 'doors', 'until');
      const badge = badgeIn(body);
      const person = matching(body, 'person', /^p[0-9a-f]{16}$/, 'a person id: "p" and 16 hex digits');
      const doors = doorsIn(body);
      const until =
        body['until'] === undefined ? {} : { until: integer(body, 'until', 0, 8_640_000_000_000_000) };
      if ((await read.get('people', person, 'membership')) === null)
        throw new Reject('unknown-person', `There is no person ${person}.`);
      if (doors !== '*') {
        for (const door of doors) {
          if (!(await findDoor(read, door))) throw new Reject('unknown-door', `There is no door "${door}".`);
        }
      }
      const known = await findBadge(read, badge);
      if (known && known.person !== person)
        throw new Reject('badge-taken', `This badge belongs to the person ${known.person}.`);
      const value = { person, doors, enrolled: known?.enrolled ?? ctx.tau, ...until };
      // Revoked, maybe in this very merge: it gets its doors and stays revoked until it is reactivated.
      if (known?.status === 'revoked') {
        const { reason, since } = known;
        const still = {
          status: 'revoked',
          ...(reason && { reason }),
          ...(since !== undefined && { since }),
        } as const;
        return accept({ writes: [putBadge(badge, { ...value, ...still })] });
      }
      const revoked = asObject(await read.get('revocations', badge));
      if (!revoked) return accept({ writes: [putBadge(badge, { ...value, status: 'active' })] });
      const reason = revoked['reason'] as JsonObject;
      const since = revoked['since'] as number;
      return accept({
        writes: [putBadge(badge, { ...value, status: 'revoked', reason, since }), drop('revocations', badge)],
      });
    },

    /** Restrictive: of a badge not known yet it is kept, and holds when the badge appears. */
    async revoke({ body }, ctx, read) {
      onlyFields(body, 'badge', 'reason');
      const badge = badgeIn(body);
      const reason = envelope(body, 'reason');
      const known = await findBadge(read, badge);
      if (!known) {
        const since = latest(asObject(await read.get('revocations', badge))?.['since'], ctx.tau);
        return accept({ writes: [{ collection: 'revocations', key: badge, value: { reason, since } }] });
      }
      const since = latest(known.since, ctx.tau);
      return accept({ writes: [putBadge(badge, { ...known, status: 'revoked', reason, since })] });
    },

    async reactivate({ body }, ctx, read) {
      onlyFields(body, 'badge');
      const badge = badgeIn(body);
      const known = await findBadge(read, badge);
      if (!known) {
        const revoked = asObject(await read.get('revocations', badge));
        if (!revoked) throw new Reject('unknown-badge', 'This badge is neither enrolled nor revoked.');
        assertLater(ctx.tau, revoked['since']);
        return accept({ writes: [drop('revocations', badge)] });
      }
      if (known.status === 'active') throw new Reject('badge-active', 'This badge is not revoked.');
      assertLater(ctx.tau, known.since);
      const { reason: _, since: __, ...rest } = known;
      return accept({ writes: [putBadge(badge, { ...rest, status: 'active' })] });
    },

    /** Restrictive: of a door not known yet it is kept, and holds when the door appears. */
    async lockdown({ body }, ctx, read) {
      onlyFields(body, 'door', 'reason');
      const door = doorIn(body);
      const reason = text(body, 'reason', 200);
      const known = await findDoor(read, door);
      if (!known) {
        const since = latest(asObject(await read.get('lockdowns', door))?.['since'], ctx.tau);
        return accept({ writes: [{ collection: 'lockdowns', key: door, value: { reason, since } }] });
      }
      const since = latest(known.since, ctx.tau);
      return accept({ writes: [putDoor(door, { ...known, mode: 'lockdown', reason, since })] });
    },

    async unlock({ body }, ctx, read) {
      onlyFields(body, 'door');
      const door = doorIn(body);
      const known = await findDoor(read, door);
      if (!known) {
        const locked = asObject(await read.get('lockdowns', door));
        if (!locked) throw new Reject('unknown-door', `There is no door "${door}".`);
        assertLater(ctx.tau, locked['since']);
        return accept({ writes: [drop('lockdowns', door)] });
      }
      if (known.mode === 'normal')
        throw new Reject('not-locked-down', `The door "${door}" is not locked down.`);
      assertLater(ctx.tau, known.since);
      const { reason: _, since: __, ...rest } = known;
      return accept({ writes: [putDoor(door, { ...rest, mode: 'normal' })] });
    },

    /** A fact: what a node's gate saw. It changes no state; where it breaks a rule it is recorded as irregular. */
    async event({ author, body, node }, _ctx, read) {
      if (author.member !== null)
        return irregular('not-a-node', 'Door events are signed by the node that saw them.');
      if (!isEnvelope(body['record']))
        return irregular(
          'plain-personal-data',
          'The record must be an encrypted envelope {enc: 1, key, iv, ct}.',
        );
      try {
        onlyFields(body, 'door', 'kind', 'outcome', 'code', 'record', 'table');
        doorIn(body);
        matching(body, 'kind', /^(tap|exit|open|late)$/, 'tap, exit, open or late');
        matching(body, 'outcome', /^(granted|refused)$/, 'granted or refused');
        matching(body, 'code', /^[a-z][a-z-]{0,31}$/, 'a code of the gate');
        integer(body, 'table', 0, Number.MAX_SAFE_INTEGER);
      } catch (error) {
        if (error instanceof Reject) return irregular(error.code, error.reason);
        throw error;
      }
      const door = await findDoor(read, doorIn(body));
      if (!door) return irregular('unknown-door', `There is no door "${doorIn(body)}" in the ledger.`);
      if (door.node !== node) return irregular('not-your-door', `That door is on the node ${door.node}.`);
      return accept();
    },
  },

  async test(entries, _ctx, read) {
    const doors = new Set<string>();
    const people = new Set<string>();
    for await (const { key } of read.list('doors')) doors.add(key);
    for await (const { key } of read.list('people', { dapp: 'membership' })) people.add(key);
    for await (const { key, value } of read.list('badges')) {
      const badge = value as unknown as Badge;
      if (!people.has(badge.person))
        return veto(entries, 'unknown-person', `Badge ${key.slice(0, 8)}… belongs to nobody known.`);
      const unknown = badge.doors === '*' ? undefined : badge.doors.find((door) => !doors.has(door));
      if (unknown !== undefined)
        return veto(
          entries,
          'unknown-door',
          `Badge ${key.slice(0, 8)}… opens "${unknown}", which does not exist.`,
        );
    }
    return pass;
  },

  queries: {
    /**
     * The rights table: `{doors: {id: {mode}}, badges: {hash: {person, status, doors, until?, reason?}}}`. The reason is
     * sealed: about the badge where it is revoked, about the person where they are suspended.
     * With very many badges only the first come, and `next`: ask again with `{after: next}` for more badges.
     */
    async rights(args, _ctx, read) {
      const doors: Record<string, Json> = {};
      for await (const { key, value } of read.list('doors'))
        doors[key] = { mode: (value as unknown as Door).mode };
      const people = new Map<string, Person>();
      for await (const { key, value } of read.list('people', { dapp: 'membership' })) {
        const { status, reason } = value as unknown as Person;
        people.set(key, { status, ...(reason !== undefined && { reason }) });
      }
      const badges: Record<string, Json> = {};
      let count = 0;
      let chars = 0;
      let last = '';
      const after = args['after'];
      for await (const { key, value } of read.list('badges', typeof after === 'string' ? { after } : {})) {
        const right = rightsOf(value as unknown as Badge, people);
        chars += JSON.stringify(right).length + key.length;
        if (count++ === RIGHTS_PAGE_BADGES || (count > 1 && chars > RIGHTS_PAGE_CHARS))
          return { doors, badges, next: last };
        badges[key] = right;
        last = key;
      }
      return { doors, badges };
    },
  },
};

function rightsOf(badge: Badge, people: ReadonlyMap<string, Person>): Json {
  const { person, doors, until } = badge;
  const rest = { person, doors, ...(until !== undefined && { until }) };
  if (badge.status === 'revoked')
    return { ...rest, status: 'revoked', ...(badge.reason !== undefined && { reason: badge.reason }) };
  const who = people.get(person);
  if (who?.status === 'active') return { ...rest, status: 'active' };
  return { ...rest, status: 'suspended', ...(who?.reason !== undefined && { reason: who.reason }) };
}
