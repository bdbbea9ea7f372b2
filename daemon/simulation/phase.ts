/** One phase of a simulated town: what its plan says goes wrong, while people go on; at its end all of it stops. */
import { takeOutOwn } from '../node/backup.js';
import { quorumOf } from '../consensus/quorum.js';
import type { NodeId } from '../ledger/ids.js';
import type { Cut, FaultPlan, LostQuorum, Loss, Skew } from './faults.js';
import type { KeyHolders } from './key-holders.js';
import { FAIR } from './simulated-broker.js';
import type { SimulatedNode } from './simulated-node.js';
import { changedImage } from './simulated-store.js';
import type { Stage } from './stage.js';
import { leaveAndReturn, removal, setting } from './stewards.js';
import { SECOND } from './timeline.js';

/** What people have to look at while a dapp diverges, and while a node signs two things. */
const DIVERGING = ['content-differs', 'invalid-has-quorum', 'bad-merge', 'merge-failed'];
/** And where a node has merged what the town goes on without. */
const LEFT_BEHIND = ['diverged', 'ahead-differs'];
const SIGNING_TWICE = ['equivocation', 'branches-differ', 'own-branch-longer', 'own-key-elsewhere'];

export class Phase {
  /** Copies that run beside the nodes they were made of. */
  readonly #copies: SimulatedNode[] = [];

  constructor(
    private readonly town: Stage,
    private readonly keyHolders: KeyHolders,
    private readonly plan: FaultPlan,
    private readonly number: number,
    private readonly paceMs: number,
  ) {}

  async play(): Promise<void> {
    const { time, watch } = this.town;
    const end = time.now + this.plan.badMs;
    this.#begin(end);
    await time.runUntil(end, () => watch.breaches.length > 0);
    this.#end();
  }

  #at(ms: number, run: () => void): void {
    this.town.time.after(ms, run);
  }

  #node(index: number): SimulatedNode {
    return this.town.nodes[index % this.town.nodes.length] as SimulatedNode;
  }

  #begin(end: number): void {
    const { town, plan } = this;
    const { workload, chance } = town;
    town.plan = plan;
    town.broker.weather = plan.weather;
    town.broker.lies = plan.lies;
    if (town.second !== null) {
      town.second.lies = plan.secondLies;
      town.second.swallows = false;
    }
    for (const node of town.nodes) workload.keepBusy(node, end, this.paceMs);
    for (const cut of plan.cuts) this.#cut(cut);
    for (const skew of plan.skews) this.#skew(skew);
    this.#power();
    if (plan.diverges !== null) this.#diverge(plan.diverges);
    if (plan.loss !== null) this.#lose(plan.loss);
    if (plan.lostQuorum !== null) this.#loseQuorum(plan.lostQuorum);
    for (const { change, atMs } of plan.charter) this.#at(atMs, () => this.#change(change));
    if (this.number > 0) return;
    // Once in a town's life: the same credits on two sides, and something forbidden on the far one.
    const fromMs = plan.cuts[0]?.fromMs ?? 0;
    const far = this.#node(plan.far);
    this.#at(fromMs + chance.between(0, 5 * SECOND), () =>
      workload.spendTwice(this.#node(plan.far + 1), far),
    );
    this.#at(fromMs + chance.between(0, 5 * SECOND), () => workload.forbid(far));
  }

  #cut({ node, toBroker, fromBroker, fromMs, forMs }: Cut): void {
    const { broker } = this.town;
    const { id } = this.#node(node);
    this.#at(fromMs, () => broker.setWay(id, { toBroker, fromBroker }));
    this.#at(fromMs + forMs, () => broker.setWay(id, { toBroker: true, fromBroker: true }));
  }

  #skew({ node, offMs }: Skew): void {
    const { now } = this.town.time;
    this.#node(node).setClock(offMs === '1970' ? -now : offMs);
  }

  #power(): void {
    const { town, plan } = this;
    if (plan.blackoutMs !== null)
      this.#at(plan.blackoutMs, () => {
        for (const node of [...town.nodes, ...this.#copies]) node.crash('blackout');
      });
    if (plan.brokerAway === null) return;
    const { fromMs, forMs, forgets } = plan.brokerAway;
    this.#at(fromMs, () => town.broker.leave(forgets));
    this.#at(fromMs + forMs, () => town.broker.comeBack());
  }

  #diverge({ node, fromMs, forMs }: NonNullable<FaultPlan['diverges']>): void {
    for (const code of DIVERGING) this.town.watch.excused.add(code);
    const diverging = this.#node(node);
    this.#at(fromMs, () => (diverging.diverges = true));
    this.#at(fromMs + forMs, () => this.#mend(diverging));
  }

  /** The dapp is put right; that takes a new start. */
  #mend(node: SimulatedNode): void {
    if (!node.diverges) return;
    node.diverges = false;
    node.crash('mended');
  }

  #lose({ kind, node: index, copiedMs, atMs }: Loss): void {
    const { watch, stewards } = this.town;
    const node = this.#node(index);
    const { id } = node;
    let image: Buffer | undefined;
    switch (kind) {
      case 'wipe':
        this.#at(atMs, () => this.town.replace(node, undefined, 'its card is empty'));
        return;
      case 'old-backup':
        this.#at(copiedMs, () => (image = node.disk.image()));
        this.#at(atMs, () => {
          const backup = changedImage(image as Buffer, (db) => void takeOutOwn(db));
          this.town.replace(node, backup, 'an old backup is restored');
        });
        return;
      case 'equivocate':
        for (const code of SIGNING_TWICE) watch.excused.add(code);
        this.#at(copiedMs, () => (image = node.disk.image()));
        this.#at(atMs, () => this.#copy(node, image as Buffer));
        return;
      case 'expel':
        this.#at(atMs, () => {
          watch.setApart(node, 'it has to go');
          stewards.want(`taken out node ${index}`, removal(id), id);
        });
    }
  }

  /**
   * Validators are lost for good. Where one was cut off before, the others may have merged more than it has; the last of them is then
   * cut off in its turn, and comes back to a town that goes on from an earlier merge.
   */
  #loseQuorum({ keeper: index, behindMs, atMs, forMs }: LostQuorum): void {
    const { town } = this;
    const { broker, watch } = town;
    const { keyHolders } = this;
    for (const code of LEFT_BEHIND) watch.excused.add(code);
    const keeper = this.#node(index);
    const cut = (node: SimulatedNode, isCut: boolean): void =>
      broker.setWay(node.id, { toBroker: !isCut, fromBroker: !isCut });
    if (behindMs !== null) this.#at(behindMs, () => cut(keeper, true));
    this.#at(atMs, () => {
      cut(keeper, false);
      const charter = keeper.process?.core.main.charter;
      if (charter === undefined) return;
      const decides = ({ id, isApart }: SimulatedNode): boolean =>
        charter.validators.includes(id) && !isApart;
      const others = town.nodes.filter((node) => node !== keeper && decides(node));
      const enough = charter.validators.length - quorumOf(charter.validators.length, charter.quorum) + 1;
      const astray = behindMs === null ? undefined : others[others.length - 1];
      const lost = others.slice(0, astray ? enough - 1 : enough);
      for (const node of lost) town.replace(node, undefined, 'its card is empty, and a quorum is gone');
      if (astray && !lost.includes(astray)) cut(astray, true);
      this.#at(forMs, () =>
        keyHolders.recoverAt(keeper, () => {
          if (astray) cut(astray, false);
        }),
      );
    });
  }

  /** The card was copied, and the copy runs too: one key signs two histories. */
  #copy(node: SimulatedNode, image: Buffer): void {
    const { town } = this;
    town.watch.setApart(node, 'a copy of its card runs too');
    const copy = town.addNode(node.keys, node.index, image);
    copy.disk.townKeys = node.disk.townKeys;
    copy.isApart = true;
    this.#copies.push(copy);
    copy.boot();
    town.workload.keepBusy(copy, town.time.now + this.plan.badMs, this.paceMs / 2);
  }

  #change(change: FaultPlan['charter'][number]['change']): void {
    const { stewards, chance } = this.town;
    switch (change) {
      case 'pace':
        return stewards.want(
          'changed the pace',
          setting('/pace/interactiveMs', () => 200 + chance.index(2_000)),
        );
      case 'limits':
        return stewards.want(
          'changed the bound of merges',
          setting('/limits/mergeEntries', () => 1 + chance.index(8)),
        );
      case 'order':
        return stewards.want(
          'changed the order of the validators',
          setting('/validators', ({ validators }) => [...validators.slice(1), ...validators.slice(0, 1)]),
        );
      case 'validator-away': {
        const decides = this.town.present()[0]?.core.main.charter.validators ?? [];
        if (decides.length < 3) return;
        return stewards.want(
          'had a validator away for a while',
          leaveAndReturn(chance.pick(decides) as NodeId),
        );
      }
    }
  }

  /** Nothing goes wrong any more. */
  #end(): void {
    const { town } = this;
    const { broker, nodes } = town;
    town.plan = null;
    broker.weather = FAIR;
    broker.lies = null;
    broker.comeBack();
    // From now on it cannot be told from a quiet town: that the other one is honest has to do.
    if (town.second !== null) town.second.swallows = true;
    const wrong = new Set(this.plan.skews.flatMap(({ node, stays }) => (stays ? [this.#node(node)] : [])));
    for (const node of nodes) {
      broker.setWay(node.id, { toBroker: true, fromBroker: true });
      if (!wrong.has(node)) node.setClock(null);
      this.#mend(node);
    }
    for (const copy of this.#copies) {
      copy.turnOff('lost');
      const original = nodes[copy.index] as SimulatedNode;
      this.town.replace(original, undefined, 'its key cannot be relied on');
    }
  }
}
