/** `town verify` holds a history to every rule that a node holds a merge to before it adopts it: also where all sums are right. */
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';
import { cpSync, rmSync } from 'node:fs';
import Database from 'better-sqlite3';
import t, { type Test } from 'tap';
import { certificateOf, certificateText } from '../consensus/certificate.js';
import { signVote, valueIdOf } from '../consensus/vote.js';
import { makeBlock, NO_BLOCK, objectsOf, type Block } from '../ledger/block.js';
import { signEntry } from '../ledger/entry.js';
import { sha256 } from '../ledger/hash.js';
import type { Millis, Sha256 } from '../ledger/ids.js';
import { makeGenesis, makeMerge, type MergePlace } from '../ledger/merge.js';
import type { BranchPart } from '../ledger/order.js';
import { replay } from '../ledger/replay.js';
import { drive, secretOf, T0 } from '../ledger/testing/small-town.js';
import { makerspaceCharter } from '../ledger/charter.js';
import { sealingKeyOf } from '../ledger/sealing.js';
import { State } from '../ledger/state.js';
import { registerRowSum, summedColumns, type SummedTable } from '../store/row-sums.js';
import { Repository } from '../store/repository.js';
import { Store } from '../store/store.js';
import { branchRef } from './blocks.js';
import { defaultConfig, writeConfig } from './config.js';
import { storeGenesis } from './genesis-store.js';
import { makeNodeKeys, type NodeKeys } from './key-files.js';
import { proofNote, NOTES_REF } from './proof-notes.js';
import { repairTown } from './repair-town.js';
import { verifyTown } from './verify-town.js';
import { nodeIdOf, publicKeyOf } from '../ledger/signature.js';

t.setTimeout(600_000);
const packagesFolder = fileURLToPath(new URL('../../packages', import.meta.url));

/** How the one validator lies. */
interface Lie {
  readonly place?: (place: MergePlace) => Partial<MergePlace>;
  readonly block?: (base: Sha256) => { readonly base?: Sha256; readonly main?: null; readonly town?: Sha256 };
  readonly certificate?: Partial<{ town: Sha256; line: string; epoch: number }>;
  /** Another node of the town makes the merge. */
  readonly byOther?: true;
  /** Which of its git objects (file, tree) the block lacks in git. */
  readonly lacks?: 0 | 1;
  /** The note tells of another round than the certificate. */
  readonly note?: true;
}

/** A town of one validator with one merge, stored as its daemon would, but for the lie. */
async function store(folder: string, lie: Lie): Promise<void> {
  const keys: NodeKeys = await makeNodeKeys(folder);
  const other = secretOf('other');
  const charter = {
    ...makerspaceCharter({
      name: 'Small',
      node: { id: keys.id, key: keys.key, name: 'one', sealing: sealingKeyOf(keys.sealingSecret) },
      dapps: [],
    }),
  };
  const otherKey = publicKeyOf(other);
  const otherId = nodeIdOf(otherKey);
  const nodes = { ...charter.nodes, [otherId]: { name: 'other', key: otherKey, roles: [] } };
  const genesis = makeGenesis({ ...charter, nodes }, sha256('nonce'), keys.id, T0, keys.secretKey);
  const town = genesis.merge.content;
  const kept = await Store.open(folder, { onFatal: () => undefined });
  try {
    await storeGenesis(kept, genesis);
    const { id: base, oid } = genesis.merge;
    const said = lie.block?.(base) ?? {};
    const of = said.town ?? town;
    const at = (T0 + 5) as Millis;
    const who = secretOf('ada');
    const content = {
      v: 1,
      town: of,
      line: 'main',
      base,
      node: keys.id,
      n: 1,
      type: 'member.found',
    } as const;
    const entry = signEntry({ ...content, by: publicKeyOf(who), at, body: {} }, who, [
      { by: keys.key, secretKey: keys.secretKey },
    ]);
    const { block } = makeBlock(
      { town: of, line: 'main', node: keys.id, seq: 1, prev: NO_BLOCK, base: said.base ?? base },
      { prev: null, main: said.main === null ? null : oid },
      [entry],
      at,
      keys.secretKey,
    );
    await putBlock(kept, block, lie.lacks);
    const state = State.from(genesis.writes);
    const parts: readonly BranchPart[] = [{ node: keys.id, line: 'main', tau: 0 as Millis, blocks: [block] }];
    const plain: MergePlace = {
      ...{ town, line: 'main', height: 1, time: (T0 + 1000) as Millis, parent: base, heads: [block.id] },
      node: lie.byOther ? otherId : keys.id,
    };
    const place = { ...plain, ...lie.place?.(plain) };
    const result = drive(replay({ ...place, state, parts, baseTime: () => T0, manifests: new Map() }));
    const secret = lie.byOther ? other : keys.secretKey;
    const built = makeMerge(place, { main: oid, heads: [block.oid] }, genesis.tree, result, secret);
    const vote = {
      town,
      line: 'main',
      epoch: 0,
      height: 1,
      round: 0,
      parent: base,
      step: 'precommit',
    } as const;
    const value = valueIdOf(built.merge.raw);
    const signed = signVote({ ...vote, value, ...lie.certificate }, keys.id, keys.secretKey);
    const certificate = certificateText(certificateOf([signed]));
    const told = lie.note
      ? certificateText(certificateOf([signVote({ ...vote, value, round: 7 }, keys.id, keys.secretKey)]))
      : certificate;
    const note = await proofNote(() => Promise.reject(new Error()), null, built.merge, told, keys);
    const { merge, objects, receipt, writes } = built;
    await kept.adopt({
      merge: { ...merge, counts: { accepted: receipt.entries.length, rejected: 0, irregular: 0 } },
      certificate,
      verdicts: receipt.entries.map(({ id, verdict, code, reason, writes: hash }) => ({
        ...{ id, state: verdict === 'rejected' ? 'rejected' : 'merged', verdict, code: code ?? null },
        ...{ reason: reason ?? null, other: null, writes: hash },
      })),
      blocks: [block.id],
      state: writes,
      objects: [...objects, ...note.objects],
      refs: [
        { name: 'refs/heads/main', oid: merge.oid },
        { ...note.ref, name: NOTES_REF },
      ],
    });
    const repository = await Repository.open(join(folder, 'ledger.git'), kept);
    await repository.close();
  } finally {
    await kept.close();
  }
  await writeConfig(folder, defaultConfig('one'));
}

async function putBlock(kept: Store, block: Block, lacks?: number): Promise<void> {
  const { id, oid, node, line, seq, base, raw, entries } = block;
  await kept.putBlock({
    block: { id, oid, node, line, seq, prev: null, base, raw, entries: entries.length },
    newEntries: entries.map((entry) => ({
      ...{
        id: entry.id,
        node,
        line,
        n: entry.n,
        type: entry.type,
        kind: 'claim',
        by: entry.by,
        member: null,
      },
      ...{ at: entry.at, bytes: Buffer.from(entry.text) },
    })),
    entryIds: entries.map((entry) => entry.id),
    objects: objectsOf(block).filter((_, i) => i !== lacks),
    refs: [{ name: branchRef(node, line), oid }],
  });
}

async function problemsOf(t: Test, lie: Lie): Promise<readonly string[]> {
  const folder = t.testdir({});
  await store(folder, lie);
  const { problems } = await verifyTown(folder, { packagesFolder, driver: 'process' });
  return problems.map(({ kind, where, what }) => `${kind} ${where}: ${what}`);
}

/** Changes columns of a table with the sums of its rows, as only a hand can. */
function change(folder: string, table: SummedTable, set: string): void {
  const db = new Database(join(folder, 'town.db'));
  try {
    registerRowSum(db);
    if (db.exec(`UPDATE ${table} SET ${set}`).prepare('SELECT changes()').pluck().get() === 0)
      throw new Error(`${table} has no rows`);
    db.exec(`UPDATE ${table} SET sum = row_sum(${summedColumns[table].join(', ')})`);
  } finally {
    db.close();
  }
}

const elsewhere = sha256('elsewhere');
const lies: { readonly [what: string]: readonly [lie: Lie, found: RegExp] } = {
  'a merge of another town': [{ place: () => ({ town: elsewhere }) }, /merge 1: .*another place/],
  'a merge of another line': [{ place: () => ({ line: 'draft' }) }, /merge 1: .*another place/],
  'a merge as early as its parent': [{ place: () => ({ time: T0 }) }, /merge 1: .*not after/],
  'a merge by a node that is no validator': [{ byOther: true }, /merge 1: .*no validator/],
  'a block on a base that is no merge': [
    { block: () => ({ base: elsewhere, main: null }) },
    /merge 1: No merge before/,
  ],
  'a block and an entry of another town': [{ block: () => ({ town: elsewhere }) }, /merge 1: /],
  'a certificate for another town': [
    { certificate: { town: elsewhere } },
    /certificate 1: .*it is for another place/,
  ],
  'a certificate for another line': [{ certificate: { line: 'draft' } }, /certificate 1: .*another place/],
  'a certificate of another epoch': [
    { certificate: { epoch: 1 } },
    /certificate 1: .*it is of epoch 1, and this is epoch 0/,
  ],
};

t.test('a town that tells the truth is found so', async (t) => t.same(await problemsOf(t, {}), []));
for (const [what, [lie, found]] of Object.entries(lies))
  t.test(`${what} is found, however rightly it is signed`, async (t) => {
    const problems = await problemsOf(t, lie);
    t.ok(
      problems.some((problem) => found.test(problem)),
      problems.join('\n') || 'nothing was found',
    );
  });

const rows: readonly (readonly [table: SummedTable, set: string])[] = [
  ['merges', 'time = time + 1'],
  ['merges', "content = id, node = '0000000000000000'"],
  ['merges', `counts = '{"accepted":0,"rejected":1,"irregular":0}'`],
  ['blocks', 'seq = seq + 1'],
  ['blocks', 'base = id'],
  ['entries', 'at = at + 1'],
  ['entries', "type = 'credit.transfer'"],
  ['entries', 'n = n + 1'],
  ['entries', "state = 'rejected'"],
  ['branches', 'blocked = blocked + 1, merged = merged - 1'],
];
t.test(
  'rows that say something else than their bytes are found, and made anew, whatever their sums',
  async (t) => {
    const folder = t.testdir({});
    await store(folder, {});
    const copy = `${folder}-copy`;
    t.teardown(() => rmSync(copy, { recursive: true, force: true }));
    for (const [table, set] of rows) {
      rmSync(copy, { recursive: true, force: true });
      cpSync(folder, copy, { recursive: true });
      change(copy, table, set);
      const { before, report } = await repairTown(copy, { packagesFolder, driver: 'process' });
      t.ok(
        before.problems.some(({ kind }) => kind === 'database'),
        `${table} ${set}`,
      );
      t.same(report.problems, [], `${table} ${set}: repaired`);
    }
    change(copy, 'meta', 'value = value'); // the rest of the row is as it was: nothing is wrong with that
    t.ok((await verifyTown(copy, { packagesFolder, driver: 'process' })).ok);
  },
);

t.test(
  'what git lacks of a block or says otherwise in a note is found and mended, though the database has it',
  async (t) => {
    const lies: readonly Lie[] = [{ lacks: 0 }, { lacks: 1 }, { note: true }];
    for (const [i, lie] of lies.entries()) {
      const folder = join(t.testdir({ [`town-${i}`]: {} }), `town-${i}`);
      await store(folder, lie);
      const { before, report } = await repairTown(folder, { packagesFolder, driver: 'process' });
      t.ok(
        before.problems.some(({ kind }) => kind === 'git'),
        JSON.stringify(lie),
      );
      t.same(report.problems, [], `${JSON.stringify(lie)}: repaired`);
    }
  },
);

t.test(
  'dapps that do not answer leave the history unjudged, and are not told as a fault of it',
  async (t) => {
    const folder = t.testdir({});
    await store(folder, {});
    const before = process.env['DOCKER_HOST'];
    process.env['DOCKER_HOST'] = join(folder, 'no-engine-here');
    t.teardown(() => {
      if (before === undefined) delete process.env['DOCKER_HOST'];
      else process.env['DOCKER_HOST'] = before;
    });
    const { ok, problems } = await verifyTown(folder, { packagesFolder, driver: 'container' });
    t.notOk(ok);
    t.match(problems, [{ kind: 'dapps', where: 'merge 1', repair: /^Nothing is known to be wrong/ }]);
    const { done } = await repairTown(folder, { packagesFolder, driver: 'container' });
    t.same(done, [], 'and nothing is repaired');
  },
);
