/**
 * Those who hold the keys of recovery in a simulated town: when a quorum is lost they begin an epoch with the validators that are left,
 * as `town recover` tells them to; and a board that was left behind is replaced once the town has what can come in again of it.
 */
import { quorumOf } from '../consensus/quorum.js';
import type { EntryId, NodeId } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import type { RecoveryStatement } from '../ledger/recovery.js';
import { MAIN } from '../node/main-line.js';
import { signedByHolders } from './founding.js';
import type { Shape } from './scenario.js';
import type { SimulatedNode, SimulatedProcess } from './simulated-node.js';
import type { Stage } from './stage.js';
import { regrowth } from './stewards.js';
import { MINUTE, SECOND } from './timeline.js';

const BLOCKS_MAX = 10_000;
/** Who was heard so long is there. */
const HEARD_MS = 5 * MINUTE;

interface Told {
  readonly about: () => void;
  readonly done: () => void;
}

export class KeyHolders {
  /** What they are about. */
  #tasks = 0;
  /** The last that they began. */
  #epoch = 0;
  readonly #seen = new Set<SimulatedNode>();
  /** Where they began an epoch. */
  readonly #begun = new Set<SimulatedNode>();

  constructor(
    private readonly town: Stage,
    private readonly shape: Shape,
  ) {}

  /** Whether nobody waits for them. */
  get areContent(): boolean {
    return this.#tasks === 0 && !this.town.nodes.some((node) => !node.isApart && node.isAstray);
  }

  /** Begins an epoch at this node, unless it hears a quorum again. @param about told when it is about to, or need not */
  recoverAt(node: SimulatedNode, about: () => void): void {
    this.#tasks += 1;
    this.#begun.delete(node);
    const done = (): void => {
      this.#tasks -= 1;
      // The process may have ended before it answered.
      this.#epoch = Math.max(this.#epoch, node.process?.core.main.epoch ?? 0);
      const { nodes, stewards } = this.town;
      // Who does not go by the epoch yet may turn out to be left behind by it.
      const goesByIt = ({ process }: SimulatedNode): boolean =>
        (process?.core.main.epoch ?? -1) >= this.#epoch;
      const candidates = (): readonly NodeId[] =>
        nodes.filter((each) => !each.isApart && !each.isAstray && goesByIt(each)).map(({ id }) => id);
      stewards.want('as many validators as before', regrowth(this.shape, candidates));
      about();
    };
    this.#try(node, { about, done });
  }

  #later(run: () => void): void {
    this.town.time.after(SECOND, run);
  }

  /** @param heardMs for how long a quorum was heard by now */
  #try(node: SimulatedNode, told: Told, heardMs = 0): void {
    const { about, done } = told;
    if (node.isApart || node.isAstray || this.#begun.has(node)) return done();
    const process = node.process;
    const statement = process?.isOpen() ? this.#statementAt(process) : 'later';
    if (statement === 'begun' || heardMs >= HEARD_MS) return done();
    if (statement === 'needless') return this.#later(() => this.#try(node, told, heardMs + SECOND));
    if (process === null || statement === 'later') return this.#later(() => this.#try(node, told));
    this.town.watch.note(`${node.index} is given ${JSON.stringify(statement)}`);
    // Nobody else's clock is asked by a single validator: whoever stands before the board looks at it.
    if (statement.validators.length === 1) node.setClock(null);
    about();
    // The process may end before it answers.
    this.#later(() => this.#try(node, told));
    process.core.merger.recover(signedByHolders(statement), false).then(
      (standing) => {
        this.town.watch.note(`${node.index} says: ${standing}`);
        this.#begun.add(node);
      },
      (error: unknown) => {
        // It merged more meanwhile: another statement is made.
        const again = ['busy', 'leaves-behind'];
        if (!(error instanceof TownError) || !again.includes(error.code))
          this.town.watch.breach(`node ${node.index} takes no recovery: ${String(error)}`);
      },
    );
  }

  /** As the command makes it: of this node and the validators that it hears, after its last merge. That a card is empty, people know. */
  #statementAt({
    core,
    peering,
    node: self,
  }: SimulatedProcess): RecoveryStatement | 'later' | 'needless' | 'begun' {
    const { main } = core;
    const { charter, head, town, epoch, recovery } = main;
    const { nodes, watch } = this.town;
    const isGone = (id: string): boolean =>
      watch.isApart(id) || nodes.some((node) => node.id === id && node.isAstray);
    const isLeft = (id: string): boolean => id === self || (peering.isHeard(id as NodeId) && !isGone(id));
    const decides = charter.validators.filter(isLeft);
    const isQuorum = decides.length >= quorumOf(charter.validators.length, charter.quorum);
    if (isQuorum) return recovery === null ? 'needless' : 'begun';
    const isStuck =
      recovery !== null && !charter.validators.some((id) => id !== self && !isGone(id) && !isLeft(id));
    if (recovery !== null && !isStuck) return 'begun';
    const isBehind = peering
      .views()
      .some(({ node, connected, height }) => connected && !isGone(node) && (height ?? 0) > head.height);
    if (isBehind || main.ahead !== null) return 'later';
    const left = decides.includes(self) ? decides : [self, ...decides];
    return {
      ...{ v: 1, town, line: MAIN, epoch: epoch + 1, height: head.height, parent: head.id, nodes: {} },
      validators: left,
      quorum: left.length < 4 ? 'majority' : charter.quorum,
    };
  }

  /** Looks after boards that were left behind: from time to time. */
  start(): void {
    this.#later(() => {
      for (const node of [...this.town.nodes]) if (!node.isApart && node.isAstray) this.#comeAnew(node);
      this.#beginAnother();
      this.start();
    });
  }

  /** Those who are to decide the first merge of an epoch may have merged more meanwhile: without a quorum it takes another epoch. */
  #beginAnother(): void {
    if (this.#tasks > 0) return;
    const { nodes } = this.town;
    const isThere = (id: string): boolean =>
      nodes.some((node) => node.id === id && !node.isApart && !node.isAstray);
    const stuck = nodes.find((node) => {
      const main = !node.isApart && !node.isAstray ? node.process?.core.main : undefined;
      if (!main?.recovery) return false;
      const { validators, quorum } = main.charter;
      return validators.filter(isThere).length < quorumOf(validators.length, quorum);
    });
    if (stuck) this.recoverAt(stuck, () => undefined);
  }

  /** It is left on until the town has judged what can come in again; then another stands in its place. */
  #comeAnew(node: SimulatedNode): void {
    const { town } = this;
    const process = node.process as SimulatedProcess;
    const kept = comesInAgain(process);
    if (!this.#seen.has(node))
      town.watch.note(`${node.index} was left behind, ${kept.size} entries come in again`);
    this.#seen.add(node);
    const others = town.nodes.filter(
      (other) => !other.isApart && other !== node && !other.isAstray && other.process !== null,
    );
    const isJudged = (id: EntryId): boolean =>
      others.every((other) => {
        const state = other.process?.store.entry(id)?.state;
        return state !== undefined && state !== 'pending';
      });
    if (others.length > 0 && [...kept].every(isJudged))
      town.replace(node, undefined, 'it was left behind', kept);
  }
}

/** What this node recorded on merges that the town has, in blocks that follow from such ones alone. */
function comesInAgain({ store, core, node }: SimulatedProcess): ReadonlySet<EntryId> {
  const { height = 0 } = core.main.divergedFrom ?? {};
  const kept = new Set<EntryId>();
  for (const { id, base } of store.blocksFrom(node, MAIN, 1, BLOCKS_MAX)) {
    const merge = store.mergeById(base);
    if (merge === null || merge.height > height) break;
    for (const { id: entry } of store.blockEntries(id)) kept.add(entry);
  }
  return kept;
}
