/** A town in memory for tests: real keys, entries, blocks and merges; one small dapp, judged in this process. */
import { makeBlock, NO_BLOCK, type Block } from '../block.js';
import { makerspaceCharter, type Charter } from '../charter.js';
import type { DappManifest, FromContract, ToContract } from '../contract-protocol.js';
import { signEntry, type VerifiedEntry } from '../entry.js';
import { sha256 } from '../hash.js';
import type { JsonObject, Millis, NodeId, Oid, Sha256 } from '../ids.js';
import { TownError } from '../ids.js';
import { foldableTo } from '../kernel-forks.js';
import { INVITATION_DOMAIN, invitationText } from '../kernel.js';
import { makeGenesis, makeMerge, type BuiltMerge } from '../merge.js';
import { readBranch, type BranchPart } from '../order.js';
import type { Dialogue, Manifests } from '../judge.js';
import { replay, type ReplayResult } from '../replay.js';
import { nodeIdOf, publicKeyOf, signText } from '../signature.js';
import type { StateTree } from '../state-tree.js';
import { State } from '../state.js';

export const T0 = 1_700_000_000_000 as Millis;

/** A secret key from a word: the same in every run. */
export const secretOf = (word: string): Uint8Array => Buffer.from(sha256(`secret ${word}`), 'hex');

/** The dapp `notes`: `put {key, value}`, `forbid {key}` (restrictive), `hold {id, amount, deadline?}`, `pay {id, to, amount}`, `seen {key}` and
 * `meter {member, to, amount}` (facts); `bill` (claim) and `alarm` (restrictive fact) ask for the same charge, in vain. */
export const NOTES: DappManifest = {
  name: 'notes',
  version: '1.0.0',
  summary: 'For tests.',
  protocol: 1,
  contract: { command: ['none'] },
  verbs: {
    put: { kind: 'claim', summary: '' },
    forbid: { kind: 'claim', restrictive: true, summary: '' },
    hold: { kind: 'claim', summary: '' },
    pay: { kind: 'claim', summary: '' },
    seen: { kind: 'fact', summary: '' },
    meter: { kind: 'fact', summary: '' },
    bill: { kind: 'claim', summary: '' },
    alarm: { kind: 'fact', restrictive: true, summary: '' },
  },
  collections: ['notes'],
  reads: ['kernel'],
  queries: ['all'],
  limits: { memoryMiB: 64, cpus: 1, pids: 8, callMs: 1000 },
};

/** The dapp `watch`, which looks at what is in `notes`; no charter here has it from the beginning. `mark {}` is its one claim. */
export const WATCH: DappManifest = {
  ...NOTES,
  name: 'watch',
  verbs: { mark: { kind: 'claim', summary: '' } },
  collections: [],
  reads: ['notes'],
};

export const MANIFESTS: Manifests = new Map([
  ['notes', NOTES],
  ['watch', WATCH],
]);

/** A contract in this process; `dapp` is the dapp that is asked. */
export type PlayedContract = (message: ToContract, dapp: string) => FromContract;

/** What the contract of `notes` answers to one message; a key is forbidden when `forbidden/<key>` is there. */
export function notesContract(): (message: ToContract) => FromContract {
  let call: ToContract & { t: 'apply' };
  const verdict = (forbidden: boolean): FromContract => {
    const { entry } = call;
    const { key, value, id, amount, to, deadline } = entry.body as { [name: string]: never };
    const me = `member.${entry.author.member}`;
    const accept = (more: object): FromContract => ({
      t: 'accept',
      id: 1,
      writes: [],
      postings: [],
      notices: [],
      ...more,
    });
    switch (entry.type) {
      case 'notes.put':
        if (forbidden) return { t: 'reject', id: 1, code: 'forbidden', reason: 'This key is forbidden.' };
        return accept({ writes: [{ collection: 'notes', key, value }] });
      case 'notes.forbid':
        return accept({ writes: [{ collection: 'forbidden', key, value: true }] });
      case 'notes.hold':
        return accept({
          postings: [{ op: 'lock', id, from: me, amount, ...(deadline === undefined ? {} : { deadline }) }],
        });
      case 'notes.pay':
        return accept({ postings: [{ op: 'post', id, parts: [{ to, amount }] }] });
      case 'notes.meter':
      case 'notes.bill':
      case 'notes.alarm': {
        const { member } = entry.body as { [name: string]: never };
        return accept({ postings: [{ op: 'charge', member, to, amount }] });
      }
      default:
        return key === 'odd'
          ? accept({ irregular: { code: 'odd', reason: 'It is odd.' } })
          : accept({ writes: [{ collection: 'notes', key, value: 'seen' }] });
    }
  };
  return (message) => {
    switch (message.t) {
      case 'apply': {
        call = message;
        const key = message.entry.body['key'];
        return typeof key === 'string' ? { t: 'get', id: 1, collection: 'forbidden', key } : verdict(false);
      }
      case 'value':
        return verdict(message.value === true);
      case 'test':
        return { t: 'pass', id: 1 };
      default:
        return { t: 'error', id: 1, message: `unexpected ${message.t}` };
    }
  };
}

/** Runs a dialogue to its end with contracts in this process. */
export function drive<T>(dialogue: Dialogue<T>, contract: PlayedContract = notesContract()): T {
  for (let turn = dialogue.next(); ;) {
    if (turn.done) return turn.value;
    turn = dialogue.next(contract(turn.value.message, turn.value.dapp));
  }
}

interface Branch {
  readonly node: NodeId;
  readonly line: string;
  readonly secretKey: Uint8Array;
  /** Of a draft: the merge where it went off. */
  readonly base?: { readonly id: Sha256; readonly oid: Oid };
  n: number;
  blocks: Block[];
}

export class SmallTown {
  readonly charter: Charter;
  readonly town: Sha256;
  state = new State();
  readonly branches = new Map<string, Branch>();
  tree: StateTree;
  head: { height: number; id: Sha256; oid: Oid; time: Millis };
  private readonly times = new Map<Sha256, Millis>();

  constructor(
    nodes: readonly string[] = ['alpha'],
    change: (charter: Charter) => Charter = (charter) => charter,
  ) {
    const made = nodes.map((name) => ({ name, secretKey: secretOf(name), key: publicKeyOf(secretOf(name)) }));
    const [first] = made as [(typeof made)[0]];
    const dapps = [{ name: 'notes', version: '1.0.0', digest: sha256('notes') }];
    const base = makerspaceCharter({
      name: 'Test',
      node: { id: nodeIdOf(first.key), key: first.key, name: first.name },
      dapps,
    });
    this.charter = change({
      ...base,
      nodes: Object.fromEntries(made.map(({ name, key }) => [nodeIdOf(key), { name, key, roles: ['door'] }])),
      roles: {
        member: { permissions: [...(base.roles['member']?.permissions ?? []), 'notes.*'] },
        steward: { permissions: [...(base.roles['steward']?.permissions ?? []), 'notes.*'] },
      },
    });
    const genesis = makeGenesis(this.charter, sha256('nonce'), nodeIdOf(first.key), T0, first.secretKey);
    this.town = genesis.merge.content;
    this.state.apply(genesis.writes);
    this.tree = genesis.tree;
    this.head = { height: 0, id: genesis.merge.id, oid: genesis.merge.oid, time: T0 };
    this.times.set(this.head.id, T0);
    for (const { name, secretKey, key } of made)
      this.branches.set(name, { node: nodeIdOf(key), line: 'main', secretKey, n: 0, blocks: [] });
  }

  /** A draft of a node that goes off at the head of main: its branch is named `<node>/<line>`. */
  draft(node: string, line: string): string {
    const { node: id, secretKey } = this.branches.get(node) as Branch;
    const name = `${node}/${line}`;
    this.branches.set(name, { node: id, line, secretKey, base: this.head, n: 0, blocks: [] });
    return name;
  }

  /** An entry by the key of `who`, entering by a node (or a draft). `cosigners`: further words. */
  entry(
    node: string,
    who: string,
    type: string,
    body: JsonObject,
    {
      at = (this.head.time + 1) as Millis,
      cosigners = [] as string[],
      base = undefined as Sha256 | undefined,
    } = {},
  ): VerifiedEntry {
    const branch = this.branches.get(node) as Branch;
    branch.n += 1;
    const by = publicKeyOf(secretOf(who));
    const content = {
      v: 1,
      town: this.town,
      line: branch.line,
      base: base ?? branch.base?.id ?? this.head.id,
      node: branch.node,
      n: branch.n,
      type,
      by,
      at,
      body,
    } as const;
    return signEntry(
      content,
      secretOf(who),
      cosigners.map((word) => ({ by: publicKeyOf(secretOf(word)), secretKey: secretOf(word) })),
    );
  }

  /** A block of these entries at the end of a node's branch. */
  block(node: string, entries: readonly VerifiedEntry[], seq?: number): Block {
    const branch = this.branches.get(node) as Branch;
    const before = branch.blocks[branch.blocks.length - 1];
    const { id: base, oid } = branch.base ?? this.head;
    const { block } = makeBlock(
      {
        town: this.town,
        line: branch.line,
        node: branch.node,
        seq: seq ?? (before?.seq ?? 0) + 1,
        prev: before?.id ?? NO_BLOCK,
        base,
      },
      { prev: before?.oid ?? null, main: before?.base === base ? null : oid },
      entries,
      (this.head.time + 1) as Millis,
      branch.secretKey,
    );
    branch.blocks.push(block);
    return block;
  }

  /** @throws TownError `unknown-base` */
  timeOf(base: Sha256): Millis {
    const known = this.times.get(base);
    if (known === undefined) throw new TownError('unknown-base', `No merge is called ${base}.`);
    return known;
  }

  /** Goes on from a state that was stored. */
  restart(state: State, tree: StateTree): void {
    this.state = state;
    this.tree = tree;
  }

  /** All unmerged blocks, branch by branch. */
  parts(): readonly BranchPart[] {
    return [...this.branches.values()].flatMap(({ node, line, blocks }) => {
      const mark = readBranch(this.state, node, line);
      const last = foldableTo(this.state, node, line);
      const open = blocks.filter(({ seq }) => seq > (mark?.seq ?? 0) && seq <= last);
      return open.length === 0 ? [] : [{ node, line, tau: (mark?.tau ?? 0) as Millis, blocks: open }];
    });
  }

  replay(
    parts = this.parts(),
    time = (this.head.time + 1000) as Millis,
    contract: PlayedContract = notesContract(),
    manifests: Manifests = MANIFESTS,
  ): ReplayResult {
    const { town, head, state } = this;
    const input = {
      town,
      line: 'main',
      height: head.height + 1,
      time,
      parent: head.id,
      state,
      parts,
      baseTime: (base: Sha256) => this.timeOf(base),
      manifests,
    };
    return drive(replay(input), contract);
  }

  /** Merges what is unmerged (or some of it) and steps `main` on. */
  merge(contract: PlayedContract = notesContract(), parts = this.parts()): BuiltMerge {
    const time = (this.head.time + 1000) as Millis;
    const result = this.replay(parts, time, contract);
    const last = parts.map(({ blocks }) => blocks[blocks.length - 1] as Block);
    const [first] = this.branches.values();
    const { node, secretKey } = first as Branch;
    const place = {
      town: this.town,
      line: 'main',
      height: this.head.height + 1,
      time,
      parent: this.head.id,
      node,
    };
    const built = makeMerge(
      { ...place, heads: last.map(({ id }) => id) },
      { main: this.head.oid, heads: last.map(({ oid }) => oid) },
      this.tree,
      result,
      secretKey,
    );
    this.state.apply(built.writes);
    this.tree = built.tree;
    this.head = { height: place.height, id: built.merge.id, oid: built.merge.oid, time };
    this.times.set(this.head.id, time);
    return built;
  }

  /** Founds with the steward `ada` and joins more members by her invitations, each merged. */
  people(...members: string[]): this {
    this.block('alpha', [this.entry('alpha', 'ada', 'member.found', {}, { cosigners: ['alpha'] })]);
    this.merge();
    if (members.length === 0) return this;
    this.block(
      'alpha',
      members.map((name) => this.entry('alpha', name, 'member.join', { invitation: this.invitation(name) })),
    );
    this.merge();
    return this;
  }

  invitation(nonce: string, change: JsonObject = {}): JsonObject {
    return { ...invite(this.town, nonce, change), ...change };
  }
}

function invite(town: Sha256, nonce: string, change: JsonObject): JsonObject {
  const content = { town, nonce: sha256(nonce), roles: ['member'], until: T0 + 86_400_000, ...change };
  const sig = signText(secretOf('ada'), INVITATION_DOMAIN, invitationText(content as never));
  return { ...content, by: publicKeyOf(secretOf('ada')), sig } as JsonObject;
}
