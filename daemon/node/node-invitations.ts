/**
 * The host's side of joining, with its effects: invitations lie in the database before anything is said about them, answers go
 * out by MQTT, and a node that a steward let in gets the town's keys once the charter of `main` names it. What is decided is in
 * sync/joining-host.ts. A crash at any point is made up for at the next start: nothing is kept but the records and the charter.
 */
import { canonicalize } from '../ledger/canonical.js';
import type { Charter } from '../ledger/charter.js';
import { parseCommit, parseTree, type GitObject } from '../ledger/git-object.js';
import { hexOf } from '../ledger/hash.js';
import type { Oid, Sha256 } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import type { Origin } from '../ledger/merge.js';
import type { StateWrite } from '../ledger/state.js';
import { readState } from '../store/snapshot.js';
import type { Store } from '../store/store.js';
import type { Invitation } from '../sync/invitation.js';
import {
  startHost,
  stepHost,
  waitingAskers,
  type HostedInvitation,
  type HostInput,
  type HostOutput,
  type HostRefusal,
  type HostState,
} from '../sync/joining-host.js';
import type { Welcome } from '../sync/joining.js';
import type { Delivery } from '../sync/message.js';
import { packSplit, partOf, partsOf } from '../sync/split-welcome.js';
import type { HeldKey } from '../sync/town-key-gift.js';
import type { Clock } from './clock.js';
import { Serial } from './drive.js';
import type { NodeKeys } from './key-files.js';
import { MAIN, type MainLine } from './main-line.js';
import type { NodesView } from './node-cases.js';

/** Inputs that may wait for the disk; what comes beyond is dropped, and askers ask again. */
const WAITING_MAX = 256;
/** The host keeps fewer; read whole at the start. */
const RECORDS_MAX = 1_000;
const TICK_MS = 3_600_000;

export interface NodeInvitationsParts {
  readonly store: Pick<
    Store,
    'nodeInvitations' | 'putNodeInvitation' | 'forgetNodeInvitation' | 'merge' | 'lastBlock'
  >;
  readonly main: MainLine;
  readonly keys: NodeKeys;
  /** The town's key of the moment; without it the one of `keys`. */
  readonly townKey?: () => Pick<HeldKey, 'key' | 'generation'>;
  readonly clock: Clock;
  /** Reads a git object that is staged or in the repository. */
  readonly readObject: (oid: Oid) => Promise<GitObject>;
  /** Random bytes, never the same twice. */
  readonly random: (length: number) => Uint8Array;
  /** Publishes, not retained. False: it was dropped; the asker asks again. */
  readonly send: (topic: string, payload: string) => boolean;
  /** A node waits for a steward, or has been welcomed. */
  readonly changed: () => void;
  readonly warn: (message: string) => void;
}

/** What a message that came to nothing is told as. */
const REASONS: { readonly [reason in HostRefusal]: string } = {
  'other-town': 'A node asked to join another town with an invitation to this one.',
  'invitation-expired': 'A node asked to join with an invitation that has run out.',
  'invitation-used': 'A node asked to join with an invitation that another node has used.',
  'foreign-topic': 'A message about joining came on a topic that is for none.',
  'retained-command': 'A request to join was kept by the broker: such are not taken.',
  'too-large': 'A request to join was larger than one can be.',
  'unknown-invitation': 'A node asked to join with an invitation that is not, or no more, of this node.',
  'not-sealed': 'A request to join was not sealed with the secret of its invitation.',
  'bad-ask': 'A request to join has another shape than one has.',
  'bad-signature': 'Who asked to join does not hold the key that it names.',
  'too-often': 'Requests to join came faster than they are answered.',
};

type Refused = NodesView['refused'][number];

/** Whether the charter has let in just the node that waits with this invitation. */
export function isAdmitted(charter: Charter, { invitation, asker }: HostedInvitation): boolean {
  const node = asker ? charter.nodes[asker.node] : undefined;
  if (!node || !asker) return false;
  return node.key === asker.key && node.sealing === asker.sealing && node.roles.includes(invitation.role);
}

export class NodeInvitations {
  private state: HostState;
  private readonly tasks = new Serial(WAITING_MAX);
  private readonly refused = new Map<HostRefusal, Refused>();
  private genesis: Welcome['genesis'] | null = null;
  /** What the town split off with, packed, while somebody asks for it in parts. */
  private splitState: string | null = null;
  private cancelTick: (() => void) | null = null;
  private stopped = false;

  /** With the records that are kept; does nothing yet. */
  constructor(private readonly parts: NodeInvitationsParts) {
    const { main, keys, store } = parts;
    const records = store
      .nodeInvitations(RECORDS_MAX)
      .map(({ text }) => JSON.parse(text) as HostedInvitation);
    this.state = startHost({ town: main.town, secretKey: keys.secretKey, records });
  }

  // Life ---------------------------------------------------------------------------------------------------------------

  /** Drops what is over, now and every hour; welcomes who was let in before a crash. The repository is open. */
  start(): void {
    const tick = (): void => {
      if (this.stopped) return;
      this.splitState = null;
      this.run({ t: 'tick', now: this.parts.clock.now() }).catch(this.warned);
      this.cancelTick = this.parts.clock.after(TICK_MS, tick);
    };
    tick();
    void this.welcomeAdmitted();
  }

  /** Resolves when nothing is on its way to the store any more. */
  async stop(): Promise<void> {
    this.stopped = true;
    this.cancelTick?.();
    await this.tasks.run(() => Promise.resolve(), busy).catch(() => undefined);
  }

  // What is asked --------------------------------------------------------------------------------------------------------

  records(): readonly HostedInvitation[] {
    return [...this.state.invitations.values()];
  }

  /** @throws TownError `no-such-invitation` */
  record(id: string): HostedInvitation {
    const record = this.state.invitations.get(id);
    if (record) return record;
    throw new TownError('no-such-invitation', `There is no invitation ${id}.`, 'See them: town node list');
  }

  /** Asks that came to nothing since the start, by reason. */
  refusals(): NodesView['refused'] {
    return [...this.refused.values()];
  }

  /** Whether the node that waits has written blocks already: such a key does not begin a second time. */
  isKnown({ asker }: HostedInvitation): boolean {
    return asker !== null && this.parts.store.lastBlock(asker.node, MAIN) !== null;
  }

  // What is done ---------------------------------------------------------------------------------------------------------

  /** @throws TownError `bad-invitation`, `too-many-invitations` */
  invite(invitation: Invitation): Promise<void> {
    return this.run({ t: 'invite', invitation, now: this.parts.clock.now() });
  }

  /** @throws TownError `no-such-invitation`, `already-answered` */
  withdraw(id: string): Promise<void> {
    return this.run({ t: 'withdraw', id, now: this.parts.clock.now() });
  }

  /** @throws TownError `no-such-invitation`, `nobody-waits`, `already-answered` */
  refuse(id: string, code: string, reason: string): Promise<void> {
    return this.run({ t: 'refuse', id, code, reason, now: this.parts.clock.now() });
  }

  /** A message on a topic of joining. */
  receive({ topic, payload, retained }: Delivery): void {
    if (this.stopped) return;
    const { clock } = this.parts;
    const text = Buffer.from(payload).toString('utf8');
    this.tasks
      .run(() => this.step({ t: 'message', topic, payload: text, retained, now: clock.now() }), busy)
      .catch((error: unknown) => {
        if (error instanceof TownError && error.code === 'busy') this.count('too-often');
        else this.warned(error);
      });
  }

  /** Gives the town's keys to each node that waits and that the charter of `main` names. Never rejects. */
  welcomeAdmitted(): Promise<void> {
    if (this.stopped) return Promise.resolve();
    return this.tasks.run(() => this.welcomeAll(), busy).catch(this.warned);
  }

  private async welcomeAll(): Promise<void> {
    for (const { invitation } of waitingAskers(this.state)) {
      const record = this.record(invitation.id);
      if (!record.asker || !isAdmitted(this.parts.main.charter, record) || this.isKnown(record)) continue;
      const { id } = invitation;
      try {
        const welcome = await this.welcome(invitation);
        const { clock, random } = this.parts;
        const { key } = record.asker;
        await this.step({ t: 'approve', id, key, welcome, ephemeral: random(32), now: clock.now() });
        this.parts.changed();
      } catch (error) {
        this.warned(error);
      }
    }
  }

  private async welcome({ role }: Invitation): Promise<Welcome> {
    const { main, keys } = this.parts;
    const townKey = this.parts.townKey?.() ?? { key: keys.townKey, generation: 0 };
    this.genesis ??= await this.readGenesis();
    const { height, id } = main.head;
    return {
      town: main.town,
      genesis: this.genesis,
      checkpoint: { height, id },
      townKey: hexOf(townKey.key),
      ...(townKey.generation === 0 ? {} : { townKeyHeight: townKey.generation }),
      badgeKey: role === 'door' && keys.badgeKey !== null ? hexOf(keys.badgeKey) : null,
      nodes: main.charter.nodes,
    };
  }

  /** The charter that the town was founded with, and the nonce: later merges have others, the genesis commit keeps both. */
  private async readGenesis(): Promise<Welcome['genesis']> {
    const { store, readObject } = this.parts;
    const row = store.merge(0);
    if (!row) throw new TownError('missing-merge', 'The genesis is not in the database.');
    const root = parseTree((await readObject(parseCommit(row.raw).fields.tree)).data);
    const file = async (name: string): Promise<unknown> => {
      const entry = root.find((child) => child.name === name);
      if (!entry) throw new TownError('missing-file', `The genesis has no ${name}.`);
      return JSON.parse(Buffer.from((await readObject(entry.oid)).data).toString('utf8'));
    };
    const { nonce, origin } = (await file('genesis.json')) as { nonce: Sha256; origin?: Origin };
    const genesis = {
      raw: Buffer.from(row.raw).toString('base64'),
      charter: await file('charter.json'),
      nonce,
    };
    if (origin === undefined) return genesis;
    const state: StateWrite[] = [];
    for await (const value of readState({ read: readObject }, row.oid)) state.push(value);
    const packed = await packSplit({ origin, state });
    const parts = partsOf(packed.state);
    // It is asked for right after: packing it takes seconds where it is large.
    if (parts > 1) this.splitState = packed.state;
    return { ...genesis, split: parts === 1 ? packed : { origin, state: '', parts } };
  }

  /** Answers with a part of what the town split off with. The state of the genesis never changes: read once an hour at most. */
  private async givePart(id: string, part: number): Promise<void> {
    this.splitState ??= await this.readSplitState();
    const text = partOf(this.splitState, part);
    if (text === undefined) return;
    const { clock, random } = this.parts;
    await this.step({ t: 'part', id, part, text, ephemeral: random(32), now: clock.now() });
  }

  private async readSplitState(): Promise<string> {
    const { store, readObject } = this.parts;
    const row = store.merge(0);
    const { split } = (this.genesis ??= await this.readGenesis());
    if (!row || !split) return '';
    const state: StateWrite[] = [];
    for await (const value of readState({ read: readObject }, row.oid)) state.push(value);
    return (await packSplit({ origin: split.origin as Origin, state })).state;
  }

  // The machine ----------------------------------------------------------------------------------------------------------

  private run(input: HostInput): Promise<void> {
    return this.tasks.run(() => this.step(input), busy);
  }

  /** One turn: durable first; then it holds; then it is said. Only inside `tasks`. */
  private async step(input: HostInput): Promise<void> {
    const { state, outputs } = stepHost(this.state, input);
    // In one go, so that the disk is waited for once; the writer keeps their order.
    await Promise.all(outputs.flatMap((output) => this.write(output)));
    this.state = state;
    for (const output of outputs) this.say(output);
  }

  private write(output: HostOutput): Promise<void>[] {
    const { store } = this.parts;
    if (output.t === 'keep')
      return [store.putNodeInvitation(output.record.invitation.id, canonicalize(output.record))];
    return output.t === 'forget' ? [store.forgetNodeInvitation(output.id)] : [];
  }

  private say(output: HostOutput): void {
    switch (output.t) {
      case 'send':
        this.parts.send(output.topic, output.payload);
        return;
      case 'asked':
        this.parts.changed();
        // A node that the charter names already needs nobody's word.
        void this.welcomeAdmitted();
        return;
      case 'wanted':
        void this.tasks.run(() => this.givePart(output.id, output.part), busy).catch(this.warned);
        return;
      case 'refused':
        return this.count(output.reason);
      case 'keep':
      case 'forget':
        return;
    }
  }

  private count(code: HostRefusal): void {
    const count = (this.refused.get(code)?.count ?? 0) + 1;
    this.refused.set(code, { code, reason: REASONS[code], count, at: this.parts.clock.now() });
  }

  private readonly warned = (error: unknown): void =>
    this.parts.warn(`Joining: ${error instanceof Error ? error.message : String(error)}`);
}

const busy = (): TownError =>
  new TownError('busy', 'Too many nodes ask to join just now.', 'Try again in a moment.');
