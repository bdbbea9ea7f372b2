/** What `main` is by now, in memory: the state after the last adopted merge, its tree and its head. */
import type { Parent } from '../consensus/proof.js';
import type { Charter } from '../ledger/charter.js';
import { readCharter } from '../ledger/kernel.js';
import type { Millis, Oid, Sha256 } from '../ledger/ids.js';
import { TownError, invariant } from '../ledger/ids.js';
import { sha256 } from '../ledger/hash.js';
import {
  assertRecovery,
  epochOf,
  followsOn,
  parseRecovery,
  readRecovery,
  recoveryText,
  type Recovery,
  type RecoveryStatement,
} from '../ledger/recovery.js';
import { assertSupply, assertTotals, totalsAfter, totalsOf, type Totals } from '../ledger/supply.js';
import { changeTree, type StateTree } from '../ledger/state-tree.js';
import { State, type StateWrite } from '../ledger/state.js';
import type { CoreStore } from './core-store.js';

/** The last recovery that this node goes by, or was left behind by, with its signatures. */
export const RECOVERY_META = 'recovery';
/** The last one that goes on from a merge which was not here yet: once that is, it is gone by, so it must not be forgotten either. */
export const AWAITED_RECOVERY_META = 'recovery-awaited';

export type RecoveryStanding = 'begins' | 'diverged' | 'ahead' | 'past';

/** The line that every town has. The others are draft forks. */
export const MAIN = 'main';

export interface Head {
  readonly height: number;
  readonly id: Sha256;
  readonly oid: Oid;
  readonly time: Millis;
}

/** A state that a quorum signed, and whose history is not here yet. */
export interface AheadOfMain {
  readonly head: Head;
  readonly state: State;
}

/** Values whose hashes are made before others have their turn. */
const VALUES_PER_TURN = 500;

export class MainLine {
  private totalsThen: { readonly of: Sha256; readonly totals: Totals } | null = null;
  private preparing: Promise<void> | null = null;
  private aheadNow: AheadOfMain | null = null;
  private begun: { readonly recovery: Recovery; readonly charter: Charter } | null = null;
  private leftBehind: RecoveryStatement | null = null;
  private awaited: Recovery | null = null;

  private constructor(
    readonly town: Sha256,
    readonly state: State,
    private currentTree: StateTree | null,
    private currentHead: Head,
    private readonly store: CoreStore,
    readonly line: string = MAIN,
    private readonly forkedAt: Head | null = null,
  ) {}

  /** From the store. @throws TownError `no-town` where there is no genesis */
  static load(store: CoreStore): MainLine {
    const genesis = store.merge(0);
    const last = store.lastMerge();
    if (!genesis || !last)
      throw new TownError(
        'no-town',
        `There is no town in ${store.folder}.`,
        `Found one with: town init --data ${store.folder}`,
      );
    const { height, id, oid, time } = last;
    const state = State.from(store.allState());
    const main = new MainLine(genesis.content, state, null, { height, id, oid, time }, store);
    for (const key of [RECOVERY_META, AWAITED_RECOVERY_META]) {
      const kept = store.meta(key);
      if (kept !== null) main.retake(parseRecovery(JSON.parse(kept)));
    }
    return main;
  }

  /**
   * A draft fork: a line that went off `main` at a merge.
   * @param base that merge; @param head the fork's last merge, or `base` where there is none
   */
  static fork(
    store: CoreStore,
    town: Sha256,
    line: string,
    base: Head,
    rows: readonly StateWrite[],
    head: Head,
  ): MainLine {
    const state = State.from(rows);
    const { tree } = changeTree(null, rows, {});
    assertSupply(state, readCharter(state).supply);
    return new MainLine(town, state, tree, head, store, line, base);
  }

  /** The merge that new entries and blocks of this line name as their base: on `main` its head, on a fork where it began. */
  get base(): Head {
    return this.forkedAt ?? this.currentHead;
  }

  get head(): Head {
    return this.currentHead;
  }

  /** While this node catches up: the state that people and doors are served from meanwhile. Nothing is signed on it. */
  get ahead(): AheadOfMain | null {
    return this.aheadNow;
  }

  lookAhead(ahead: AheadOfMain | null): void {
    this.aheadNow = ahead;
  }

  /** The newest state that is known to be the town's, and its head. */
  get seen(): State {
    return this.aheadNow?.state ?? this.state;
  }

  get seenCharter(): Charter {
    return this.aheadNow ? readCharter(this.aheadNow.state) : this.charter;
  }

  get seenHead(): Head {
    return this.aheadNow?.head ?? this.currentHead;
  }

  /** What a later merge is held against that is to be stood upon: the newest state, and the epoch that goes on from it. */
  get seenAuthority(): Parent {
    const { town, line, seenHead, seenCharter: charter } = this;
    const epoch = this.aheadNow ? epochOf(this.aheadNow.state) : this.epoch;
    return { town, line, height: seenHead.height, id: seenHead.id, epoch, charter };
  }

  /** The tree of the head (its receipt may be left out: the next merge writes its own). `prepare` makes it without a halt. */
  get tree(): StateTree {
    this.currentTree ??= changeTree(null, [...this.state.rows()], {}).tree;
    return this.currentTree;
  }

  /**
   * What a start can do after it serves: holds the state against the law of the accounts, and makes its tree in small steps,
   * so that the first merge need not. @throws InvariantError
   */
  prepare(): Promise<void> {
    this.preparing ??= this.prepareNow();
    return this.preparing;
  }

  private async prepareNow(): Promise<void> {
    assertTotals(this.totals, this.charter.supply);
    const { id } = this.head;
    // Somebody needed it at once, or went on.
    const isOver = (): boolean => this.currentTree !== null || this.head.id !== id;
    const folders = await this.byFolder(isOver);
    let tree: StateTree | null = null;
    for (const rows of folders) {
      if (isOver()) return;
      ({ tree } = changeTree(tree, rows, {}));
      await othersTurn();
    }
    if (!isOver()) this.currentTree = tree;
  }

  /** The state in parts of a few hundred values, those of one folder together: each folder is then made once, or nearly. */
  private async byFolder(isOver: () => boolean): Promise<readonly (readonly StateWrite[])[]> {
    const folders = new Map<string, StateWrite[]>();
    let count = 0;
    for (const row of this.state.rows()) {
      const name = folderOf(row);
      const rows = folders.get(name);
      if (rows) rows.push(row);
      else folders.set(name, [row]);
      if ((count += 1) % VALUES_PER_TURN !== 0) continue;
      await othersTurn();
      if (isOver()) return [];
    }
    const parts: StateWrite[][] = [];
    for (const name of [...folders.keys()].sort()) {
      const rows = folders.get(name) as StateWrite[];
      const last = parts[parts.length - 1];
      if (last && last.length + rows.length <= VALUES_PER_TURN) last.push(...rows);
      else
        for (let at = 0; at < rows.length; at += VALUES_PER_TURN)
          parts.push(rows.slice(at, at + VALUES_PER_TURN));
    }
    return parts;
  }

  /** Where the credits of the head are: summed up once, then carried along from merge to merge. */
  get totals(): Totals {
    if (this.totalsThen?.of !== this.head.id)
      this.totalsThen = { of: this.head.id, totals: totalsOf(this.state) };
    return this.totalsThen.totals;
  }

  /** As it holds for the next merge: with the validators of the epoch that it begins, where it begins one. */
  get charter(): Charter {
    return this.begun?.charter ?? readCharter(this.state);
  }

  /** Of the next merge. */
  get epoch(): number {
    return this.begun?.recovery.statement.epoch ?? epochOf(this.state);
  }

  /** What begins an epoch with the next merge; null where it goes on in the epoch of the head. */
  get recovery(): Recovery | null {
    return this.begun?.recovery ?? null;
  }

  /** In which epoch a merge of this height is at least, by what is known here. */
  epochDueAt(height: number): number {
    const { awaited, epoch } = this;
    return awaited && height > awaited.statement.height ? Math.max(awaited.statement.epoch, epoch) : epoch;
  }

  /** Whether this one was taken in, or a later one. */
  knows({ statement: { epoch, height } }: Recovery): boolean {
    const awaited = height > this.head.height ? this.awaited?.statement : null;
    const known = [this.begun?.recovery.statement, this.leftBehind, awaited];
    return known.some((statement) => statement && statement.epoch >= epoch);
  }

  /**
   * Whether the keys signed another statement for the epoch that this line goes by: then others may have begun it otherwise, and each
   * side holds to its own.
   */
  isRival(recovery: Recovery): boolean {
    const { statement } = recovery;
    const ours = this.begun?.recovery.statement ?? this.leftBehind ?? readRecovery(this.state);
    if (ours?.epoch !== statement.epoch || isSame(ours, statement)) return false;
    const { authority } = this;
    const wasIn = authority.epoch < statement.epoch ? authority.epoch : statement.epoch - 1;
    try {
      assertRecovery(recovery, { ...authority, epoch: wasIn });
      return true;
    } catch (error) {
      if (error instanceof TownError) return false;
      throw error;
    }
  }

  /** A recovery that goes on from before this head, or from another merge: what this node merged since counts no more. */
  get divergedFrom(): RecoveryStatement | null {
    return this.leftBehind;
  }

  /** The head as it stands in its own epoch: what a certificate of the next merge is held against. */
  get authority(): Parent {
    const { town, line, state } = this;
    const { height, id } = this.head;
    return { town, line, height, id, epoch: epochOf(state), charter: readCharter(state) };
  }

  /**
   * What a recovery is to this line: `begins` an epoch with the next merge; `diverged`, as it goes on from another merge than this
   * node has; `ahead`, from one that is not here yet; `past`, of an epoch that is over or that another one began.
   * @throws TownError `bad-recovery`, `no-recovery`
   */
  standingOf(recovery: Recovery): RecoveryStanding {
    const { statement } = recovery;
    const known = this.begun?.recovery.statement ?? this.leftBehind;
    if (statement.epoch <= epochOf(this.state)) return 'past';
    if (known && statement.epoch <= known.epoch && !isSame(known, statement)) return 'past';
    assertRecovery(recovery, this.authority);
    if (statement.height > this.head.height) return 'ahead';
    return followsOn(statement, this.head) ? 'begins' : 'diverged';
  }

  /** Takes a recovery in that is durable; without effect where it is past. @throws as `standingOf` */
  takeRecovery(recovery: Recovery): void {
    const standing = this.standingOf(recovery);
    if (standing === 'past') return;
    if (standing === 'ahead') this.awaited = recovery;
    else {
      const begins = standing === 'begins';
      this.begun = begins ? { recovery, charter: assertRecovery(recovery, this.authority) } : null;
      this.leftBehind = begins ? null : recovery.statement;
    }
  }

  /**
   * Time of an adopted merge.
   * @throws TownError `unknown-base`
   */
  timeOf(base: Sha256): Millis {
    if (base === this.currentHead.id) return this.currentHead.time;
    const merge = this.store.mergeById(base);
    if (!merge) throw new TownError('unknown-base', `No adopted merge is called ${base.slice(0, 12)}….`);
    return merge.time;
  }

  /** Steps to the next merge; the store has it already. */
  advance(head: Head, tree: StateTree, writes: readonly StateWrite[]): void {
    invariant(head.height === this.currentHead.height + 1, 'main goes up by one merge at a time');
    if (this.totalsThen?.of === this.head.id)
      this.totalsThen = { of: head.id, totals: totalsAfter(this.totalsThen.totals, this.state, writes) };
    this.state.apply(writes);
    this.currentTree = tree;
    this.currentHead = head;
    this.begun = null;
    if (this.awaited?.statement.height !== head.height) return;
    const { awaited } = this;
    this.awaited = null;
    this.retake(awaited);
  }

  private retake(recovery: Recovery): void {
    try {
      this.takeRecovery(recovery);
    } catch (error) {
      // The charter has other keys by now: what they have not signed begins nothing.
      if (!(error instanceof TownError)) throw error;
    }
  }
}

const isSame = (a: RecoveryStatement, b: RecoveryStatement): boolean => recoveryText(a) === recoveryText(b);

/** Where the tree has a value: its collection, and the folder that a large collection puts it into. */
const folderOf = ({ dapp, collection, key }: StateWrite): string =>
  `${dapp}/${collection}/${sha256(key).slice(0, 2)}`;

const othersTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
