/**
 * A town on paper for laws that take thousands of runs: the real replay, the real judging of views, entries without
 * signatures and blocks without bytes. Nodes adopt what is merged when the test says so, and record on what they adopted.
 */
import { canonicalize } from '../canonical.js';
import { entryIdOf, type VerifiedEntry } from '../entry.js';
import { sha256 } from '../hash.js';
import type { JsonObject, KeyId, MemberId, Millis, NodeId, Sha256 } from '../ids.js';
import { judgeEntry, type Judged } from '../judge.js';
import { readCharter } from '../kernel.js';
import { readBranch, type BranchPart } from '../order.js';
import { replay, type Receipt } from '../replay.js';
import { memberIdOf, publicKeyOf } from '../signature.js';
import { Overlay, State } from '../state.js';
import { assertSupply } from '../supply.js';
import { MANIFESTS, SmallTown, drive, secretOf } from './small-town.js';

const keys = new Map<string, KeyId>();
/** The key of a word, as in a SmallTown; worked out once. */
export function keyOf(word: string): KeyId {
  const found = keys.get(word) ?? publicKeyOf(secretOf(word));
  keys.set(word, found);
  return found;
}

interface PaperBlock {
  readonly id: Sha256;
  readonly seq: number;
  readonly entries: readonly VerifiedEntry[];
}

/** One node: what it adopted, what it recorded since, and how it sees the town by that. */
interface PaperNode {
  readonly id: NodeId;
  n: number;
  blocks: PaperBlock[];
  main: State;
  base: Sha256;
  time: Millis;
  view: Overlay;
}

export interface PaperMerge {
  readonly receipt: Receipt;
  readonly height: number;
}

export class PaperTown {
  readonly state: State;
  readonly nodes = new Map<string, PaperNode>();
  readonly supply: number;
  private readonly town: Sha256;
  private head: { height: number; id: Sha256; time: Millis };
  private passed = 0;
  private readonly times = new Map<Sha256, Millis>();

  /** Starts where a SmallTown stands. */
  constructor(from: SmallTown) {
    this.state = State.from(from.state.rows());
    this.town = from.town;
    this.head = from.head;
    this.supply = from.charter.supply;
    this.times.set(this.head.id, this.head.time);
    for (const [name, { node, n, blocks }] of from.branches) {
      const main = State.from(this.state.rows());
      const { id: base, time } = this.head;
      const merged = blocks.map(({ id, seq, entries }) => ({ id, seq, entries }));
      this.nodes.set(name, { id: node, n, blocks: merged, main, base, time, view: new Overlay(main) });
    }
  }

  /** Records a statement at a node, whatever its view makes of it. @param who a word, or the name of the node itself */
  record(
    at: string,
    who: string,
    type: string,
    body: JsonObject,
    cosigners: readonly string[] = [],
  ): { readonly entry: VerifiedEntry; readonly judged: Judged } {
    const node = this.nodes.get(at) as PaperNode;
    node.n += 1;
    const cosigned = cosigners.map((word) => ({ by: keyOf(word), sig: 'A'.repeat(86) }));
    const entry = {
      v: 1,
      town: this.town,
      line: 'main',
      base: node.base,
      node: node.id,
      n: node.n,
      type,
      by: keyOf(who),
      at: node.time + node.n,
      body,
      sig: 'A'.repeat(86),
      ...(cosigned.length > 0 ? { cosigned } : {}),
    };
    const text = canonicalize(entry as never);
    const verified = { ...entry, id: entryIdOf(text), text } as unknown as VerifiedEntry;
    const seq = (node.blocks[node.blocks.length - 1]?.seq ?? 0) + 1;
    node.blocks.push({ id: sha256(`block ${node.id} ${seq}`), seq, entries: [verified] });
    return { entry: verified, judged: this.see(node, verified) };
  }

  /** Whether a node's view would take a claim; nothing is recorded. */
  wouldTake(at: string, who: string, type: string, body: JsonObject): boolean {
    const node = this.nodes.get(at) as PaperNode;
    const { n, view } = node;
    const blocks = [...node.blocks];
    node.view = new Overlay(view);
    const { judged } = this.record(at, who, type, body);
    Object.assign(node, { n, view, blocks });
    return judged.verdict.verdict === 'accepted';
  }

  /** Folds in the first blocks of each branch, as many as `quota` says of how many are open. Asserts the supply. */
  merge(quota: (name: string, open: number) => number = (_, open) => open): PaperMerge {
    const parts: BranchPart[] = [];
    const charter = readCharter(this.state);
    for (const [name, { id: node, blocks }] of this.nodes) {
      const mark = readBranch(this.state, node, 'main');
      const open = blocks.filter(({ seq }) => seq > (mark?.seq ?? 0));
      const folded = open.slice(0, quota(name, open.length));
      if (folded.length > 0 && charter.nodes[node])
        parts.push({ node, line: 'main', tau: (mark?.tau ?? 0) as Millis, blocks: folded });
    }
    const { town, head, state } = this;
    const time = (head.time + 1000 + this.passed) as Millis;
    this.passed = 0;
    const height = head.height + 1;
    const baseTime = (base: Sha256): Millis => this.times.get(base) as Millis;
    const place = { town, line: 'main', height, time, parent: head.id };
    const { writes, receipt } = drive(replay({ ...place, state, parts, baseTime, manifests: MANIFESTS }));
    state.apply(writes);
    assertSupply(state, this.supply);
    this.head = { height, id: sha256(`merge ${height} ${canonicalize(receipt as never)}`), time };
    this.times.set(this.head.id, time);
    return { receipt, height };
  }

  /** Lets time pass (ms) until the next merge. */
  pass(time: number): void {
    this.passed += time;
  }

  /** A node adopts what is merged, and judges anew what of its own is not. */
  adopt(name: string): void {
    const node = this.nodes.get(name) as PaperNode;
    node.main = State.from(this.state.rows());
    node.base = this.head.id;
    node.time = this.head.time;
    node.view = new Overlay(node.main);
    const seq = readBranch(node.main, node.id, 'main')?.seq ?? 0;
    for (const block of node.blocks)
      if (block.seq > seq) for (const entry of block.entries) this.see(node, entry);
    assertSupply(node.view, this.supply);
  }

  view(name: string): Overlay {
    return (this.nodes.get(name) as PaperNode).view;
  }

  private see(node: PaperNode, entry: VerifiedEntry): Judged {
    const trial = new Overlay(node.view);
    const tau = Math.max(entry.at, node.time) as Millis;
    const judged = drive(
      judgeEntry(entry, trial, {
        town: this.town,
        line: 'main',
        height: this.head.height + 1,
        time: Math.max(tau, node.time + 1) as Millis,
        tau,
        manifests: MANIFESTS,
        authority: node.view,
        arrival: 'pending',
        validators: readCharter(node.main).validators,
        baseTime: (base) => this.times.get(base) as Millis,
      }),
    );
    trial.settle();
    return judged;
  }
}

/** A town of three nodes with the stewards `ada` and `bob` and the members `cid` and `dan`, 500 credits each. */
export function settledTown(): SmallTown {
  const town = new SmallTown(['alpha', 'beta', 'gamma']).people('bob', 'cid', 'dan');
  const roles = { member: memberOf('bob'), roles: ['member', 'steward'] };
  town.block('alpha', [town.entry('alpha', 'ada', 'member.roles', roles)]);
  town.merge();
  return town;
}

/** The member of a word. */
export const memberOf = (word: string): MemberId => memberIdOf(keyOf(word));
