/** `dapp.json`: what a dapp says of itself. Parsed strictly: a field that is not known is refused, so that typing errors show. */
import { Type } from 'typebox';
import { Compile } from 'typebox/compile';
import { KERNEL_NAMES } from '../ledger/charter.js';
import { TownError } from '../ledger/ids.js';
import { Name } from './messages.js';
import type { DappManifest } from './protocol.js';

const strict = { additionalProperties: false };
const Verb = Type.Object(
  {
    kind: Type.Union([Type.Literal('claim'), Type.Literal('fact')]),
    restrictive: Type.Optional(Type.Boolean()),
    summary: Type.String({ minLength: 1, maxLength: 200 }),
  },
  strict,
);

export const manifestSchema = Type.Object(
  {
    name: Name,
    version: Type.String({ pattern: '^(0|[1-9][0-9]{0,5})(\\.(0|[1-9][0-9]{0,5})){2}$' }),
    summary: Type.String({ minLength: 1, maxLength: 300 }),
    protocol: Type.Literal(1),
    contract: Type.Object(
      {
        command: Type.Array(Type.String({ minLength: 1, maxLength: 200, pattern: '^[^\\u0000]*$' }), {
          minItems: 1,
          maxItems: 16,
        }),
      },
      strict,
    ),
    verbs: Type.Record(Type.String({ pattern: '^[a-z][a-z0-9-]{0,31}$' }), Verb, {
      additionalProperties: false,
      maxProperties: 64,
    }),
    collections: Type.Array(Name, { maxItems: 32, uniqueItems: true }),
    reads: Type.Array(Name, { maxItems: 32, uniqueItems: true }),
    queries: Type.Array(Name, { maxItems: 32, uniqueItems: true }),
    limits: Type.Object(
      {
        memoryMiB: Type.Integer({ minimum: 32, maximum: 512 }),
        cpus: Type.Number({ exclusiveMinimum: 0, maximum: 4 }),
        pids: Type.Integer({ minimum: 1, maximum: 256 }),
        callMs: Type.Integer({ minimum: 10, maximum: 60_000 }),
      },
      strict,
    ),
  },
  strict,
);
const manifest = Compile(manifestSchema);

/**
 * @param json the parsed content of a `dapp.json`
 * @throws TownError `bad-manifest` (says where and what was expected), `kernel-name`
 */
export function parseManifest(json: unknown): DappManifest {
  if (!manifest.Check(json)) {
    const [first] = manifest.Errors(json);
    const where =
      first?.instancePath === '' || !first ? 'the whole' : first.instancePath.slice(1).replaceAll('/', '.');
    const extra = (first?.params as { additionalProperties?: readonly string[] } | undefined)
      ?.additionalProperties;
    throw new TownError(
      'bad-manifest',
      `dapp.json, ${where}: ${first?.message ?? 'is not a manifest'}${extra ? ` (${extra.join(', ')})` : ''}.`,
      'Compare it with dapps/schemas/dapp.json and the example in dapps/README.md.',
    );
  }
  const parsed = json as DappManifest;
  if (KERNEL_NAMES.has(parsed.name))
    throw new TownError(
      'kernel-name',
      `A dapp cannot be called "${parsed.name}": that name stands for the kernel.`,
      'Choose another name in dapp.json.',
    );
  if (parsed.reads.includes(parsed.name))
    throw new TownError('bad-manifest', `dapp.json, reads: "${parsed.name}" always reads its own namespace.`);
  for (const [verb, { kind, restrictive }] of Object.entries(parsed.verbs)) {
    if (restrictive && kind === 'fact')
      throw new TownError('bad-manifest', `dapp.json, verbs.${verb}: only a claim can be restrictive.`);
  }
  return parsed;
}

/** The heap that JavaScript gets of a dapp's memory, MiB: what the runtime itself needs is left out. The same in both drivers. */
export const heapMiB = (limits: DappManifest['limits']): number => Math.max(16, limits.memoryMiB - 56);
