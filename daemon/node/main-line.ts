/** What `main` is by now, in memory: the state after the last adopted merge, its tree and its head. */
import type { Charter } from '../ledger/charter.js';
import { readCharter } from '../ledger/kernel.js';
import type { Millis, Oid, Sha256 } from '../ledger/ids.js';
import { TownError, invariant } from '../ledger/ids.js';
import { assertSupply } from '../ledger/supply.js';
import { changeTree, type StateTree } from '../ledger/state-tree.js';
import { State, type StateWrite } from '../ledger/state.js';
import type { CoreStore } from './core-store.js';

/** The line that every town has. The others are draft forks. */
export const MAIN = 'main';

export interface Head {
  readonly height: number;
  readonly id: Sha256;
  readonly oid: Oid;
  readonly time: Millis;
}

export class MainLine {
  private constructor(
    readonly town: Sha256,
    readonly state: State,
    private currentTree: StateTree,
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
    const rows = [...store.allState()];
    const state = State.from(rows);
    const { tree } = changeTree(null, rows, {});
    assertSupply(state, readCharter(state).supply);
    const { height, id, oid, time } = last;
    return new MainLine(genesis.content, state, tree, { height, id, oid, time }, store);
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

  /** The tree of the head (its receipt may be left out: the next merge writes its own). */
  get tree(): StateTree {
    return this.currentTree;
  }

  get charter(): Charter {
    return readCharter(this.state);
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
    this.state.apply(writes);
    this.currentTree = tree;
    this.currentHead = head;
  }
}
