/** Watches real boards at a broker and in their databases: whether each of them signed one thing for one place. */
import type { Test } from 'tap';
import { parseProposal, type Proposal } from '../consensus/proposal.js';
import { parseVote, verifyVote, type Vote } from '../consensus/vote.js';
import type { KeyId, NodeId, Sha256 } from '../ledger/ids.js';
import { readNodeKeys } from '../node/key-files.js';
import { openForReading } from '../store/database.js';
import { StoreReads } from '../store/reads.js';
import type { ConsensusRow } from '../store/rows.js';
import { consensusTopic, openMessage, type Delivery } from '../sync/message.js';
import { MqttTransport } from '../sync/mqtt-transport.js';
import type { Board } from './town-of-nodes.js';

/** Listens to the validators and looks into their logs: what each signed for each place. */
export class Witness {
  readonly #signed = new Map<string, string>();
  readonly problems: string[] = [];

  private constructor(
    private readonly town: Sha256,
    private readonly townKey: Uint8Array,
    private readonly keys: Map<NodeId, KeyId>,
  ) {}

  static async listen(t: Test, boards: readonly Board[], brokerPort: number): Promise<Witness> {
    const all = await Promise.all(boards.map(({ folder }) => readNodeKeys(folder)));
    const { town } = await (boards[0] as Board).status();
    const { townKey } = all[0] as (typeof all)[number];
    const witness = new Witness(town.id as Sha256, townKey, new Map(all.map(({ id, key }) => [id, key])));
    await new Promise<void>((connected) => {
      const transport = new MqttTransport({
        url: `mqtt://127.0.0.1:${brokerPort}`,
        subscriptions: [consensusTopic(town.id as Sha256)],
        events: {
          connected,
          disconnected: () => undefined,
          delivered: (delivery) => witness.#hear(delivery),
          tooLarge: () => witness.problems.push('a message was too large'),
        },
      });
      transport.start();
      t.teardown(() => transport.stop());
    });
    return witness;
  }

  /** A further node, with keys of its own. */
  async know({ folder }: Board): Promise<void> {
    const { id, key } = await readNodeKeys(folder);
    this.keys.set(id, key);
  }

  /** How many places somebody signed something for. */
  get places(): number {
    return this.#signed.size;
  }

  /** What lies in the log of a node. */
  look(board: Board): void {
    reading(board, (store) => {
      for (const { kind, text } of ownRecords(store))
        this.#note(kind === 'proposal' ? parseProposal(text) : parseVote(text));
    });
  }

  #hear(delivery: Delivery): void {
    const { town, townKey, keys } = this;
    const opened = openMessage(delivery, { town, townKey, keyOf: (node) => keys.get(node) }, Date.now());
    if ('refusal' in opened) return void this.problems.push(opened.refusal.reason);
    const { body } = opened.message as unknown as { body: { vote?: Vote; proposal?: Proposal } };
    const signed = body.vote ?? body.proposal;
    if (signed) this.#note(signed);
  }

  #note(signed: Vote | Proposal): void {
    const { node, epoch, height, round, value } = signed;
    const isVote = 'step' in signed;
    if (isVote && !verifyVote(signed, this.keys.get(node) as KeyId))
      this.problems.push(`a vote of ${node} at height ${height} is not signed by it`);
    const place = `${node}, epoch ${epoch}, height ${height}, round ${round}, ${isVote ? signed.step : 'proposal'}`;
    const content = `${value} on ${signed.parent}${isVote ? '' : `, valid in ${signed.validRound}`}`;
    const before = this.#signed.get(place);
    if (before !== undefined && before !== content)
      this.problems.push(`${place}: signed ${before} and ${content}`);
    this.#signed.set(place, content);
  }
}

/** What a node signed of the height that is open, and of the one before, where it had no time to forget that. */
export function ownRecords(store: StoreReads): readonly ConsensusRow[] {
  const height = store.lastMerge()?.height ?? 0;
  return [height, height + 1].flatMap((each) => store.consensusLog(each));
}

/** Looks into the database of a board, also of one that is not running. */
export function reading<T>({ folder }: Pick<Board, 'folder'>, look: (store: StoreReads) => T): T {
  const db = openForReading(folder);
  try {
    return look(new StoreReads(db));
  } finally {
    db.close();
  }
}
