/**
 * The columns of entries' rows that their bytes do not hold: claim or fact, and whose key it was. Held against what the dapps and the
 * state say of them, where that cannot have been otherwise when the entry came.
 */
import type { Charter } from '../ledger/charter.js';
import type { NodeId } from '../ledger/ids.js';
import { kindOf } from '../ledger/judge.js';
import { readCharter, readKey } from '../ledger/kernel.js';
import type { StateReader } from '../ledger/state.js';
import type { DappPackage } from '../dapps/package.js';
import { manifestsOf } from './dapp-set.js';
import type { OpenedDatabase } from './opened-database.js';
import type { Findings } from './verify-report.js';

/** The dapps that a town had in this very build at every moment: what they say of a type they have always said. */
export class SteadyDapps {
  private names: ReadonlySet<string> | null = null;
  private last: Charter | null = null;

  constructor(private readonly packages: readonly DappPackage[]) {}

  /** A charter of the town, in any order. */
  see(charter: Charter): void {
    if (charter === this.last) return;
    this.last = charter;
    const { names, packages } = this;
    const here = packages.filter(({ digest, manifest: { name } }) =>
      charter.dapps.some((dapp) => dapp.enabled && dapp.name === name && dapp.digest === digest),
    );
    this.names = new Set(
      here.map(({ manifest }) => manifest.name).filter((name) => names?.has(name) ?? true),
    );
  }

  get manifests(): ReturnType<typeof manifestsOf> {
    return manifestsOf(this.packages.filter(({ manifest }) => this.names?.has(manifest.name)));
  }
}

interface OriginRow {
  readonly id: string;
  readonly node: string;
  readonly type: string;
  readonly kind: string;
  readonly by: string;
  readonly member: string | null;
  readonly bytes: Uint8Array;
}

/**
 * Every row of the entries. @param state of `main`; @param own this node, null where its key cannot be read
 */
export function compareOrigins(
  database: OpenedDatabase,
  state: StateReader,
  steady: SteadyDapps,
  own: NodeId | null,
  findings: Findings,
): void {
  const { db, read } = database;
  steady.see(readCharter(state));
  const { manifests } = steady;
  const wrong = (id: string, what: string): void =>
    findings.problem('database', `entry ${id.slice(0, 12)}…`, what);
  const sql = 'SELECT id, node, type, kind, by, member, bytes FROM entries ORDER BY row';
  read(() => {
    for (const row of db.prepare<[], OriginRow>(sql).iterate()) {
      const kind = kindOf(row.type, manifests);
      if (kind !== undefined && row.kind !== kind)
        wrong(row.id, `Its row calls it a ${row.kind}; ${row.type} is a ${kind}.`);
      const key = readKey(state, row.by);
      // Whose key it is on the node's own view may never come to be merged.
      if (key === undefined || row.member === key.member) continue;
      if (row.member !== null)
        wrong(row.id, `Its row says that ${row.member} signed it; the key is that of ${key.member}.`);
      // Others' entries may have come before this node knew the key.
      else if (row.node === own && wasKnown(db, key.entry, row.bytes))
        wrong(row.id, `Its row does not say whose key signed it; it is that of ${key.member}.`);
    }
  });
}

/** Whether the entry that registered a key was merged when the other one was made. */
function wasKnown(db: OpenedDatabase['db'], registered: string, bytes: Uint8Array): boolean {
  const { base } = JSON.parse(Buffer.from(bytes).toString('utf8')) as { base: string };
  const heightOf = (sql: string, ...of: string[]): number | null =>
    (db
      .prepare(sql)
      .pluck()
      .get(...of) as number | null | undefined) ?? null;
  const at = heightOf('SELECT height FROM merges WHERE id = ?', base);
  const isHere =
    db.prepare('SELECT 1 FROM entries WHERE id = ? AND block IS NOT NULL').get(registered) !== undefined;
  // What is in the archive was merged no later than any entry that is not.
  const since = isHere
    ? heightOf('SELECT height FROM entries WHERE id = ? AND block IS NOT NULL', registered)
    : heightOf('SELECT min(height) FROM entries');
  return at !== null && since !== null && since <= at;
}
