/**
 * The contract protocol as JSON schemas: one for each message, checked on every line that a contract writes.
 * `dapps/schemas/*.json` holds the same schemas for authors; a test keeps the two equal.
 */
import { Type, type TSchema } from 'typebox';
import { Compile } from 'typebox/compile';
import { canonicalize, JSON_DEPTH_MAX } from '../ledger/canonical.js';
import type { Json } from '../ledger/ids.js';
import type { FromContract } from './protocol.js';

/** A line of the protocol is at most this long, line feed not counted. */
export const LINE_BYTES_MAX = 1024 * 1024;
/** A value of the state is at most this long as canonical JSON. */
const VALUE_BYTES_MAX = 16 * 1024;
const QUESTION_LIMIT_MAX = 256;

const strict = { additionalProperties: false };
const Id = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });
const Int = Type.Integer({ minimum: Number.MIN_SAFE_INTEGER, maximum: Number.MAX_SAFE_INTEGER });
const Amount = Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER });
export const Name = Type.String({ pattern: '^[a-z][a-z0-9-]{0,31}$' });
const Key = Type.String({ pattern: '^[a-z0-9][a-z0-9._-]{0,127}$' });
const Code = Type.String({ pattern: '^[a-z][a-z0-9-]{0,63}$' });
const Text = Type.String({ minLength: 1, maxLength: 500 });
const Account = Type.String({ pattern: '^(vault|member\\.m[0-9a-f]{16})$' });
const Member = Type.String({ pattern: '^m[0-9a-f]{16}$' });
const Hash = Type.String({ pattern: '^[0-9a-f]{64}$' });
const Any = Type.Unknown();
const Fields = Type.Object({});

const Context = Type.Object(
  { town: Type.String(), height: Int, time: Int, tau: Int, parameters: Fields },
  strict,
);
const Author = Type.Object(
  {
    member: Type.Union([Type.String(), Type.Null()]),
    roles: Type.Array(Type.String()),
    key: Type.String(),
  },
  strict,
);
const Entry = Type.Object(
  {
    id: Hash,
    type: Type.String(),
    node: Type.String(),
    n: Int,
    at: Int,
    author: Author,
    body: Fields,
  },
  strict,
);

const message = (t: string, fields: Record<string, TSchema>): TSchema =>
  Type.Object({ t: Type.Literal(t), id: Id, ...fields }, strict);

/** What the daemon sends, by `t`. */
export const toContractSchemas: Readonly<Record<string, TSchema>> = {
  apply: message('apply', { entry: Entry, ctx: Context }),
  test: message('test', { entries: Type.Array(Hash), ctx: Context }),
  query: message('query', { name: Name, args: Fields, ctx: Context }),
  value: message('value', { value: Any }),
  page: message('page', {
    items: Type.Array(Type.Object({ key: Key, value: Any }, strict), { maxItems: QUESTION_LIMIT_MAX }),
    next: Type.Union([Key, Type.Null()]),
  }),
  refused: message('refused', { code: Code, message: Type.String() }),
};

const Posting = Type.Union([
  Type.Object({ op: Type.Literal('transfer'), from: Account, to: Account, amount: Amount }, strict),
  Type.Object(
    {
      op: Type.Literal('lock'),
      id: Key,
      from: Account,
      amount: Amount,
      deadline: Type.Optional(Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })),
    },
    strict,
  ),
  Type.Object(
    {
      op: Type.Literal('post'),
      id: Key,
      parts: Type.Array(Type.Object({ to: Account, amount: Amount }, strict), { minItems: 1, maxItems: 16 }),
    },
    strict,
  ),
  Type.Object({ op: Type.Literal('release'), id: Key }, strict),
  Type.Object({ op: Type.Literal('charge'), member: Member, to: Account, amount: Amount }, strict),
]);

/** What a contract may send, by `t`. */
export const fromContractSchemas: Readonly<Record<FromContract['t'], TSchema>> = {
  get: message('get', { dapp: Type.Optional(Name), collection: Name, key: Key }),
  list: message('list', {
    dapp: Type.Optional(Name),
    collection: Name,
    after: Type.Optional(Type.String({ maxLength: 128 })),
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: QUESTION_LIMIT_MAX })),
  }),
  accept: message('accept', {
    writes: Type.Array(Type.Object({ collection: Name, key: Key, value: Any }, strict), { maxItems: 64 }),
    postings: Type.Array(Posting, { maxItems: 16 }),
    notices: Type.Array(Type.Object({ member: Member, text: Text }, strict), {
      maxItems: 16,
    }),
    irregular: Type.Optional(Type.Object({ code: Code, reason: Text }, strict)),
  }),
  reject: message('reject', { code: Code, reason: Text }),
  pass: message('pass', {}),
  veto: message('veto', { entries: Type.Array(Hash, { maxItems: 2000 }), code: Code, reason: Text }),
  result: message('result', { value: Any }),
  error: message('error', { message: Type.String({ maxLength: 2000 }) }),
};

const compiled = new Map(Object.entries(fromContractSchemas).map(([t, schema]) => [t, Compile(schema)]));

/** A surrogate without its other half. */
const BROKEN_TEXT = /\p{Surrogate}/u;

/** What JSON values in the ledger may be: integers only, not too deep. Iterative, so that depth cannot overflow. */
function isPlain(root: unknown): boolean {
  const open: [unknown, number][] = [[root, 1]];
  for (let next = open.pop(); next; next = open.pop()) {
    const [value, depth] = next;
    if (depth > JSON_DEPTH_MAX) return false;
    if (typeof value === 'number' && (!Number.isSafeInteger(value) || Object.is(value, -0))) return false;
    if (typeof value === 'string' && BROKEN_TEXT.test(value)) return false;
    if (typeof value !== 'object' || value === null) continue;
    for (const [name, child] of Object.entries(value)) {
      if (BROKEN_TEXT.test(name)) return false;
      open.push([child, depth + 1]);
    }
  }
  return true;
}

/**
 * Reads one line of a contract.
 * @returns the message, or a plain sentence on what is wrong with the line: the same on every node and Node version
 */
export function parseFromContract(line: Uint8Array): FromContract | string {
  let parsed: unknown;
  try {
    parsed = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(line));
  } catch {
    return 'the line is not JSON in UTF-8';
  }
  if (typeof parsed !== 'object' || parsed === null || !('t' in parsed) || typeof parsed.t !== 'string')
    return 'the line is not an object with a field "t"';
  const schema = compiled.get(parsed.t);
  if (!schema) return 'its "t" is not a message that a contract sends';
  if (!isPlain(parsed))
    return 'it holds numbers that are no safe integers, broken text, or is nested too deeply';
  const said = parsed as FromContract;
  if (!schema.Check(parsed))
    return `its fields are not those of "${said.t}" in dapps/schemas/from-contract.json`;
  if (said.t === 'accept') {
    for (const { collection, value } of said.writes) {
      if (Buffer.byteLength(canonicalize(value)) > VALUE_BYTES_MAX)
        return `a value for the collection "${collection}" is longer than ${VALUE_BYTES_MAX} bytes`;
    }
  }
  return said;
}

/** One line for the wire: JSON and a line feed. */
export const lineOf = (value: Json | object): string => `${JSON.stringify(value)}\n`;
