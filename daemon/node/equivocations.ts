/**
 * Nodes that signed two things for one place, as this node deals with them: the proof is put on record once, people are told
 * whom it is about, and when the stewards readmit the node, its branch goes on here from where they say.
 */
import { objectsOf, readBlock, type Block } from '../ledger/block.js';
import {
  assertEquivocation,
  evidenceOfBlocks,
  evidenceOfVotes,
  type EvidenceBody,
  type SignedVote,
} from '../ledger/equivocation.js';
import { keyOfNode } from '../ledger/charter.js';
import type { JsonObject, NodeId } from '../ledger/ids.js';
import { invariant, TownError } from '../ledger/ids.js';
import { isSettled, readStanding, type Resumption } from '../ledger/kernel-evidence.js';
import { readBranch } from '../ledger/order.js';
import type { BlockRow, Ref } from '../store/rows.js';
import type { Equivocation } from '../sync/quarantine.js';
import type { Appender } from './appender.js';
import { branchRef } from './blocks.js';
import type { CoreStore } from './core-store.js';
import { Serial } from './drive.js';
import type { MainLine } from './main-line.js';
import type { View } from './view.js';

/** Proofs that may wait to be recorded: one is enough for a node. */
const WAITING_MAX = 64;
const VOID_BLOCKS_MAX = 100_000;

export interface EquivocationsParts {
  readonly store: CoreStore;
  readonly main: MainLine;
  readonly view: View;
  readonly appender: Appender;
  /** Something that people should look at. */
  readonly trouble: (code: string, message: string) => void;
}

export class Equivocations {
  private readonly tasks = new Serial(WAITING_MAX);

  constructor(private readonly parts: EquivocationsParts) {}

  /** A second block came for a number that has one here. */
  ofBlocks({ held, other, node, seq }: Equivocation): void {
    const { store } = this.parts;
    this.later(async () => {
      const known = store.block(held);
      if (known === null) return;
      await this.keep(known, other);
      await this.record(evidenceOfBlocks(known.raw, other.raw), node, `two blocks ${seq} of its branch`);
    });
  }

  /** A validator voted twice for one place. */
  ofVotes(first: SignedVote, second: SignedVote): void {
    const { height } = first;
    const what = `two votes for one place of merge ${height}`;
    this.later(() => this.record(evidenceOfVotes(first, second), first.node, what));
  }

  /**
   * A quorum stands behind another block than the first of these, which no merge has: the two are put on record, and ours leave
   * their branch. Git keeps them. Nothing is cut before the proof is durable.
   * @param gone the last blocks of one branch, oldest first; @param other verified, with the number and predecessor of the first
   */
  supersede(gone: readonly BlockRow[], other: Block): Promise<void> {
    const [first] = gone;
    const last = gone[gone.length - 1];
    invariant(
      first !== undefined && last !== undefined && first.seq === other.seq,
      'two blocks of one number',
    );
    const { node, line, seq } = first;
    const { store, view, main } = this.parts;
    const stays = first.prev === null ? null : store.block(first.prev);
    return this.tasks.run(
      async () => {
        await this.record(evidenceOfBlocks(first.raw, other.raw), node, `two blocks ${seq} of its branch`);
        const name = main.charter.nodes[node]?.name ?? node;
        const text =
          `Entries that you made by way of node ${name} may be void: it signed two histories, and the town merged the other. ` +
          'Look in the log what is missing, and record it again.';
        // What those blocks restricted at once goes with them.
        await view.rebuild(async () => {
          const range = { node, line, from: seq, next: last.seq + 1 };
          await store.cutBranch({
            ...range,
            refs: refsAfter(last, stays),
            notice: { at: main.head.time, text },
          });
        });
      },
      () => new TownError('busy', 'Evidence is being recorded already.'),
    );
  }

  private later(task: () => Promise<void>): void {
    const full = (): Error => new TownError('busy', 'Evidence is being recorded already.');
    this.tasks.run(task, full).catch((error: unknown) => {
      // Whoever finds it again brings it again.
      if (error instanceof TownError) return;
      this.parts.trouble('evidence-not-recorded', String(error));
    });
  }

  private async record(evidence: EvidenceBody, node: NodeId, what: string): Promise<void> {
    const { main, view, appender, trouble } = this.parts;
    const { charter, town } = main;
    const body = { ...evidence } as unknown as JsonObject;
    const found = assertEquivocation(body, town, (id) => keyOfNode(charter, id));
    const standing = readStanding(view.state, node);
    if (isSettled(standing, found)) return;
    if (standing?.status !== 'suspended') await appender.fact('evidence.equivocation', body);
    trouble(
      'equivocation',
      `Node ${charter.nodes[node]?.name ?? node} (${node}) signed ${what}: it is suspended, and its entries are merged no more. Its doors ` +
        'go on. Find out why (a copied disk, a stolen key); then a steward readmits it (town node readmit) or takes it out (town node remove).',
    );
  }

  /** Keeps the other block in git, where all that it stands on is here. */
  private async keep(held: BlockRow, other: { readonly raw: Uint8Array; readonly entries: Uint8Array }) {
    const { store, main } = this.parts;
    const { node, line, seq } = held;
    const key = keyOfNode(main.charter, node);
    const prev = held.prev === null ? null : store.block(held.prev);
    if (key === undefined || (held.prev !== null && prev === null)) return;
    for (const base of [prev?.base, main.head.id, held.base]) {
      const merge = base === undefined ? null : store.mergeById(base);
      const parents = { prev: prev?.oid ?? null, main: base === prev?.base ? null : (merge?.oid ?? null) };
      const block = readOrNull(() => readBlock(other.raw, other.entries, key, parents));
      if (block?.line !== line || block.seq !== seq) continue;
      await store.putRefs({
        objects: objectsOf(block),
        refs: [{ name: evidenceRef(node, seq), oid: block.oid }],
      });
      return;
    }
  }

  /**
   * Readies the branches of readmitted nodes: void blocks that are here leave their branch, so that what the stewards named
   * can take their place. Gives each node's last block that stays (null: none), for the others to be asked from there on.
   */
  async resume(nodes: readonly NodeId[]): Promise<ReadonlyMap<NodeId, BlockRow | null>> {
    const { main, store } = this.parts;
    const tips = new Map<NodeId, BlockRow | null>();
    for (const node of nodes) {
      const { resumes = {} } = readStanding(main.state, node) ?? {};
      for (const [line, place] of Object.entries(resumes)) await this.cut(node, line, place);
      if (resumes[main.line]) tips.set(node, store.lastBlock(node, main.line));
    }
    return tips;
  }

  private async cut(node: NodeId, line: string, { head, seq, next }: Resumption): Promise<void> {
    const { store, main } = this.parts;
    const merged = store.blocksUnmerged(node, line, 1)[0]?.seq;
    if (merged === undefined || merged >= next) return;
    const held = store.blocksFrom(node, line, Math.max(seq, 1), 1)[0];
    // What stands on the named block's own history stays; else all that is not merged goes.
    const from = held?.id === head ? seq + 1 : merged;
    const gone = store.blocksFrom(node, line, from, VOID_BLOCKS_MAX).filter((block) => block.seq < next);
    const last = gone[gone.length - 1];
    if (last === undefined || last.height !== null) return;
    const stays = from === merged ? readBranch(main.state, node, line)?.head : head;
    const tip = stays === undefined ? null : store.block(stays);
    await store.cutBranch({
      ...{ node, line, from, next },
      refs: refsAfter(last, tip),
      notice: {
        at: main.head.time,
        text:
          `Entries that you made by way of node ${main.charter.nodes[node]?.name ?? node} are void: it signed two histories, ` +
          'and the stewards readmitted it with the other. Look in the log what is missing, and record it again.',
      },
    });
  }
}

/** Where the other one of two blocks is kept in git. */
const evidenceRef = (node: string, seq: number): string => `refs/evidence/${node}/${seq}`;

/** The refs of a branch that is cut: what goes stays in git, and the branch ends where it ends now (null: before its first). */
const refsAfter = ({ node, line, seq, id, oid }: BlockRow, tip: BlockRow | null): readonly Ref[] => [
  { name: `${evidenceRef(node, seq)}-void-${id.slice(0, 12)}`, oid },
  ...(tip ? [{ name: branchRef(node, line), oid: tip.oid }] : []),
];

function readOrNull(read: () => Block): Block | null {
  try {
    return read();
  } catch (error) {
    if (error instanceof TownError) return null;
    throw error;
  }
}
