/**
 * The charter: the town's constitution, kept in the ledger as `charter.json`.
 * Roles and permissions, nodes and validators, the dapps with their digests, the parameters.
 */
import { Type, type Static } from 'typebox';
import { Value } from 'typebox/value';
import { canonicalize } from './canonical.js';
import type { Json, JsonObject, KeyId, NodeId, Sha256 } from './ids.js';
import { TownError } from './ids.js';
import { nodeIdOf } from './signature.js';

const DAY = 86_400_000;
const Count = (minimum: number, maximum: number) => Type.Integer({ minimum, maximum });
const Permission = Type.String({ pattern: '^([a-z][a-z0-9-]*\\.([a-z][a-z0-9-]*|\\*))$', maxLength: 65 });
const closed = { additionalProperties: false } as const;

export const NodeSchema = Type.Object(
  {
    name: Type.String({ minLength: 1, maxLength: 60 }),
    key: Type.String({ pattern: '^[0-9a-f]{64}$' }),
    /** X25519 key: what is for this node alone is sealed to it. */
    sealing: Type.Optional(Type.String({ pattern: '^[0-9a-f]{64}$' })),
    roles: Type.Array(Type.String({ pattern: '^[a-z][a-z0-9-]{0,31}$' }), { maxItems: 8 }),
  },
  closed,
);

const DappSchema = Type.Object(
  {
    name: Type.String({ pattern: '^[a-z][a-z0-9-]{0,31}$' }),
    version: Type.String({ pattern: '^[0-9]+\\.[0-9]+\\.[0-9]+$', maxLength: 32 }),
    /** SHA-256 content hash of the built, self-contained folder. */
    digest: Type.String({ pattern: '^[0-9a-f]{64}$' }),
    enabled: Type.Boolean(),
    /** Whether its contract may take credits out of the vault. */
    vault: Type.Boolean(),
    parameters: Type.Record(Type.String(), Type.Unknown()),
  },
  closed,
);

export const CharterSchema = Type.Object(
  {
    protocol: Type.Literal(1),
    name: Type.String({ minLength: 1, maxLength: 60 }),
    preset: Type.String({ pattern: '^[a-z][a-z0-9-]{0,31}$' }),
    supply: Count(1, 1_000_000_000_000),
    members: Type.Object({ grant: Count(0, 1_000_000) }, closed),
    /** Credits one offline allowance holds at most; how long one that is fenced still pays. */
    allowances: Type.Object({ most: Count(0, 1_000_000), fenceWaitMs: Count(0, 366 * DAY) }, closed),
    roles: Type.Record(
      Type.String({ pattern: '^[a-z][a-z0-9-]{0,31}$' }),
      Type.Object({ permissions: Type.Array(Permission, { maxItems: 64 }) }, closed),
      closed, // else what has another name would be taken unchecked
    ),
    /** How many stewards' signatures change the charter. */
    amend: Count(1, 16),
    nodes: Type.Record(Type.String({ pattern: '^[0-9a-f]{16}$' }), NodeSchema, closed),
    validators: Type.Array(Type.String({ pattern: '^[0-9a-f]{16}$' }), { minItems: 1, maxItems: 100 }),
    quorum: Type.Union([Type.Literal('majority'), Type.Literal('two-thirds')]),
    /** Offline keys, `k` of which start a new epoch with other validators when too few are left (recovery.ts). Absent: none can. */
    recovery: Type.Optional(
      Type.Object(
        {
          k: Count(1, 16),
          keys: Type.Array(Type.String({ pattern: '^[0-9a-f]{64}$' }), { minItems: 1, maxItems: 16 }),
        },
        closed,
      ),
    ),
    dapps: Type.Array(DappSchema, { maxItems: 64 }),
    pace: Type.Object({ interactiveMs: Count(0, 3_600_000), factsMs: Count(0, 86_400_000) }, closed),
    limits: Type.Object({ mergeEntries: Count(1, 10_000), mergeBytes: Count(65_536, 67_108_864) }, closed),
    /** Sealed records of persons: how many months their keys are kept, and the roles of the nodes that are given the keys. */
    records: Type.Object(
      {
        retentionMonths: Count(1, 1_200),
        readers: Type.Array(Type.String({ pattern: '^[a-z][a-z0-9-]{0,31}$' }), { maxItems: 8 }),
      },
      closed,
    ),
  },
  closed,
);

export type Charter = Static<typeof CharterSchema>;
export type CharterDapp = Static<typeof DappSchema>;

/** Names that belong to the kernel; no dapp may take them. */
export const KERNEL_NAMES: ReadonlySet<string> = new Set([
  'charter',
  'member',
  'credit',
  'allowance',
  'due',
  'evidence',
  'fork',
  'kernel',
  'node',
  'record',
]);

/** The role of everyone who may change the charter. */
export const STEWARD = 'steward';
export const MEMBER = 'member';

/**
 * Checks a charter, shape and sense.
 * @throws TownError `bad-charter` that names the place
 */
export function parseCharter(value: unknown): Charter {
  if (!Value.Check(CharterSchema, value)) {
    const [first] = Value.Errors(CharterSchema, value);
    throw new TownError(
      'bad-charter',
      `The charter does not hold at ${first?.instancePath === '' ? 'its root' : first?.instancePath}: ${first?.message}.`,
      'See the charter in use with `town charter show`.',
    );
  }
  const bad = (what: string): never => {
    throw new TownError('bad-charter', `The charter does not hold: ${what}.`);
  };
  const charter: Charter = value;
  const seen = new Set<string>();
  for (const id of charter.validators) {
    if (!charter.nodes[id]) bad(`the validator ${id} is not one of its nodes`);
    if (seen.has(id)) bad(`the validator ${id} is named twice`);
    seen.add(id);
  }
  if (charter.quorum === 'two-thirds' && charter.validators.length === 3)
    bad('"two-thirds" needs four validators or more (or one, or two on the way)');
  const keys = new Set<string>();
  for (const [id, node] of Object.entries(charter.nodes)) {
    if (nodeIdOf(node.key as KeyId) !== id) bad(`the node ${id} does not have the id of its key`);
    if (keys.has(node.key)) bad(`two nodes have the key ${node.key.slice(0, 12)}…`);
    keys.add(node.key);
  }
  const { k = 1, keys: offline = [''] } = charter.recovery ?? {};
  if (k > offline.length) bad(`its recovery wants ${k} signatures of ${offline.length} keys`);
  if (new Set(offline).size < offline.length) bad('a key of its recovery is named twice');
  if (offline.some((key) => keys.has(key)))
    bad('a key of its recovery is that of a node: it must lie elsewhere');
  const names = new Set<string>();
  for (const dapp of charter.dapps) {
    if (KERNEL_NAMES.has(dapp.name)) bad(`"${dapp.name}" is a name of the kernel`);
    if (names.has(dapp.name)) bad(`the dapp "${dapp.name}" is named twice`);
    names.add(dapp.name);
  }
  if (!permits(charter, [STEWARD], 'charter.change'))
    bad(`the role "${STEWARD}" is missing, or may not change the charter`);
  return charter;
}

export const charterText = (charter: Charter): string => canonicalize(charter);

/** Whether one of the roles has the permission; `<dapp>.*` covers every verb. */
export function permits(charter: Charter, roles: readonly string[], permission: string): boolean {
  const all = `${permission.slice(0, permission.indexOf('.'))}.*`;
  return roles.some((role) => {
    const permissions = charter.roles[role]?.permissions ?? [];
    return permissions.includes(permission) || permissions.includes(all);
  });
}

/** All that the roles permit, sorted. */
export const permissionsOf = (charter: Charter, roles: readonly string[]): readonly string[] =>
  [...new Set(roles.flatMap((role) => charter.roles[role]?.permissions ?? []))].sort();

export const keyOfNode = (charter: Charter, node: NodeId): KeyId | undefined =>
  charter.nodes[node]?.key as KeyId | undefined;

/** What `charter.change` asks for: JSON pointers (RFC 6901) to set or to remove, below the charter's root. */
export interface CharterChange {
  readonly set: JsonObject;
  readonly remove: readonly string[];
}

/**
 * The charter after a change.
 * @throws TownError `bad-charter-change` (a pointer leads nowhere, or touches what never changes), `bad-charter`
 */
export function changeCharter(charter: Charter, change: CharterChange): Charter {
  const next = JSON.parse(charterText(charter)) as JsonObject;
  for (const [pointer, value] of Object.entries(change.set)) setAt(next, pointer, value);
  for (const pointer of change.remove) setAt(next, pointer, undefined);
  const parsed = parseCharter(next);
  const fixed: (keyof Charter)[] = ['protocol', 'supply', 'preset'];
  for (const name of fixed)
    if (parsed[name] !== charter[name])
      throw new TownError('bad-charter-change', `"${name}" stands for ever; it cannot be changed.`);
  const moved = validatorsMoved(charter.validators, parsed.validators);
  if (moved > 1)
    throw new TownError(
      'bad-charter-change',
      `The set of validators changes by one at a time; this change moves ${moved}.`,
      'Make one change for each, and wait for its merge.',
    );
  for (const [id, node] of Object.entries(charter.nodes)) {
    const now = parsed.nodes[id];
    if (now && now.key !== node.key)
      throw new TownError(
        'bad-charter-change',
        `The key of node ${id} stands for ever: a new key is a new node.`,
      );
  }
  return parsed;
}

/** How many stand in one of two sets of validators alone. */
export function validatorsMoved(before: readonly string[], after: readonly string[]): number {
  const alone = (one: readonly string[], other: ReadonlySet<string>): number =>
    one.filter((id) => !other.has(id)).length;
  return alone(before, new Set(after)) + alone(after, new Set(before));
}

function setAt(root: JsonObject, pointer: string, value: Json | undefined): void {
  const bad = (what: string): never => {
    throw new TownError(
      'bad-charter-change',
      `"${pointer}" ${what}.`,
      'Name a place as a JSON pointer, for example /pace/factsMs.',
    );
  };
  if (!/^(\/[^/]+)+$/.test(pointer) || pointer.length > 512) bad('is no JSON pointer below the root');
  const parts = pointer
    .slice(1)
    .split('/')
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
  const last = parts.pop() as string;
  let place: unknown = root;
  for (const part of parts) {
    if (typeof place !== 'object' || place === null || !Object.hasOwn(place, part)) bad('leads nowhere');
    place = (place as Record<string, unknown>)[part];
  }
  if (typeof place !== 'object' || place === null || last === '__proto__') return bad('leads nowhere');
  const holder = place as Record<string, unknown>;
  if (Array.isArray(holder)) return bad('points into a list: set the whole list');
  if (value === undefined) {
    if (!Object.hasOwn(holder, last)) bad('is not there');
    delete holder[last];
  } else holder[last] = value;
}

/** What differs from town to town when it is founded. */
export interface Founding {
  readonly name: string;
  readonly node: {
    readonly id: NodeId;
    readonly key: KeyId;
    readonly name: string;
    /** 64 hex digits: the node's X25519 key. */
    readonly sealing?: string;
  };
  readonly dapps: readonly { readonly name: string; readonly version: string; readonly digest: Sha256 }[];
}

/** Parameters the preset gives each bundled dapp. */
const MAKERSPACE_PARAMETERS: { readonly [dapp: string]: JsonObject } = {
  gigs: {
    priceMin: 1,
    priceMax: 1000,
    rateWindowMs: 7 * DAY,
    disputeWindowMs: 7 * DAY,
    payoutPercent: [20, 40, 60, 80, 100],
    arbiterRole: STEWARD,
  },
};

/**
 * The preset `makerspace`: supply 1,000,000; a steward admits credit members with a grant of 500;
 * gigs cost 1–1,000; people with badges are without limit.
 */
export function makerspaceCharter({ name, node, dapps }: Founding): Charter {
  return parseCharter({
    protocol: 1,
    name,
    preset: 'makerspace',
    supply: 1_000_000,
    members: { grant: 500 },
    allowances: { most: 200, fenceWaitMs: 7 * DAY },
    roles: {
      [STEWARD]: {
        permissions: [
          'allowance.*',
          'charter.change',
          'credit.*',
          'door.open',
          'door.simulate',
          'door-access.*',
          'due.*',
          'fork.*',
          'gigs.*',
          'ledger.merge',
          'member.*',
          'membership.*',
          'node.*',
          'record.*',
        ],
      },
      [MEMBER]: {
        permissions: [
          'allowance.open',
          'credit.transfer',
          'due.pay',
          'due.waive',
          'gigs.*',
          'member.add-key',
          'member.leave',
          'member.revoke-key',
          'membership.link',
          'record.erase',
        ],
      },
    },
    amend: 1,
    nodes: {
      [node.id]: {
        name: node.name,
        key: node.key,
        ...(node.sealing === undefined ? {} : { sealing: node.sealing }),
        roles: ['door'],
      },
    },
    validators: [node.id],
    quorum: 'majority',
    dapps: dapps.map(({ name: dapp, version, digest }) => ({
      name: dapp,
      version,
      digest,
      enabled: true,
      vault: false,
      parameters: MAKERSPACE_PARAMETERS[dapp] ?? {},
    })),
    pace: { interactiveMs: 2000, factsMs: 15 * 60_000 },
    limits: { mergeEntries: 2000, mergeBytes: 2 * 1024 * 1024 },
    // A door node needs names for its log, and where people are enrolled there is a door; a hub carries the ledger and no more.
    records: { retentionMonths: 12, readers: ['door'] },
  });
}

/** Presets by name: data, not code paths. */
export const PRESETS: { readonly [name: string]: (founding: Founding) => Charter } = {
  makerspace: makerspaceCharter,
};
