/**
 * Recovery: where too few validators are left to merge anything, a statement signed by `k` of the offline keys in the charter's
 * `recovery` begins a new epoch with other validators, after the last merge that it names. The merge after that, the first of the
 * epoch, carries the statement in its certificate, and its replay puts it into the state before any entry: so a stranger follows
 * certificates along sets and epochs. What older epochs sign for later heights is void.
 */
import { Type, type Static } from 'typebox';
import { Value } from 'typebox/value';
import { canonicalize } from './canonical.js';
import { NodeSchema, charterText, parseCharter, type Charter } from './charter.js';
import type { Json, KeyId, Sha256 } from './ids.js';
import { TownError } from './ids.js';
import { KERNEL, readCharter } from './kernel.js';
import { publicKeyOf, SIGNATURE_TEXT, signText, verifyText } from './signature.js';
import { readJson, VALUE_BYTES_MAX, writeJson, type Overlay, type StateReader } from './state.js';

const DOMAIN = 'mergetown/recovery/v1';
/** Nodes that one statement brings into the town; with all else it stays below the bound of a value of the state. */
const NODES_MAX = 8;

const closed = { additionalProperties: false } as const;
const Hash = Type.String({ pattern: '^[0-9a-f]{64}$' });

const StatementSchema = Type.Object(
  {
    v: Type.Literal(1),
    town: Hash,
    line: Type.Literal('main'),
    /** The new one: above that of the merge it follows. */
    epoch: Type.Integer({ minimum: 1, maximum: 1_000_000 }),
    /** The last merge of the old epoch that counts, and its id. */
    height: Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER - 1 }),
    parent: Hash,
    /** Nodes that the charter does not have, by id: a restored board has a new key. */
    nodes: Type.Record(Type.String({ pattern: '^[0-9a-f]{16}$' }), NodeSchema, {
      ...closed,
      maxProperties: NODES_MAX,
    }),
    validators: Type.Array(Type.String({ pattern: '^[0-9a-f]{16}$' }), { minItems: 1, maxItems: 100 }),
    quorum: Type.Union([Type.Literal('majority'), Type.Literal('two-thirds')]),
  },
  closed,
);

const RecoverySchema = Type.Object(
  {
    statement: StatementSchema,
    /** Sorted by key, each once. */
    sigs: Type.Array(
      Type.Object({ key: Hash, sig: Type.String({ pattern: SIGNATURE_TEXT.source }) }, closed),
      {
        maxItems: 16,
      },
    ),
  },
  closed,
);

export type RecoveryStatement = Static<typeof StatementSchema>;
/** A statement with its signatures; as many as there are by now. */
export type Recovery = Static<typeof RecoverySchema>;

const bad = (what: string, advice?: string): TownError =>
  new TownError('bad-recovery', `The recovery does not hold: ${what}.`, advice);

/**
 * Reads a recovery: its shape; whether it holds is `assertRecovery`.
 * @throws TownError `bad-recovery` naming the place
 */
export function parseRecovery(value: unknown): Recovery {
  if (!Value.Check(RecoverySchema, value)) {
    const [first] = Value.Errors(RecoverySchema, value);
    throw bad(`${first?.instancePath === '' ? 'its root' : first?.instancePath}: ${first?.message}`);
  }
  const recovery: Recovery = value;
  const keys = recovery.sigs.map(({ key }) => key);
  if (keys.some((key, i) => i > 0 && key <= (keys[i - 1] as string)))
    throw bad('its signatures do not stand in the order of their keys, each once');
  return recovery;
}

/** What is signed, and by what two statements are compared: their signatures may be different ones. */
export const recoveryText = (statement: RecoveryStatement): string =>
  canonicalize(statement as unknown as Json);

/** With one more signature, by this seed (32 bytes); one by the same key is replaced. */
export function signRecovery({ statement, sigs }: Recovery, secretKey: Uint8Array): Recovery {
  const key = publicKeyOf(secretKey);
  return withSignatures(statement, [
    ...sigs,
    { key, sig: signText(secretKey, DOMAIN, recoveryText(statement)) },
  ]);
}

/**
 * One recovery of several copies of a statement that were signed apart.
 * @throws TownError `bad-recovery` where they are different statements
 */
export function joinRecoveries(copies: readonly Recovery[]): Recovery {
  const [first] = copies;
  if (!first) throw bad('there is none');
  if (copies.some(({ statement }) => recoveryText(statement) !== recoveryText(first.statement)))
    throw bad('these are different statements', 'Sign copies of one file, and give all of them together.');
  return withSignatures(
    first.statement,
    copies.flatMap(({ sigs }) => sigs),
  );
}

function withSignatures(statement: RecoveryStatement, sigs: Recovery['sigs']): Recovery {
  const byKey = new Map(sigs.map((each) => [each.key, each]));
  return parseRecovery({
    statement,
    sigs: [...byKey.keys()].sort().map((key) => byKey.get(key)),
  });
}

/** The charter from the first merge of the new epoch on. @throws TownError `bad-recovery` where it would not hold */
export function recoveredCharter(charter: Charter, statement: RecoveryStatement): Charter {
  const known = Object.keys(statement.nodes).find((id) => charter.nodes[id] !== undefined);
  if (known !== undefined) throw bad(`the node ${known}, which it brings, is in the charter already`);
  const idle = Object.keys(statement.nodes).find((id) => !statement.validators.includes(id));
  if (idle !== undefined) throw bad(`the node ${idle}, which it brings, is none of the new validators`);
  const { validators, quorum } = statement;
  try {
    const nodes = { ...charter.nodes, ...statement.nodes };
    const next = parseCharter({ ...charter, nodes, validators, quorum });
    if (Buffer.byteLength(charterText(next)) > VALUE_BYTES_MAX) throw bad('the charter would be too long');
    return next;
  } catch (error) {
    if (error instanceof TownError && error.code === 'bad-charter') throw bad(error.message);
    throw error;
  }
}

/** Where a town stands after a merge: what a recovery is held against. */
export interface Authority {
  readonly town: Sha256;
  readonly epoch: number;
  readonly charter: Charter;
}

/**
 * Checks a recovery against the town as it stands after the merge that it names: enough of the charter's keys signed it, and its
 * epoch is a later one. That the merge it names is that one is the caller's to know (`followsOn`).
 * @returns the charter of the new epoch
 * @throws TownError `bad-recovery`; `no-recovery` where the charter has no such keys
 */
export function assertRecovery({ statement, sigs }: Recovery, { town, epoch, charter }: Authority): Charter {
  const { recovery } = charter;
  if (!recovery)
    throw new TownError(
      'no-recovery',
      'The charter names no keys of recovery: nobody can begin a new epoch of this town.',
      'While enough validators are there: town recovery key, then town recovery set.',
    );
  if (statement.town !== town) throw bad('it is for another town');
  if (statement.epoch <= epoch)
    throw bad(`it is for epoch ${statement.epoch}, and the town is in epoch ${epoch}`);
  const text = recoveryText(statement);
  for (const { key, sig } of sigs) {
    if (!recovery.keys.includes(key)) throw bad(`${key.slice(0, 12)}… is no key of recovery of this town`);
    if (!verifyText(key as KeyId, DOMAIN, text, sig))
      throw bad(`the signature of ${key.slice(0, 12)}… does not hold`);
  }
  if (sigs.length < recovery.k)
    throw bad(
      `${sigs.length} of its keys signed, ${recovery.k} must`,
      'Let more of those who hold the keys sign it: town recovery sign FILE.',
    );
  return recoveredCharter(charter, statement);
}

/** Whether a statement goes on from exactly this merge. */
export const followsOn = (
  { height, parent }: RecoveryStatement,
  head: { readonly height: number; readonly id: Sha256 },
): boolean => height === head.height && parent === head.id;

/** The statement that began the epoch in force; undefined in the first. */
export const readRecovery = (state: StateReader): RecoveryStatement | undefined =>
  readJson<RecoveryStatement>(state, KERNEL, 'recovery', 'current');

/** The epoch of a state: 0 until the first recovery. */
export const epochOf = (state: StateReader): number => readRecovery(state)?.epoch ?? 0;

/** Begins the epoch in a state. @throws TownError `bad-recovery` */
export function recover(state: Overlay, statement: RecoveryStatement): void {
  const charter = recoveredCharter(readCharter(state), statement);
  state.put(KERNEL, 'charter', 'charter', charterText(charter));
  writeJson(state, KERNEL, 'recovery', 'current', statement);
}
