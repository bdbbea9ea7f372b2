/**
 * Whole heights in simulated time, from seeds: messages lost, late, doubled and out of order, links that are down for a while
 * in one direction, towns cut in two, validators that crash at any point of their work and come back with their log, one that lies. What must hold: all decide alike, always; all decide, once
 * the network is good; and nobody's log ever holds two different signatures for one place.
 * A failing seed runs again alone with SEED=<n>; SEEDS=<n> runs that many of each kind.
 */
import t from 'tap';
import { sha256 } from '../ledger/hash.js';
import type { KeyId, NodeId, Sha256 } from '../ledger/ids.js';
import { nodeIdOf, publicKeyOf } from '../ledger/signature.js';
import { startHeight, step, type Input, type Output } from './algorithm.js';
import { certificateOf, verifyCertificate } from './certificate.js';
import { gossip, type Message } from './gossip.js';
import type { HeightState } from './height-state.js';
import { polkaRecords, proposalRecord, voteRecord, type IndexedRecord } from './own-records.js';
import { signProposal, verifyProposal } from './proposal.js';
import type { QuorumRule } from './quorum.js';
import { signVote, valueIdOf, verifyVote, type VoteStep } from './vote.js';

t.setTimeout(process.env['SEEDS'] === undefined ? 600_000 : 3_600_000);

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
/** When the network becomes good and everybody stays up; and by when all must have decided. */
const GOOD_FROM = 3 * MINUTE;
const END = GOOD_FROM + 30 * MINUTE;
const GOSSIP_MS = 2 * SECOND;
/** Short beside the faults, so that many rounds pass while they last: where rounds overlap, safety is at stake. */
const TIMEOUTS = { proposeMs: 2_000, prevoteMs: 500, precommitMs: 500, growMs: 200, maxMs: MINUTE };

const place = { town: sha256('town'), line: 'main', epoch: 0, height: 1, parent: sha256('parent') };
const secrets = Array.from({ length: 7 }, (_, i) => Buffer.alloc(32, i + 1));
const keys = secrets.map(publicKeyOf);
const ids = keys.map(nodeIdOf);

/** Numbers in [0, 1) from a seed (mulberry32). */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let n = Math.imul(state ^ (state >>> 15), state | 1);
    n ^= n + Math.imul(n ^ (n >>> 7), n | 61);
    return ((n ^ (n >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** What happens when, in order of time. */
class Timeline {
  now = 0;
  #events: { readonly at: number; readonly run: () => void }[] = [];

  after(ms: number, run: () => void): void {
    const event = { at: this.now + ms, run };
    let low = 0;
    let high = this.#events.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#events[middle] as { at: number }).at > event.at) low = middle + 1;
      else high = middle;
    }
    this.#events.splice(low, 0, event);
  }

  runUntil(end: number, done: () => boolean): void {
    while (this.now < end && !done()) {
      const next = this.#events.pop();
      if (next === undefined) return;
      this.now = next.at;
      next.run();
    }
  }
}

interface Scenario {
  readonly seed: number;
  readonly validators: number;
  readonly rule: QuorumRule;
  readonly withLiar: boolean;
}

class Town {
  readonly random: () => number;
  readonly time = new Timeline();
  readonly nodes: Validator[];
  readonly loss: number;
  /** How likely a link is down, for seconds, in one direction. */
  readonly linkLoss: number;
  readonly #linksDown = new Set<string>();
  readonly crashes: number;
  evidence = 0;
  crashed = 0;
  roundMax = 0;

  constructor(readonly scenario: Scenario) {
    this.random = randomFrom(scenario.seed);
    this.loss = this.random() * 0.3;
    this.linkLoss = this.random() * 0.8;
    this.crashes = this.random() < 0.3 ? 0 : this.random() * 0.08;
    this.nodes = Array.from({ length: scenario.validators }, (_, i) =>
      scenario.withLiar && i === 0 ? new Liar(this, i) : new Validator(this, i),
    );
  }

  get honest(): readonly Validator[] {
    return this.nodes.filter((node) => !(node instanceof Liar));
  }

  isGood(): boolean {
    return this.time.now >= GOOD_FROM;
  }

  chance(probability: number): boolean {
    return this.random() < probability;
  }

  run(): void {
    this.#changeLinks();
    for (const node of this.nodes) node.boot();
    this.time.runUntil(END, () => this.honest.every((node) => node.decided !== null));
  }

  /** Takes links down and up, each for itself or between two halves of the town. */
  #changeLinks(): void {
    this.#linksDown.clear();
    const isCut = this.chance(0.3);
    const half = this.nodes.map(() => this.chance(0.5));
    for (const from of this.nodes) {
      for (const to of this.nodes) {
        const isDown = isCut ? half[from.index] !== half[to.index] : this.chance(this.linkLoss);
        if (isDown && from !== to) this.#linksDown.add(`${from.index} ${to.index}`);
      }
    }
    this.time.after(this.random() * 30 * SECOND, () => this.#changeLinks());
  }

  /** Sends to one, as the network is just now. */
  send(from: Validator, to: Validator, message: Message): void {
    if (!this.isGood() && this.#linksDown.has(`${from.index} ${to.index}`)) return;
    const copies = this.isGood() ? 1 : this.chance(this.loss) ? 0 : this.chance(0.1) ? 2 : 1;
    for (let i = 0; i < copies; i++) {
      const ms = 1 + this.random() * (this.isGood() ? 100 : this.chance(0.2) ? 20 * SECOND : SECOND);
      this.time.after(ms, () => to.receive(message));
    }
  }

  broadcast(from: Validator, message: Message): void {
    for (const node of this.nodes) if (node !== from) this.send(from, node, message);
  }
}

/** A merge that does not replay: no honest validator proposes it on purpose, but a buggy build may. */
const isInvalid = (bytes: Uint8Array): boolean => Buffer.from(bytes).toString().startsWith('invalid');

class Validator {
  readonly id: NodeId;
  readonly secret: Uint8Array;
  /** On disk: outlives crashes. */
  readonly log: IndexedRecord[] = [];
  decided: Sha256 | null = null;
  protected state: HeightState | null = null;
  #process = 0;
  #values = 0;

  constructor(
    readonly town: Town,
    readonly index: number,
  ) {
    this.id = ids[index] as NodeId;
    this.secret = secrets[index] as Uint8Array;
  }

  boot(): void {
    const { validators, rule } = this.town.scenario;
    const names = ids.slice(0, validators);
    this.state = startHeight({
      ...place,
      self: this.id,
      validators: names,
      rule,
      timeouts: TIMEOUTS,
      resume: this.log,
    });
    this.#process++;
    this.later(this.town.random() * SECOND, () => this.feed({ t: 'start' }));
    this.later(this.town.random() * GOSSIP_MS, () => this.gossipOn());
  }

  protected gossipOn(): void {
    for (const message of gossip(this.state as HeightState)) this.town.broadcast(this, message);
    this.later(GOSSIP_MS, () => this.gossipOn());
  }

  /** Runs something in this process, unless it has crashed by then. */
  protected later(ms: number, run: () => void): void {
    const process = this.#process;
    this.town.time.after(ms, () => {
      if (this.state !== null && this.#process === process) run();
    });
  }

  receive(message: Message): void {
    if (this.state === null) return;
    if (this.town.scenario.withLiar && !this.#holds(message)) return;
    this.feed(message);
  }

  #holds(message: Message): boolean {
    const node = message.t === 'vote' ? message.vote.node : message.proposal.node;
    const key = keys[ids.indexOf(node)] as KeyId;
    return message.t === 'vote'
      ? verifyVote(message.vote, key)
      : verifyProposal(message.proposal, message.bytes, key);
  }

  feed(input: Input): void {
    const queue: Input[] = [input];
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      if (this.state === null) return;
      const before: HeightState = this.state;
      const { state, outputs } = step(before, next);
      if (state.round < before.round) throw new Error('a round went back');
      this.state = state;
      this.town.roundMax = Math.max(this.town.roundMax, state.round);
      for (const output of outputs) {
        if (this.#mayCrash()) return;
        const message = this.#carryOut(output);
        if (message !== null) queue.push(message);
        if (this.state === null) return;
      }
    }
  }

  #mayCrash(): boolean {
    const crashes = !this.town.isGood() && this.town.chance(this.town.crashes);
    if (crashes) this.#crash();
    return crashes;
  }

  #crash(): void {
    this.state = null;
    this.town.crashed++;
    this.town.time.after(this.town.random() * 20 * SECOND, () => this.boot());
  }

  #carryOut(output: Output): Message | null {
    const { town } = this;
    switch (output.t) {
      case 'need-value':
        if (town.isGood() || town.chance(0.8)) this.#makeValue(output.round);
        return null;
      case 'judge':
        this.#judge(output.value, output.bytes, output.fresh);
        return null;
      case 'timeout':
        this.later(output.ms, () => this.feed({ t: 'timeout', step: output.step, round: output.round }));
        return null;
      case 'sign-proposal': {
        const proposal = signProposal(output.content, this.id, this.secret);
        return this.#publish(proposalRecord(proposal, output.bytes), {
          t: 'proposal',
          proposal,
          bytes: output.bytes,
        });
      }
      case 'sign-vote': {
        const vote = signVote(output.content, this.id, this.secret);
        return this.#publish(voteRecord(vote, output.bytes), { t: 'vote', vote }, polkaRecords(output.polka));
      }
      case 'decide': {
        const { validators, rule } = town.scenario;
        const set = new Map(ids.slice(0, validators).map((id, i) => [id, keys[i] as KeyId]));
        verifyCertificate(certificateOf(output.votes), set, rule);
        if (isInvalid(output.bytes)) throw new Error('an invalid merge was decided');
        if (valueIdOf(output.bytes) !== output.value) throw new Error('other bytes than the value');
        if (this.decided !== null && this.decided !== output.value) throw new Error('decided twice');
        this.decided = output.value;
        return null;
      }
      case 'evidence':
        town.evidence++;
        return null;
      case 'alarm':
        throw new Error(`alarm ${output.code}`);
    }
  }

  /** Durable first, then out, then back in; the power may go after each. */
  #publish(record: IndexedRecord, message: Message, seen: readonly IndexedRecord[] = []): Message | null {
    if (this.#mayCrash()) return null;
    this.log.push(record, ...seen);
    if (this.#mayCrash()) return null;
    this.town.broadcast(this, message);
    return message;
  }

  #makeValue(round: number): void {
    const { town } = this;
    const kind = !town.isGood() && town.chance(0.15) ? 'invalid' : 'merge';
    const bytes = Buffer.from(`${kind} by ${this.index} number ${this.#values++} process ${this.#process}`);
    this.later(town.random() * SECOND, () => this.feed({ t: 'value', round, bytes }));
  }

  #judge(value: Sha256, bytes: Uint8Array, fresh: boolean): void {
    const { town } = this;
    const verdict = isInvalid(bytes) ? 'invalid' : 'valid';
    const ready = town.isGood() || town.chance(0.8);
    const ms = town.random() * SECOND;
    this.later(ms, () => this.feed({ t: 'judged', value, verdict, ready: fresh && ready }));
    if (fresh && !ready) {
      this.later(ms + 10 * SECOND, () => this.feed({ t: 'judged', value, verdict, ready: true }));
    }
  }
}

/** One that votes for everything it has heard of, differently to each, and proposes differently to each. */
class Liar extends Validator {
  readonly #heard = new Map<Sha256, Uint8Array>();
  #round = 0;

  override boot(): void {
    this.#lieOn();
  }

  override receive(message: Message): void {
    if (message.t === 'proposal') this.#heard.set(message.proposal.value, message.bytes);
    this.#round = Math.max(this.#round, message.t === 'vote' ? message.vote.round : message.proposal.round);
  }

  #lieOn(): void {
    const { town } = this;
    for (const to of town.honest) {
      const values = [null, ...this.#heard.keys()];
      const value = values[Math.floor(town.random() * values.length)] as Sha256 | null;
      const round = Math.max(0, this.#round + Math.floor(town.random() * 3) - 1);
      const voteStep: VoteStep = town.chance(0.5) ? 'prevote' : 'precommit';
      const vote = signVote({ ...place, round, step: voteStep, value }, this.id, this.secret);
      town.send(this, to, { t: 'vote', vote });
      if (ids[(place.height + round) % town.scenario.validators] === this.id) this.#proposeTo(to, round);
    }
    town.time.after(town.random() * 2 * SECOND, () => this.#lieOn());
  }

  #proposeTo(to: Validator, round: number): void {
    const heard = [...this.#heard.values()];
    const old = heard[Math.floor(this.town.random() * heard.length)];
    const bytes = this.town.chance(0.5) && old ? old : Buffer.from(`lie for ${to.index} in ${round}`);
    const validRound = this.town.chance(0.5) ? -1 : Math.floor(this.town.random() * round);
    if (validRound >= round) return;
    const value = valueIdOf(bytes);
    const proposal = signProposal({ ...place, round, validRound, value }, this.id, this.secret);
    this.town.send(this, to, { t: 'proposal', proposal, bytes });
  }
}

/** What is wrong with how a scenario went; null where nothing is. */
function problemOf(town: Town): string | null {
  const decisions = new Set(town.honest.map((node) => node.decided));
  if (decisions.has(null)) return 'not all decided';
  if (decisions.size > 1) return 'they decided differently';
  for (const node of town.honest) {
    const signed = new Map<string, string>();
    for (const { kind, round, step: at, text } of node.log) {
      if (kind === 'seen') continue;
      const name = `${round} ${at}`;
      if (signed.has(name) && signed.get(name) !== text) return `${node.index} signed twice at ${name}`;
      if (signed.has(name)) return `${node.index} was asked twice to sign ${name}`;
      signed.set(name, text);
    }
  }
  return null;
}

const scenarios: [string, number, Omit<Scenario, 'seed'>][] = [
  ['one validator', 20, { validators: 1, rule: 'majority', withLiar: false }],
  ['two, as a step on the way', 15, { validators: 2, rule: 'majority', withLiar: false }],
  ['three by majority', 40, { validators: 3, rule: 'majority', withLiar: false }],
  ['four by two thirds', 40, { validators: 4, rule: 'two-thirds', withLiar: false }],
  ['seven by two thirds', 5, { validators: 7, rule: 'two-thirds', withLiar: false }],
  ['four by two thirds, one of them a liar', 40, { validators: 4, rule: 'two-thirds', withLiar: true }],
];

for (const [name, seeds, scenario] of scenarios) {
  t.test(`${name}: all decide alike under any faults, and nobody signs twice`, async (t) => {
    const only = process.env['SEED'];
    const count = Number(process.env['SEEDS'] ?? seeds);
    const chosen = only === undefined ? Array.from({ length: count }, (_, i) => i + 1) : [Number(only)];
    let crashed = 0;
    let evidence = 0;
    let roundMax = 0;
    for (const seed of chosen) {
      const town = new Town({ ...scenario, seed });
      let problem: string | null;
      try {
        town.run();
        problem = problemOf(town);
      } catch (error) {
        problem = error instanceof Error ? (error.stack ?? error.message) : String(error);
      }
      if (problem !== null) t.fail(`seed ${seed}: ${problem}`);
      crashed += town.crashed;
      evidence += town.evidence;
      roundMax = Math.max(roundMax, town.roundMax);
    }
    t.ok(only !== undefined || crashed > 10, `${crashed} crashes, rounds up to ${roundMax}`);
    t.equal(evidence > 0, scenario.withLiar, `${evidence} pieces of evidence`);
  });
}

t.test('a run repeats from its seed', async (t) => {
  const run = (): string => {
    const town = new Town({ seed: 7, validators: 4, rule: 'two-thirds', withLiar: true });
    town.run();
    return JSON.stringify([
      town.time.now,
      town.crashed,
      town.evidence,
      town.honest.map(({ log }) => log.map((r) => r.text)),
    ]);
  };
  t.equal(run(), run());
});
