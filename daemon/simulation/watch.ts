/**
 * What must hold in a town whatever happens, looked at as it happens: one merge a height, no vote twice, no vote against a lock,
 * constant supply, nothing acknowledged lost, every promised payment kept. Every breach is kept in words; none of them stops a node.
 */
import { parseCertificate } from '../consensus/certificate.js';
import type { Message } from '../consensus/gossip.js';
import { quorumOf } from '../consensus/quorum.js';
import { parseVote, type Vote } from '../consensus/vote.js';
import { assertSupply } from '../ledger/supply.js';
import { readCharter } from '../ledger/kernel.js';
import type { EntryId, NodeId, Sha256 } from '../ledger/ids.js';
import type { MergeRow } from '../store/rows.js';
import type { NodeWatch, Point, SimulatedNode, SimulatedProcess } from './simulated-node.js';
import type { Timeline } from './timeline.js';

const BREACHES_MAX = 20;
/** The last lines of what happened are kept for a seed that fails. */
const TRACE_LINES_MAX = 2_000;

/** An entry that somebody was told is durable. */
export interface Acknowledged {
  readonly id: EntryId;
  readonly node: NodeId;
  readonly type: string;
}

export class Watch implements NodeWatch {
  readonly breaches: string[] = [];
  readonly acknowledged: Acknowledged[] = [];
  readonly trace: string[] = [];
  crashes = 0;
  /** Complaints that are right, by the faults of the scenario. */
  readonly excused = new Set<string>();
  /** Nodes of which nothing is expected: their keys are lost, or lie. */
  readonly #apart = new Set<NodeId>();
  /** By epoch and height. */
  readonly #merges = new Map<string, { readonly id: Sha256; readonly value: Sha256; readonly by: string }>();
  /** What was proposed, by node, epoch, height and round. */
  readonly #proposals = new Map<string, string>();
  /** By node, epoch, height, round and step. */
  readonly #votes = new Map<string, Vote>();
  /** Who prevoted, by epoch, height, round and value. */
  readonly #prevotes = new Map<string, Set<NodeId>>();
  /** The last precommit for a value, by node, epoch and height. */
  readonly #locks = new Map<string, Vote>();
  /** The highest epoch that has begun at a node. */
  readonly #epochs = new Map<NodeId, number>();

  constructor(private readonly time: Timeline) {}

  /** Heights that were decided. */
  get merges(): number {
    return this.#merges.size;
  }

  note(text: string): void {
    if (this.trace.length >= TRACE_LINES_MAX) this.trace.shift();
    this.trace.push(`${((this.time.now % 10_000_000) / 1_000).toFixed(3)} ${text}`);
  }

  breach(text: string): void {
    this.note(`BREACH ${text}`);
    if (this.breaches.length < BREACHES_MAX) this.breaches.push(text);
  }

  /** Somebody was told that an entry is durable. */
  acknowledge(node: SimulatedNode, id: EntryId, type: string): void {
    if (!this.#apart.has(node.id)) this.acknowledged.push({ id, node: node.id, type });
  }

  /**
   * From now on nothing is expected of this node, and what it acknowledged may be lost where nobody else has it.
   * @param kept of that, what is not lost all the same
   */
  setApart(node: SimulatedNode, why: string, kept: ReadonlySet<EntryId> = new Set()): void {
    this.note(`${node.index} ${node.id} is apart: ${why}`);
    node.isApart = true;
    this.#apart.add(node.id);
    for (let i = this.acknowledged.length - 1; i >= 0; i -= 1)
      if (this.acknowledged[i]?.node === node.id && !kept.has((this.acknowledged[i] as Acknowledged).id))
        this.acknowledged.splice(i, 1);
  }

  isApart(node: string): boolean {
    return this.#apart.has(node as NodeId);
  }

  booted(node: SimulatedNode, { store, core }: SimulatedProcess): void {
    const { height } = core.main.head;
    this.note(`${node.index} starts at height ${height}`);
    if (node.isApart) return;
    const begun = this.#epochs.get(node.id) ?? 0;
    // Where the town goes on without what it has, it stays in its own epoch.
    if (core.main.epoch < begun && core.main.divergedFrom === null)
      this.breach(`node ${node.index} has forgotten that epoch ${begun} began`);
    // What it signed and could not send before it crashed counts too.
    for (const { kind, text } of store.consensusLog(height + 1))
      if (kind === 'vote') this.#voted(node, parseVote(text));
    for (const { id, type } of this.acknowledged.filter((entry) => entry.node === node.id))
      if (store.entry(id) === null)
        this.breach(`lost: node ${node.index} acknowledged ${type} ${id.slice(0, 8)}`);
  }

  crashed(node: SimulatedNode, point: Point): void {
    this.crashes += 1;
    this.note(`${node.index} crashes at ${point}`);
  }

  epochBegan(node: SimulatedNode, epoch: number): void {
    this.note(`${node.index} begins epoch ${epoch}`);
    this.#epochs.set(node.id, Math.max(epoch, this.#epochs.get(node.id) ?? 0));
  }

  complained(node: SimulatedNode, code: string, message: string): void {
    if (node.isApart || this.excused.has(code))
      return this.note(`${node.index} complains: ${code} ${message}`);
    this.breach(`node ${node.index} raises the alarm ${code}: ${message}`);
  }

  adopted(node: SimulatedNode, { store, core }: SimulatedProcess, { height, id, counts }: MergeRow): void {
    if (node.isApart) return;
    this.note(`${node.index} adopts ${height} ${id.slice(0, 8)} ${JSON.stringify(counts)}`);
    const { value, epoch } = parseCertificate(store.certificate(height) ?? '');
    const begun = this.#epochs.get(node.id) ?? 0;
    if (epoch < begun)
      this.breach(
        `node ${node.index} took a merge of epoch ${epoch} at height ${height}, where epoch ${begun} had begun`,
      );
    const name = `${epoch} ${height}`;
    const other = this.#merges.get(name);
    if (other === undefined) this.#merges.set(name, { id, value, by: `node ${node.index}` });
    else if (other.id !== id)
      this.breach(
        `two merges in epoch ${epoch} at height ${height}: node ${node.index} has another than ${other.by}`,
      );
    else if (other.value !== value) this.breach(`two certificates for different values at height ${height}`);
    for (const payment of this.acknowledged.filter(({ type }) => type === 'allowance.pay')) {
      const { verdict, code } = store.entry(payment.id) ?? {};
      if (verdict && verdict !== 'accepted')
        this.breach(
          `node ${node.index}: the payment ${payment.id.slice(0, 8)} is ${verdict} (${code ?? ''})`,
        );
    }
    try {
      assertSupply(core.main.state, readCharter(core.main.state).supply);
    } catch (error) {
      this.breach(`supply at node ${node.index}, height ${height}: ${String(error)}`);
    }
  }

  sent(node: SimulatedNode, message: Message): void {
    if (message.t === 'vote' && message.vote.step === 'prevote') this.#prevoted(message.vote);
    if (node.isApart) return;
    if (message.t === 'vote') {
      const { vote } = message;
      if (vote.node === node.id) this.#voted(node, vote);
      return;
    }
    const { proposal } = message;
    const { epoch, height, round, value, validRound } = proposal;
    if (proposal.node !== node.id) return;
    const name = `${node.id} ${epoch} ${height} ${round}`;
    const said = `${value} ${validRound}`;
    if ((this.#proposals.get(name) ?? said) !== said)
      this.breach(`node ${node.index} signed two proposals at height ${height}, round ${round}`);
    if (!this.#proposals.has(name))
      this.note(`${node.index} proposes ${height}/${round} ${value.slice(0, 8)} of round ${validRound}`);
    this.#proposals.set(name, said);
  }

  #voted(node: SimulatedNode, vote: Vote): void {
    const { epoch, height, round, step, value, node: voter } = vote;
    const name = `${voter} ${epoch} ${height} ${round} ${step}`;
    const earlier = this.#votes.get(name);
    if (earlier === undefined) this.#votes.set(name, vote);
    else if (earlier.value !== value)
      return this.breach(`node ${node.index} signed two ${step}s at height ${height}, round ${round}`);
    else return;
    this.note(`${node.index} ${step} ${height}/${round} ${value?.slice(0, 8) ?? 'nil'}`);
    if (value === null) return;
    if (step === 'precommit') {
      this.#checkPolka(node, vote);
      this.#locks.set(`${voter} ${epoch} ${height}`, vote);
      return;
    }
    this.#prevoted(vote);
    this.#checkLock(node, vote);
  }

  #prevoted({ epoch, height, round, value, node }: Vote): void {
    const prevotes = `${epoch} ${height} ${round} ${value}`;
    const voters = this.#prevotes.get(prevotes) ?? new Set();
    this.#prevotes.set(prevotes, voters.add(node));
  }

  /** Line 36: who precommits a value has seen a quorum of prevotes for it. */
  #checkPolka(node: SimulatedNode, { epoch, height, round, value }: Vote): void {
    const { charter, head, epoch: now } = node.process?.core.main ?? {};
    if (charter === undefined || head?.height !== height - 1 || now !== epoch) return;
    const quorum = quorumOf(charter.validators.length, charter.quorum);
    const seen = this.#prevotes.get(`${epoch} ${height} ${round} ${value}`)?.size ?? 0;
    if (seen < quorum)
      this.breach(
        `node ${node.index} precommitted at height ${height}, round ${round} where ${seen} of ${quorum} had prevoted that`,
      );
  }

  /** Algorithm 1, lines 22 and 28: who is locked prevotes another value only after a later quorum of prevotes for that. */
  #checkLock(node: SimulatedNode, { epoch, height, round, value, node: voter }: Vote): void {
    const lock = this.#locks.get(`${voter} ${epoch} ${height}`);
    if (lock === undefined || lock.value === value || lock.round >= round) return;
    const { charter, head, epoch: now } = node.process?.core.main ?? {};
    if (charter === undefined || head?.height !== height - 1 || now !== epoch) return;
    const quorum = quorumOf(charter.validators.length, charter.quorum);
    for (let later = lock.round; later < round; later += 1)
      if ((this.#prevotes.get(`${epoch} ${height} ${later} ${value}`)?.size ?? 0) >= quorum) return;
    this.breach(
      `node ${node.index} prevoted against its lock of round ${lock.round} at height ${height}, round ${round}`,
    );
  }
}
