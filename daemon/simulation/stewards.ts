/**
 * What the stewards of a simulated town see to: that lost nodes are replaced, that who has to go goes, that the charter changes.
 * They look at what is merged and ask for one change at a time until it is so, at whatever node is there.
 */
import { charterText, type Charter } from '../ledger/charter.js';
import type { EntryId, JsonObject, NodeId } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import type { Shape } from './scenario.js';
import type { SimulatedNode } from './simulated-node.js';
import { SECOND, type Chance, type Timeline } from './timeline.js';
import type { Watch } from './watch.js';
import type { Workload } from './workload.js';

/** Wishes that may wait. */
const WISHES_MAX = 32;
/** A change of a charter that the rules refuse for ever is not asked for again of that charter. */
const FINAL = new Set(['bad-charter', 'bad-charter-change']);

/** An allowance is closed or asked about so often for one wish, and not for ever. */
const CLOSINGS_MAX = 200;

/** The next change of the charter that leads there; null: it is so; `later`: others come first. */
type Wish = (charter: Charter) => JsonObject | null | 'later';

interface Asked {
  readonly id: EntryId;
  readonly node: SimulatedNode;
}

export class Stewards {
  readonly #wishes: { readonly name: string; readonly wish: Wish; readonly about: NodeId | undefined }[] = [];
  #asked: Asked | null = null;
  #busy = false;
  #waitsUntil = 0;
  #closings = 0;

  constructor(
    private readonly time: Timeline,
    private readonly chance: Chance,
    private readonly nodes: readonly SimulatedNode[],
    private readonly watch: Watch,
    private readonly workload: Workload,
  ) {}

  /** Whether all is as they want it. */
  get areContent(): boolean {
    return this.#wishes.length === 0;
  }

  /** Until when nothing can become of what they want: simulated time. */
  get waitsUntil(): number {
    return this.areContent ? 0 : this.#waitsUntil;
  }

  /** @param about the node that has to go, if one has */
  want(name: string, wish: Wish, about?: NodeId): void {
    if (this.#wishes.length < WISHES_MAX) this.#wishes.push({ name, wish, about });
  }

  start(): void {
    this.time.after(this.chance.between(2 * SECOND, 5 * SECOND), () => {
      if (!this.#busy) void this.#see();
      this.start();
    });
  }

  async #see(): Promise<void> {
    const open = this.nodes.filter((node) => !node.isApart && !node.isAstray && node.process?.isOpen());
    const [wanted] = this.#wishes;
    if (wanted === undefined || open.length === 0 || this.time.now < this.#waitsUntil) return;
    if (this.#asked !== null && this.#isPending(this.#asked)) return;
    const asked = this.#asked?.node;
    const node = asked !== undefined && open.includes(asked) ? asked : this.chance.pick(open);
    this.#asked = null;
    const { charter } = (node.process as NonNullable<SimulatedNode['process']>).core.main;
    const body = wanted.wish(charter);
    if (body === null) return this.#done(wanted.name);
    if (body === 'later') {
      this.#wishes.push(...this.#wishes.splice(0, 1));
      return;
    }
    this.#busy = true;
    // The process may end before it answers.
    this.time.after(20 * SECOND, () => (this.#busy = false));
    try {
      const id = await this.workload.change(node, body);
      this.watch.note(`${node.index} is asked for ${wanted.name}: ${JSON.stringify(body).slice(0, 200)}`);
      this.#asked = { id, node };
    } catch (error) {
      const code = error instanceof TownError ? error.code : String(error);
      this.watch.note(`${node.index} refuses ${wanted.name}: ${code}`);
      if (FINAL.has(code) && this.#isNewest(node, charter)) this.#done(wanted.name);
      // The first merge of an epoch needs something to merge.
      if (code === 'before-epoch') await this.workload.note(node);
      // It holds credits of members: those are closed first, and come home with a merge after the charter's wait.
      const { about } = wanted;
      if (code === 'allowances-open' && about !== undefined) {
        if ((this.#closings += 1) > CLOSINGS_MAX) this.watch.breach(`the allowances at ${about} never end`);
        this.#waitsUntil = await this.workload.closeAllowances(node, about);
      }
    } finally {
      this.#busy = false;
    }
  }

  /** Whether this is the charter as it is: a node may lag, and an epoch may have begun while it was asked. */
  #isNewest({ process }: SimulatedNode, asked: Charter): boolean {
    const main = process?.core.main;
    const heights = this.nodes
      .filter((node) => !node.isApart && !node.isAstray)
      .map((node) => node.process?.core.main.head.height ?? 0);
    return main?.head.height === Math.max(...heights) && charterText(main.charter) === charterText(asked);
  }

  #isPending({ id, node }: Asked): boolean {
    if (node.isApart || node.isAstray) return false;
    if (node.process === null) return true;
    return node.process.store.entry(id)?.state === 'pending';
  }

  #done(name: string): void {
    this.watch.note(`the stewards have ${name}`);
    this.#wishes.shift();
    this.#asked = null;
    this.#closings = 0;
  }
}

/** One node takes the place of another: it comes, then the other goes. Who decides is never fewer in between. */
export function replacement(old: NodeId, next: { readonly id: NodeId; readonly record: JsonObject }): Wish {
  return (charter) => {
    const { validators, nodes } = charter;
    const wasValidator = validators.includes(old);
    if (nodes[next.id] === undefined) {
      return {
        set: {
          [`/nodes/${next.id}`]: next.record,
          ...(wasValidator ? { '/validators': [...validators, next.id] } : {}),
        },
        remove: [],
      };
    }
    if (wasValidator && !validators.includes(next.id))
      return { set: { '/validators': [...validators, next.id] }, remove: [] };
    return removal(old)(charter);
  };
}

/** A node goes: first it decides no more, then it is none of the town's. */
export function removal(node: NodeId): Wish {
  return ({ validators, nodes }) => {
    if (validators.includes(node))
      return { set: { '/validators': validators.filter((id) => id !== node) }, remove: [] };
    return nodes[node] === undefined ? null : { set: {}, remove: [`/nodes/${node}`] };
  };
}

/** A validator that is none for a while. */
export function leaveAndReturn(node: NodeId): Wish {
  let isAway = false;
  return ({ validators, nodes }) => {
    const isThere = validators.includes(node);
    if (nodes[node] === undefined || (isAway && isThere)) return null;
    if (!isThere) isAway = true;
    return {
      set: { '/validators': isThere ? validators.filter((id) => id !== node) : [...validators, node] },
      remove: [],
    };
  };
}

/** As many validators as before, one after another, and their rule: after a recovery few are left. */
export function regrowth({ validators: count, quorum }: Shape, candidates: () => readonly NodeId[]): Wish {
  return ({ validators, nodes, quorum: rule }) => {
    const next = candidates().find((id) => nodes[id] !== undefined && !validators.includes(id));
    if (validators.length < count)
      return next === undefined ? 'later' : { set: { '/validators': [...validators, next] }, remove: [] };
    return validators.length === count && rule !== quorum ? { set: { '/quorum': quorum }, remove: [] } : null;
  };
}

/** Something is set once. */
export function setting(pointer: string, value: (charter: Charter) => JsonObject[string]): Wish {
  let wanted: JsonObject[string] | undefined;
  return (charter) => {
    wanted ??= value(charter);
    const [, first = '', second] = pointer.split('/');
    const place = (charter as unknown as JsonObject)[first] as JsonObject;
    const now = second === undefined ? place : place[second];
    return JSON.stringify(now) === JSON.stringify(wanted) ? null : { set: { [pointer]: wanted }, remove: [] };
  };
}
