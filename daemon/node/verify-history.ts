/**
 * Walks a town's history from its genesis to the head, believing nothing: signatures, chain and content of every block and merge,
 * every certificate, every merge replayed by the dapps' own contracts. What it leads to goes to a `HistorySink`, which holds it
 * against what is stored, or stores it anew.
 */
import { parseCertificate } from '../consensus/certificate.js';
import { proveMerge, type Parent, type Proven } from '../consensus/proof.js';
import { chooseDriver } from '../dapps/choose-driver.js';
import type { ContractDriver } from '../dapps/driver.js';
import type { DappPackage } from '../dapps/package.js';
import { NO_BLOCK, readBlock, type Block } from '../ledger/block.js';
import { keyOfNode, parseCharter, type Charter } from '../ledger/charter.js';
import type { Millis, Oid, Sha256 } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import { readCharter } from '../ledger/kernel.js';
import {
  confirmMerge,
  readGenesis,
  readMerge,
  type BuiltMerge,
  type Genesis,
  type Origin,
} from '../ledger/merge.js';
import { branchName, readBranch, type BranchPart } from '../ledger/order.js';
import { epochOf } from '../ledger/recovery.js';
import { replay } from '../ledger/replay.js';
import { assertSupply, assertTotals, totalsAfter, totalsOf, type Totals } from '../ledger/supply.js';
import { State, type StateWrite } from '../ledger/state.js';
import type { StateTree } from '../ledger/state-tree.js';
import { readState } from '../store/snapshot.js';
import { manifestsOf, packagesOf } from './dapp-set.js';
import { Conversations, type Exchange } from './drive.js';
import { HistoryReader, within, type ReadBlock, type ReadMerge } from './history-reader.js';
import type { LedgerSource } from './ledger-source.js';
import { MAIN } from './main-line.js';
import { assertFoldable, assertFollows } from './merge-rules.js';
import type { SignaturePool } from './signature-pool.js';

/** Nobody waits for a verification as for a merge: a busy machine may take its time to start a contract, and to run it. */
const START_MS = 60_000;
const CALL_MS_MIN = 120_000;

/** A contract did not answer: nothing is known of the history by that. */
export const UNANSWERED = 'dapp-unanswered';

/** @throws TownError `UNANSWERED` with what kept the dapps from answering */
async function answered<T>(task: () => Promise<T>): Promise<T> {
  try {
    return await task();
  } catch (error) {
    if (!(error instanceof TownError)) throw error;
    throw new TownError(UNANSWERED, error.message, error.advice);
  }
}

/** A branch's blocks as a merge folds them in, whole. */
export interface FoldedPart extends BranchPart {
  readonly blocks: readonly Block[];
}

/** What the walk finds out, in order. Each is awaited before the next. */
export interface HistorySink {
  genesis(genesis: Genesis, state: State): Promise<void>;
  /** A merge as the replay confirmed it, before its writes are applied to `state`. `certificate`: as kept, proven. */
  merge(
    built: BuiltMerge,
    parts: readonly FoldedPart[],
    certificate: string | null,
    state: State,
  ): Promise<void>;
  /** Something is wrong that the walk can go on from. */
  problem(where: string, what: string): void;
}

export interface WalkOptions {
  readonly source: LedgerSource;
  /** The git id of the merge to walk to. */
  readonly head: Oid;
  readonly packages: readonly DappPackage[];
  readonly driver?: 'container' | 'process' | undefined;
  readonly pool: SignaturePool;
  readonly sink: HistorySink;
  /** Told after each merge: merges and entries so far, and how many merges there are. */
  readonly onProgress?: ((done: WalkDone) => void) | undefined;
}

export interface WalkDone {
  readonly merges: number;
  readonly mergesTotal: number;
  readonly blocks: number;
  readonly entries: number;
}

/** Entries whose signatures are checked ahead of the replay: less than are remembered as good. */
const AHEAD_ENTRIES = 4096;

/** Where the walk ended. */
export interface Walked {
  readonly state: State;
  readonly done: WalkDone;
  /** Git ids of all merges by their ids. */
  readonly oids: ReadonlyMap<Sha256, Oid>;
}

/** @throws TownError that names the first place behind which nothing can be replayed */
export async function walkHistory(options: WalkOptions): Promise<Walked> {
  const walk = new Walk(options);
  try {
    return await walk.run();
  } finally {
    await walk.close();
  }
}

class Walk {
  private readonly state = new State();
  private readonly times = new Map<Sha256, Millis>();
  private readonly oids = new Map<Sha256, Oid>();
  /** The last block folded in of each branch. */
  private readonly lastOf = new Map<string, { readonly oid: Oid; readonly base: Sha256 }>();
  private driver: ContractDriver | null = null;
  private town: Sha256 | null = null;
  /** Carried along: looking at every account after every merge is what a large town cannot bear. */
  private totals: Totals | null = null;
  private done = { merges: 0, mergesTotal: 0, blocks: 0, entries: 0 };

  private readonly reader: HistoryReader;

  constructor(private readonly options: WalkOptions) {
    this.reader = new HistoryReader(options.source);
  }

  async close(): Promise<void> {
    await this.driver?.stop();
  }

  async run(): Promise<Walked> {
    const chain = await this.reader.chain(this.options.head);
    this.done.mergesTotal = chain.length;
    let at = await this.genesis(chain[0] as Oid);
    this.count(0, 0);
    let height = 1;
    for await (const read of this.readAhead(chain)) {
      at = await within(`merge ${height}`, () => this.step(at, height, read));
      height += 1;
    }
    assertSupply(this.state, readCharter(this.state).supply);
    return { state: this.state, done: this.done, oids: this.oids };
  }

  private count(blocks: number, entries: number): void {
    this.done.merges += 1;
    this.done.blocks += blocks;
    this.done.entries += entries;
    this.options.onProgress?.(this.done);
  }

  private async genesis(oid: Oid): Promise<{ tree: StateTree; id: Sha256; oid: Oid }> {
    return within('genesis', async () => {
      const { source, sink } = this.options;
      const commit = await source.read(oid);
      const file = async (name: 'charter.json' | 'genesis.json'): Promise<unknown> =>
        JSON.parse(Buffer.from(await source.genesisFile(commit, name)).toString('utf8'));
      const charter = parseCharter(await file('charter.json'));
      const { nonce, origin } = (await file('genesis.json')) as { nonce: Sha256; origin?: Origin };
      const state: StateWrite[] = [];
      if (origin) for await (const row of readState(source, oid)) state.push(row);
      const genesis = readGenesis(commit.data, charter, nonce, origin && { origin, state });
      await sink.genesis(genesis, this.state);
      this.state.apply(genesis.writes);
      this.totals = totalsOf(this.state);
      this.remember(genesis.merge);
      this.town = genesis.merge.content;
      return { tree: genesis.tree, id: genesis.merge.id, oid };
    });
  }

  private remember({ id, oid, time }: { id: Sha256; oid: Oid; time: Millis }): void {
    this.times.set(id, time);
    this.oids.set(id, oid);
  }

  /** Reads merges ahead of the replay and has their signatures checked on other cores meanwhile. */
  private async *readAhead(chain: readonly Oid[]): AsyncGenerator<ReadMerge> {
    const ahead: { readonly read: ReadMerge; readonly entries: number; readonly checked: Promise<void> }[] =
      [];
    let entries = 0;
    for (const [height, oid] of chain.entries()) {
      if (height === 0) continue;
      const read = await within(`merge ${height}`, () => this.reader.merge(oid));
      const texts = read.branches.flatMap((blocks) =>
        blocks.flatMap((block) => Buffer.from(block.entries).toString('utf8').split('\n').slice(0, -1)),
      );
      ahead.push({ read, entries: texts.length, checked: this.prepare(read, texts) });
      entries += texts.length;
      while (entries > AHEAD_ENTRIES) {
        const first = ahead.shift();
        if (!first) break;
        entries -= first.entries;
        await first.checked;
        yield first.read;
      }
    }
    for (const { read, checked } of ahead) {
      await checked;
      yield read;
    }
  }

  private prepare({ branches }: ReadMerge, texts: readonly string[]): Promise<void> {
    const charter = readCharter(this.state);
    const commits = branches.flat().flatMap(({ commit, place }) => {
      const key = keyOfNode(charter, place.node);
      return key === undefined ? [] : [{ raw: commit.data, key }];
    });
    return this.options.pool.prepare(texts, commits);
  }

  private async step(
    before: { tree: StateTree; id: Sha256; oid: Oid },
    height: number,
    read: ReadMerge,
  ): Promise<{ tree: StateTree; id: Sha256; oid: Oid }> {
    const { source, sink } = this.options;
    const town = this.town as Sha256;
    const { data: raw, oid } = read.commit;
    const proof = this.certify(await source.certificates(height, oid), raw, {
      ...{ town, line: MAIN, height: height - 1, id: before.id },
      epoch: epochOf(this.state),
      charter: readCharter(this.state),
    });
    const { charter } = proof;
    const claimed = readMerge(raw, (node) => keyOfNode(charter, node));
    const parent = { height: height - 1, id: before.id, time: this.timeOf(before.id, height) };
    assertFollows(claimed, parent, town, charter);
    const parts = read.branches.map((blocks) => this.partOf(blocks, charter));
    assertFoldable(parts, charter, this.state);
    const heads = parts.map(({ blocks }) => blocks.at(-1)?.id);
    if (heads.join() !== claimed.heads.join())
      throw new TownError('bad-merge', 'The heads that it names are not those of its parents.');
    const packages = packagesOf(charter, this.options.packages);
    const contracts = await answered(() => this.contracts(claimed.town, packages));
    const result = await new Conversations(contracts).run(
      replay({
        town: claimed.town,
        line: MAIN,
        height,
        time: claimed.time,
        parent: claimed.parent,
        state: this.state,
        parts,
        baseTime: (base) => this.timeOf(base, height),
        manifests: manifestsOf(packages),
        recovery: proof.recovery?.statement,
      }),
    );
    const oids = parts.map(({ blocks }) => blocks.at(-1)?.oid as Oid);
    const built = confirmMerge(claimed, { main: before.oid, heads: oids }, before.tree, result);
    await sink.merge(built, parts, proof.certificate, this.state);
    this.totals = totalsAfter(this.totals as Totals, this.state, built.writes);
    this.state.apply(built.writes);
    assertTotals(this.totals, readCharter(this.state).supply);
    this.remember(claimed);
    const blocks = parts.flatMap((part) => part.blocks);
    this.count(
      blocks.length,
      blocks.reduce((sum, { entries }) => sum + entries.length, 0),
    );
    return { tree: built.tree, id: claimed.id, oid: claimed.oid };
  }

  private timeOf(base: Sha256, height: number): Millis {
    const time = this.times.get(base);
    if (time !== undefined) return time;
    throw new TownError('unknown-base', `No merge before ${height} is called ${base.slice(0, 12)}….`);
  }

  /** The first certificate that proves the merge, and under what; each that does not is a problem. */
  private certify(
    found: readonly string[],
    raw: Uint8Array,
    parent: Parent,
  ): Proven & { readonly certificate: string | null } {
    const where = `certificate ${parent.height + 1}`;
    for (const certificate of found)
      try {
        return { ...proveMerge(parseCertificate(certificate), raw, parent), certificate };
      } catch (error) {
        if (!(error instanceof TownError)) throw error;
        this.options.sink.problem(where, error.message);
      }
    this.options.sink.problem(where, 'No certificate proves the merge.');
    return { epoch: parent.epoch, charter: parent.charter, recovery: null, certificate: null };
  }

  /** One branch's blocks, each read strictly and following the one before it. */
  private partOf(read: readonly ReadBlock[], charter: Charter): FoldedPart {
    const { node, line } = (read[0] as ReadBlock).place;
    const key = keyOfNode(charter, node);
    if (key === undefined)
      throw new TownError('unknown-node', `It folds in blocks of ${node}, which is not in the charter.`);
    const mark = readBranch(this.state, node, line);
    let prev = mark?.head ?? NO_BLOCK;
    let before: { readonly oid: Oid; readonly base: Sha256 } | null =
      this.lastOf.get(branchName(node, line)) ?? null;
    const blocks: Block[] = read.map(({ commit, place, entries }) => {
      if (place.line !== line || place.node !== node || place.prev !== prev || place.town !== this.town)
        throw new TownError(
          'bad-block',
          `Block ${place.seq} of ${node} does not follow the block before it.`,
        );
      this.timeOf(place.base, this.done.merges);
      const main = before?.base === place.base ? null : (this.oids.get(place.base) ?? null);
      const block = readBlock(commit.data, entries, key, { prev: before?.oid ?? null, main });
      prev = block.id;
      before = block;
      return block;
    });
    const last = blocks.at(-1) as Block;
    this.lastOf.set(branchName(node, line), { oid: last.oid, base: last.base });
    return { node, line, tau: (mark?.tau ?? 0) as Millis, blocks };
  }

  /** The contracts of these dapps. What they do not answer is told as that. */
  private async contracts(town: string, packages: readonly DappPackage[]): Promise<Exchange> {
    const driver = (this.driver ??= await this.chosen(town));
    await driver.start(packages);
    return { exchange: (dapp, message) => answered(() => driver.exchange(dapp, message)) };
  }

  private async chosen(town: string): Promise<ContractDriver> {
    // A name of its own, so that the containers of a running daemon are left alone.
    const { driver } = await chooseDriver({
      town,
      node: `verify-${process.pid}`,
      log: () => undefined,
      prefer: this.options.driver,
      ...{ startMs: START_MS, callMsMin: CALL_MS_MIN },
    });
    return driver;
  }
}
