/**
 * Verifies a town's history from its genesis: every signature, every certificate, every merge replayed by the dapps'
 * own contracts, every git object and every row held against what the replay gives. Reads only; the daemon may run.
 */
import { join } from 'node:path';
import { parseCertificate, verifyCertificate } from '../consensus/certificate.js';
import { valueIdOf } from '../consensus/vote.js';
import { chooseDriver } from '../dapps/choose-driver.js';
import type { ContractDriver } from '../dapps/driver.js';
import type { DappPackage } from '../dapps/package.js';
import { assertSupply } from '../ledger/supply.js';
import { NO_BLOCK, entriesText, readBlock } from '../ledger/block.js';
import { keyOfNode, parseCharter, type Charter } from '../ledger/charter.js';
import { parseTree, type GitObject, parseCommit } from '../ledger/git-object.js';
import type { KeyId, Millis, NodeId, Oid, Sha256 } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { readCharter } from '../ledger/kernel.js';
import { confirmMerge, readGenesis, readMerge, type BuiltMerge, type ClaimedMerge } from '../ledger/merge.js';
import { branchName, type BranchMark, type BranchPart } from '../ledger/order.js';
import { replay } from '../ledger/replay.js';
import { State } from '../ledger/state.js';
import type { StateTree } from '../ledger/state-tree.js';
import { openForReading } from '../store/database.js';
import { StoreReads } from '../store/reads.js';
import { readGitObject } from '../store/repository-reader.js';
import type { MergeRow } from '../store/rows.js';
import { manifestsOf, packagesOf, readPackages } from './dapp-set.js';
import { Conversations } from './drive.js';
import { hasTown } from './init-town.js';
import { MAIN } from './main-line.js';

export interface VerifyProblem {
  /** What it is about: `merge 12`, `block 3f…`, `state`. */
  readonly where: string;
  readonly what: string;
  readonly repair: string;
}

export interface VerifyReport {
  readonly ok: boolean;
  readonly checked: {
    readonly merges: number;
    readonly blocks: number;
    readonly entries: number;
    readonly gitObjects: number;
    readonly values: number;
  };
  readonly problems: readonly VerifyProblem[];
}

export interface VerifyOptions {
  /** Folder of the built dapps. */
  readonly packagesFolder: string;
  readonly driver?: 'container' | 'process';
  readonly onProgress?: (done: number, total: number, what: string) => void;
}

const PROBLEMS_MAX = 100;
const BLOCKS_OF_MERGE_MAX = 4096;
const FROM_GIT =
  'Move ledger.git aside and start the daemon if the database is whole; else take the object from a peer or a mirror.';
const FROM_PEER =
  'The database does not fit the history: keep the folder as it is and take the history from a peer or a mirror.';

/**
 * Verifies the town in a data folder.
 * @throws TownError `no-town`; what is wrong with the history itself is in the report
 */
export async function verifyTown(folder: string, options: VerifyOptions): Promise<VerifyReport> {
  if (!(await hasTown(folder)))
    throw new TownError('no-town', `There is no town in ${folder}.`, 'Name its data folder with --data.');
  const db = openForReading(folder);
  const packages = await readPackages(options.packagesFolder);
  const run = new Verification(folder, new StoreReads(db), packages, options);
  try {
    return await run.run();
  } finally {
    await run.close();
    db.close();
  }
}

class Verification {
  private readonly problems: VerifyProblem[] = [];
  private readonly checked = { merges: 0, blocks: 0, entries: 0, gitObjects: 0, values: 0 };
  private readonly cache = {};
  private readonly state = new State();
  private readonly times = new Map<Sha256, Millis>();
  private readonly oids = new Map<Sha256, Oid>();
  private driver: ContractDriver | null = null;

  constructor(
    private readonly folder: string,
    private readonly store: StoreReads,
    private readonly packages: readonly DappPackage[],
    private readonly options: VerifyOptions,
  ) {}

  async close(): Promise<void> {
    await this.driver?.stop();
  }

  async run(): Promise<VerifyReport> {
    const last = this.store.lastMerge();
    const total = (last?.height ?? 0) + 1;
    try {
      let at = await this.genesis();
      for (let height = 1; last && height <= last.height; height += 1) {
        this.options.onProgress?.(height, total, `merge ${height}`);
        at = await this.step(at, height);
        if (this.problems.length >= PROBLEMS_MAX) break;
      }
      if (this.problems.length === 0) this.compareState(last);
    } catch (error) {
      if (!(error instanceof TownError)) throw error;
      this.problem('history', error.message, error.advice ?? FROM_PEER);
    }
    this.options.onProgress?.(total, total, 'done');
    return { ok: this.problems.length === 0, checked: this.checked, problems: this.problems };
  }

  private problem(where: string, what: string, repair: string): void {
    if (this.problems.length < PROBLEMS_MAX) this.problems.push({ where, what, repair });
  }

  private row(height: number): MergeRow {
    const row = this.store.merge(height);
    if (!row) throw new TownError('missing-merge', `Merge ${height} is not in the database.`, FROM_PEER);
    return row;
  }

  private async genesis(): Promise<{ tree: StateTree; row: MergeRow }> {
    const row = this.row(0);
    const file = async (name: string): Promise<unknown> =>
      JSON.parse(Buffer.from(await this.fileOf(row, name)).toString('utf8'));
    const charter = parseCharter(await file('charter.json'));
    const { nonce } = (await file('genesis.json')) as { nonce: Sha256 };
    const genesis = readGenesis(row.raw, charter, nonce);
    await this.compareObjects('genesis', genesis.objects);
    this.state.apply(genesis.writes);
    this.remember(row);
    this.checked.merges += 1;
    return { tree: genesis.tree, row };
  }

  private async fileOf(row: MergeRow, name: string): Promise<Uint8Array> {
    const root = parseTree((await this.object(parseCommit(row.raw).fields.tree)).data);
    const entry = root.find((child) => child.name === name);
    if (!entry) throw new TownError('missing-file', `Merge ${row.height} has no ${name}.`, FROM_GIT);
    return (await this.object(entry.oid)).data;
  }

  /** From git, or from what is staged for it. */
  private async object(oid: Oid): Promise<GitObject> {
    return this.store.stagedObject(oid) ?? readGitObject(join(this.folder, 'ledger.git'), oid, this.cache);
  }

  private remember(row: MergeRow): void {
    this.times.set(row.id, row.time);
    this.oids.set(row.id, row.oid);
  }

  private async step(
    before: { tree: StateTree; row: MergeRow },
    height: number,
  ): Promise<{ tree: StateTree; row: MergeRow }> {
    const where = `merge ${height}`;
    const row = this.row(height);
    const charter = readCharter(this.state);
    const claimed = readMerge(row.raw, (node) => keyOfNode(charter, node));
    if (claimed.parent !== before.row.id || claimed.height !== height)
      this.problem(where, 'It does not follow the merge before it.', FROM_PEER);
    this.certificate(height, row, charter, before.row.id);
    const parts = await Promise.all(claimed.heads.map((head) => this.part(height, head, charter)));
    const built = await this.replayed(claimed, before, parts);
    await this.compareObjects(where, built.objects);
    this.compareRows(height, built);
    this.state.apply(built.writes);
    assertSupply(this.state, readCharter(this.state).supply);
    this.remember(row);
    this.checked.merges += 1;
    return { tree: built.tree, row };
  }

  private certificate(height: number, row: MergeRow, charter: Charter, parent: Sha256): void {
    const certificate = parseCertificate(this.store.certificate(height) ?? '{}');
    const keys = new Map(charter.validators.map((id) => [id as NodeId, charter.nodes[id]?.key as KeyId]));
    verifyCertificate(certificate, keys, charter.quorum);
    if (
      certificate.value !== valueIdOf(row.raw) ||
      certificate.height !== height ||
      certificate.parent !== parent
    )
      this.problem(`merge ${height}`, 'Its certificate is for another merge.', FROM_PEER);
  }

  /** The blocks of one branch that a merge folds in, each read from its bytes. */
  private async part(height: number, head: Sha256, charter: Charter): Promise<BranchPart> {
    const last = this.store.block(head);
    if (!last)
      throw new TownError(
        'missing-block',
        `The block ${head.slice(0, 12)}… of merge ${height} is not here.`,
        FROM_PEER,
      );
    const key = keyOfNode(charter, last.node);
    if (!key) throw new TownError('unknown-node', `The node ${last.node} is not in the charter.`, FROM_PEER);
    const mark = this.mark(last.node);
    const rows = this.store
      .blocksOfMerge(height, BLOCKS_OF_MERGE_MAX)
      .filter(({ node }) => node === last.node)
      .sort((a, b) => a.seq - b.seq);
    let prev = mark?.head ?? NO_BLOCK;
    const blocks = rows.map((row) => {
      const before = prev === NO_BLOCK ? null : this.store.block(prev);
      const entries = this.store
        .blockEntries(row.id)
        .map(({ bytes }) => ({ text: Buffer.from(bytes).toString('utf8') }));
      const main = before?.base === row.base ? null : (this.oids.get(row.base) ?? null);
      const block = readBlock(row.raw, Buffer.from(entriesText(entries)), key, {
        prev: before?.oid ?? null,
        main,
      });
      if (block.id !== row.id || block.prev !== prev)
        this.problem(`block ${row.id.slice(0, 12)}…`, 'It does not follow the block before it.', FROM_PEER);
      prev = block.id;
      this.checked.blocks += 1;
      this.checked.entries += block.entries.length;
      return block;
    });
    if (prev !== head)
      this.problem(
        `merge ${height}`,
        `It does not fold in the blocks up to ${head.slice(0, 12)}….`,
        FROM_PEER,
      );
    return { node: last.node, line: MAIN, tau: (mark?.tau ?? 0) as Millis, blocks };
  }

  private mark(node: string): BranchMark | undefined {
    const text = this.state.get('kernel', 'branches', branchName(node, MAIN));
    return text === undefined ? undefined : (JSON.parse(text) as BranchMark);
  }

  private async replayed(
    claimed: ClaimedMerge,
    before: { tree: StateTree; row: MergeRow },
    parts: readonly BranchPart[],
  ): Promise<BuiltMerge> {
    const { height } = claimed;
    const charter = readCharter(this.state);
    const packages = packagesOf(charter, this.packages);
    const driver = await this.contracts(claimed.town);
    await driver.start(packages);
    const result = await new Conversations(driver).run(
      replay({
        town: claimed.town,
        line: MAIN,
        height,
        time: claimed.time,
        parent: claimed.parent,
        state: this.state,
        parts,
        baseTime: (base) => {
          const time = this.times.get(base);
          if (time === undefined)
            throw new TownError('unknown-base', `No merge before ${height} is called ${base.slice(0, 12)}….`);
          return time;
        },
        manifests: manifestsOf(packages),
      }),
    );
    const heads = claimed.heads.map((head) => this.store.block(head)?.oid as Oid);
    return confirmMerge(claimed, { main: before.row.oid, heads }, before.tree, result);
  }

  private async contracts(town: string): Promise<ContractDriver> {
    if (this.driver) return this.driver;
    // A name of its own, so that the containers of a running daemon are left alone.
    const { driver } = await chooseDriver({
      town,
      node: `verify-${process.pid}`,
      log: () => undefined,
      prefer: this.options.driver,
    });
    this.driver = driver;
    return driver;
  }

  private async compareObjects(where: string, objects: readonly GitObject[]): Promise<void> {
    for (const { oid, data } of objects) {
      try {
        const kept = await this.object(oid);
        if (!Buffer.from(kept.data).equals(data))
          this.problem(where, `The git object ${oid} holds other bytes.`, FROM_GIT);
      } catch (error) {
        if (!(error instanceof TownError)) throw error;
        this.problem(where, error.message, error.advice ?? FROM_GIT);
      }
      this.checked.gitObjects += 1;
    }
  }

  private compareRows(height: number, built: BuiltMerge): void {
    for (const { id, verdict, code } of built.receipt.entries) {
      const row = this.store.entry(id);
      if (row?.height !== height || row.verdict !== verdict || row.code !== (code ?? null))
        this.problem(
          `entry ${id.slice(0, 12)}…`,
          `The database says ${row?.verdict ?? 'nothing'}, the replay ${verdict}.`,
          FROM_PEER,
        );
    }
  }

  /** The rows of the state against the replayed one; left out where the daemon has merged on meanwhile. */
  private compareState(last: MergeRow | null): void {
    const rows = [...this.store.allState()];
    if (this.store.lastMerge()?.id !== last?.id) return;
    const replayed = [...this.state.rows()];
    this.checked.values = rows.length;
    const text = ({
      dapp,
      collection,
      key,
      value,
    }: {
      dapp: string;
      collection: string;
      key: string;
      value: string;
    }): string => `${dapp}/${collection}/${key} ${value}`;
    const there = new Set(rows.map(text));
    const expected = new Set(replayed.map(text));
    for (const line of expected)
      if (!there.has(line)) this.problem('state', `The database lacks ${line.slice(0, 120)}.`, FROM_PEER);
    for (const line of there)
      if (!expected.has(line))
        this.problem('state', `The database has ${line.slice(0, 120)}, the replay has not.`, FROM_PEER);
  }
}
