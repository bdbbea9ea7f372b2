/** The content of `dapps/schemas/*.json`: the daemon's own schemas, as JSON Schema 2020-12 for authors in any language. */
import type { JsonObject } from '../ledger/ids.js';
import { manifestSchema } from './manifest.js';
import { fromContractSchemas, toContractSchemas } from './messages.js';

const DIALECT = 'https://json-schema.org/draft/2020-12/schema';

const plain = (schema: unknown): JsonObject => JSON.parse(JSON.stringify(schema)) as JsonObject;

/** File names and contents. */
export function schemaFiles(): ReadonlyMap<string, JsonObject> {
  const oneOf = (title: string, schemas: object): JsonObject => ({
    $schema: DIALECT,
    title,
    oneOf: Object.values(plain(schemas)),
  });
  return new Map([
    ['to-contract.json', oneOf('What the daemon sends to a contract, one line each', toContractSchemas)],
    ['from-contract.json', oneOf('What a contract sends to the daemon, one line each', fromContractSchemas)],
    ['dapp.json', { $schema: DIALECT, title: 'dapp.json, the manifest of a dapp', ...plain(manifestSchema) }],
  ]);
}
