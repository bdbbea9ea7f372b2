/**
 * What people and doors do in a simulated town: transfers, notes, locks, facts, credits put at nodes and paid there; while a node is cut off, one member spends the
 * same credits on both sides, and something is forbidden on the far one.
 */
import { readAllowance, readFence } from '../ledger/allowances.js';
import type { EntryId, JsonObject, NodeId } from '../ledger/ids.js';
import { TownError, invariant } from '../ledger/ids.js';
import { memberIdOf, publicKeyOf } from '../ledger/signature.js';
import { Refused } from '../node/appender.js';
import { invitationBy, secretOf } from './founding.js';
import type { SimulatedNode, SimulatedProcess } from './simulated-node.js';
import { SECOND, type Chance, type Timeline } from './timeline.js';
import type { Watch } from './watch.js';

/** Who was forbidden to be written, and who spends twice. */
export const FORBIDDEN_KEY = 'shed';
const STEWARD = 'ada';
const SPENDER = 'dora';
const TRADERS = ['ada', 'ben'] as const;
/** More than half of the grant: one of two such transfers has no cover. */
const SPENT_TWICE = 300;
/** Whole credits of an allowance. */
const PUT_AT_NODE = 60;
/** A number that no node of a simulated town comes to: all that a lost node paid counts. */
const FENCED_UP_TO = 1_000_000;
/** A restriction that has stood here for so long is in the view, however slow disk and contracts are. */
const IN_FORCE_MS = 20 * SECOND;
/** The node is busy, too many validators are away, or it has merged what the town goes on without: no fault. */
const EXCUSES: ReadonlySet<string> = new Set(['busy', 'too-many-unmerged', 'merge-waits', 'diverged']);

const memberOf = (name: string): string => memberIdOf(publicKeyOf(secretOf(name)));
export const SPENDER_KEY = publicKeyOf(secretOf(SPENDER));

export class Workload {
  /** Entries that forbid something, once they were acknowledged. */
  readonly forbids: EntryId[] = [];
  /** What people did so far. */
  acts = 0;
  #sequence = 0;
  /** Until when the fence at a node that is gone is waited for. */
  readonly #waited = new Map<NodeId, number>();
  /** When each node first held the restriction. */
  readonly #forbiddenSince = new Map<SimulatedNode, number>();

  constructor(
    private readonly time: Timeline,
    private readonly chance: Chance,
    private readonly nodes: readonly SimulatedNode[],
    private readonly watch: Watch,
    /** People do so much and no more. */
    private readonly actsMax: number,
  ) {}

  /** The first steward and two members, all at the first node. */
  async found(): Promise<void> {
    const first = this.nodes[0] as SimulatedNode;
    const { content: town } = first.genesis.merge;
    await this.claim(first, STEWARD, 'member.found', {}, [first.keys.secretKey]);
    for (const guest of ['ben', SPENDER])
      await this.claim(first, guest, 'member.join', { invitation: invitationBy(STEWARD, town, guest) });
  }

  /** One node's people do something every few seconds, until then. */
  keepBusy(node: SimulatedNode, until: number, meanMs: number): void {
    const next = (): void => {
      if (this.time.now >= until || this.acts >= this.actsMax) return;
      this.acts += 1;
      this.act(node);
      this.time.after(this.chance.between(0, 2 * meanMs), next);
    };
    this.time.after(this.chance.between(0, 2 * meanMs), next);
  }

  private act(node: SimulatedNode): void {
    const { chance } = this;
    const kind = chance.next();
    const who = chance.pick(TRADERS);
    const n = (this.#sequence += 1);
    if (kind < 0.2) {
      const to = memberOf(who === 'ada' ? 'ben' : 'ada');
      void this.claim(node, who, 'credit.transfer', { to, amount: 1 + chance.index(40) });
    } else if (kind < 0.34)
      void this.claim(node, who, 'notes.put', { key: `note-${chance.index(4)}`, value: n });
    else if (kind < 0.5) void this.claim(node, who, 'notes.put', { key: FORBIDDEN_KEY, value: n });
    else if (kind < 0.6)
      void this.claim(node, who, 'notes.hold', { id: `hold-${n}`, amount: 1 + chance.index(60) });
    else if (kind < 0.88) void this.promise(node, STEWARD);
    else if (kind < 0.94) void this.fact(node, 'notes.seen', { key: chance.hits(0.5) ? 'odd' : `seen-${n}` });
    else if (kind < 0.97) void this.ask(node, 'a merge', (process) => process.core.merger.mergeNow());
    else void this.ask(node, 'a sync', (process) => process.peering.syncNow());
  }

  /** What people ask for that records nothing; it may be too much to ask just now. */
  private async ask(
    node: SimulatedNode,
    what: string,
    run: (process: SimulatedProcess) => Promise<unknown>,
  ): Promise<void> {
    const { process } = node;
    if (process === null || !process.isOpen()) return;
    this.watch.note(`${node.index} is asked for ${what}`);
    await run(process).catch((error: unknown) => this.refused(node, what, error));
  }

  /** The same member spends at two nodes what is there once. */
  spendTwice(here: SimulatedNode, there: SimulatedNode): void {
    const body = (to: string): JsonObject => ({ to: memberOf(to), amount: SPENT_TWICE });
    void this.claim(here, SPENDER, 'credit.transfer', body('ada'));
    void this.claim(there, SPENDER, 'credit.transfer', body('ben'));
  }

  forbid(node: SimulatedNode): void {
    void this.claim(node, STEWARD, 'notes.forbid', { key: FORBIDDEN_KEY }).then((id) => {
      if (id !== null) this.forbids.push(id);
    });
  }

  /** Records a claim. @returns its id once it is acknowledged; null where it was refused. Never, where the process ends before */
  private async claim(
    node: SimulatedNode,
    who: string,
    type: string,
    body: JsonObject,
    cosigners: readonly Uint8Array[] = [],
  ): Promise<EntryId | null> {
    const { process } = node;
    if (process === null || !process.isOpen()) return null;
    const mustRefuse = body['key'] === FORBIDDEN_KEY && type === 'notes.put' && this.isForbiddenAt(node);
    try {
      const signer = { secretKey: secretOf(who) };
      const { id } = await process.core.appender.claim(
        type,
        body,
        signer,
        cosigners.map((secretKey) => ({ secretKey })),
      );
      this.watch.note(`${node.index} records ${type} ${id.slice(0, 8)}`);
      if (mustRefuse && !node.isApart)
        this.watch.breach(`node ${node.index} took a claim on what it knew to be forbidden`);
      this.watch.acknowledge(node, id, type);
      return id;
    } catch (error) {
      this.refused(node, type, error);
      return null;
    }
  }

  /** Changes the charter. @throws TownError, Refused where a rule refuses it */
  async change(node: SimulatedNode, body: JsonObject): Promise<EntryId> {
    const { process } = node;
    invariant(process !== null, 'stewards go to a node that runs');
    const { id } = await process.core.appender.claim('charter.change', body, {
      secretKey: secretOf(STEWARD),
    });
    this.watch.acknowledge(node, id, 'charter.change');
    return id;
  }

  /**
   * Fences what members have at a node that is gone; asked again after the wait, it sees to it that there is a merge.
   * @returns until when the fence that stands is to be waited for: simulated time; 0 where there is none
   */
  async closeAllowances(at: SimulatedNode, gone: NodeId): Promise<number> {
    const member = memberOf(STEWARD);
    const { process } = at;
    if (process === null) return 0;
    const until = readFence(process.core.view.state, member, gone)?.until ?? 0;
    const { now } = this.time;
    const waited = this.#waited.get(gone) ?? 0;
    if (waited > now) return waited;
    // By the time of merges, which may be behind, too, where most clocks are slow.
    const ahead = until - process.core.main.head.time;
    if (ahead > 0 && waited === 0) {
      this.#waited.set(gone, Math.max(until, now + ahead));
      return Math.max(until, now + ahead);
    }
    this.#waited.delete(gone);
    const closed = await this.claim(at, STEWARD, 'allowance.fence', { member, node: gone, n: FENCED_UP_TO });
    if (closed === null) await this.note(at);
    return 0;
  }

  /** Something that concerns nobody, for there to be a merge. */
  async note(at: SimulatedNode): Promise<void> {
    await this.claim(at, STEWARD, 'notes.put', { key: 'noted', value: (this.#sequence += 1) });
  }

  private async fact(node: SimulatedNode, type: string, body: JsonObject): Promise<void> {
    const { process } = node;
    if (process === null || process.core.main.charter.nodes[node.id] === undefined) return;
    try {
      const entry = await process.core.appender.fact(type, body);
      if (entry === null) return;
      this.watch.note(`${node.index} records ${type} ${entry.id.slice(0, 8)}`);
      this.watch.acknowledge(node, entry.id, type);
    } catch (error) {
      this.refused(node, type, error);
    }
  }

  /** Pays out of a member's allowance at this node as far as the node's own count goes; where there is none, they open one. */
  private async promise(node: SimulatedNode, who: string): Promise<void> {
    const { process } = node;
    if (process === null || !process.isOpen()) return;
    const { appender, view } = process.core;
    const held = (): number => readAllowance(view.state, memberOf(who), node.id)?.amount ?? 0;
    const amount = Math.min(held(), 1 + this.chance.index(40));
    const to = memberOf(who === 'ada' ? 'ben' : 'ada');
    if (amount === 0)
      return void (await this.claim(node, who, 'allowance.open', { node: node.id, amount: PUT_AT_NODE }));
    try {
      const { id } = await appender.promise('allowance.pay', { member: memberOf(who), to, amount }, () => {
        if (held() < amount) throw new Refused('allowance-short', `${held()} of ${amount}`);
      });
      this.watch.note(`${node.index} pays ${amount} of ${who} ${id.slice(0, 8)}`);
      this.watch.acknowledge(node, id, 'allowance.pay');
    } catch (error) {
      this.refused(node, 'allowance.pay', error);
    }
  }

  private refused(node: SimulatedNode, type: string, error: unknown): void {
    const code = error instanceof TownError ? error.code : String(error);
    this.watch.note(`${node.index} refuses ${type}: ${code}`);
    // Where a dapp diverges, a merge that was asked for fails of it, too.
    const isExpected = error instanceof Refused || EXCUSES.has(code) || this.watch.excused.has(code);
    if (!isExpected && !node.isApart)
      this.watch.breach(`node ${node.index} fails at ${type}: ${code} ${String(error)}`);
  }

  /** Whether the node has held a restriction for long enough, in this process. */
  private isForbiddenAt(node: SimulatedNode): boolean {
    const { process } = node;
    if (process === null || process.startedAt === null) return false;
    const isKnown = (id: EntryId): boolean => {
      const entry = process.store.entry(id);
      // What a node said that is suspended or taken out by now, and was never merged, does not count.
      return entry?.verdict === 'accepted' || (entry?.verdict === null && !this.watch.isApart(entry.node));
    };
    if (!this.forbids.some(isKnown)) return false;
    const since = this.#forbiddenSince.get(node) ?? this.time.now;
    this.#forbiddenSince.set(node, since);
    return this.time.now - Math.max(since, process.startedAt) > IN_FORCE_MS;
  }
}
