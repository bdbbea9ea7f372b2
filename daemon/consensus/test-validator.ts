/** For tests: one validator of four, with a log and a caller that signs, logs and feeds back at once. */
import { sha256 } from '../ledger/hash.js';
import type { NodeId, Sha256 } from '../ledger/ids.js';
import { nodeIdOf, publicKeyOf } from '../ledger/signature.js';
import { startHeight, step, type HeightOptions, type Input, type Output } from './algorithm.js';
import type { HeightState } from './height-state.js';
import { polkaRecords, proposalRecord, voteRecord, type OwnRecord } from './own-records.js';
import { signProposal, type Proposal } from './proposal.js';
import { signVote, valueIdOf, type Vote, type VoteStep } from './vote.js';

export const secrets = Array.from({ length: 4 }, (_, i) => Buffer.alloc(32, i + 1));
export const keys = secrets.map(publicKeyOf);
export const nodes = keys.map(nodeIdOf);
export const secretOf = (node: NodeId): Uint8Array => secrets[nodes.indexOf(node)] as Uint8Array;
// At height 4 validator r % 4 proposes in round r.
export const place = { town: sha256('town'), line: 'main', epoch: 0, height: 4, parent: sha256('parent') };

export const A = Buffer.from('value a');
export const B = Buffer.from('value b');
export const a = valueIdOf(A);
export const b = valueIdOf(B);

export const vote = (i: number, round: number, step: VoteStep, value: Sha256 | null): Vote =>
  signVote({ ...place, round, step, value }, nodes[i] as NodeId, secrets[i] as Uint8Array);
export const proposal = (round: number, bytes: Uint8Array, validRound = -1): Proposal =>
  signProposal(
    { ...place, round, validRound, value: valueIdOf(bytes) },
    nodes[round % 4] as NodeId,
    secrets[round % 4] as Uint8Array,
  );

/** One validator, its log, and a caller that signs, logs and feeds back at once; judgements and values only on request. */
export class Bench {
  state: HeightState;
  readonly log: OwnRecord[] = [];
  readonly options: HeightOptions;

  constructor(change: Partial<HeightOptions> = {}) {
    this.options = { ...place, self: nodes[3] as NodeId, validators: nodes, rule: 'two-thirds', ...change };
    this.state = startHeight(this.options);
  }

  /** Feeds inputs and returns all that comes of them, told shortly. */
  feed(...inputs: Input[]): string[] {
    const told: string[] = [];
    const queue = [...inputs];
    for (let input = queue.shift(); input !== undefined; input = queue.shift()) {
      const result = step(this.state, input);
      this.state = result.state;
      for (const output of result.outputs) {
        told.push(tell(output));
        queue.push(...this.#carryOut(output));
      }
    }
    return told;
  }

  #carryOut(output: Output): Input[] {
    const self = this.options.self as NodeId;
    if (output.t === 'sign-vote') {
      const signed = signVote(output.content, self, secretOf(self));
      this.log.push(voteRecord(signed, output.bytes), ...polkaRecords(output.polka));
      return [{ t: 'vote', vote: signed }];
    }
    if (output.t === 'sign-proposal') {
      const signed = signProposal(output.content, self, secretOf(self));
      this.log.push(proposalRecord(signed, output.bytes));
      return [{ t: 'proposal', proposal: signed, bytes: output.bytes }];
    }
    return [];
  }

  propose(round: number, bytes: Uint8Array, validRound = -1): string[] {
    return this.feed({ t: 'proposal', proposal: proposal(round, bytes, validRound), bytes });
  }

  votes(step: VoteStep, round: number, value: Sha256 | null, ...from: number[]): string[] {
    return this.feed(...from.map((i): Input => ({ t: 'vote', vote: vote(i, round, step, value) })));
  }

  judge(value: Sha256, verdict: 'valid' | 'invalid' = 'valid', ready = true): string[] {
    return this.feed({ t: 'judged', value, verdict, ready });
  }

  timeout(step: VoteStep | 'propose', round: number): string[] {
    return this.feed({ t: 'timeout', step, round });
  }

  /** A new process with the same log. */
  restarted(log: readonly OwnRecord[] = this.log): Bench {
    const bench = new Bench({ ...this.options, resume: log });
    bench.log.push(...log);
    return bench;
  }
}

export const nameOf = (value: Sha256 | null): string =>
  value === null ? 'nil' : value === a ? 'a' : value === b ? 'b' : '?';

export function tell(output: Output): string {
  switch (output.t) {
    case 'need-value':
      return `need-value ${output.round}`;
    case 'judge':
      return `judge ${nameOf(output.value)}${output.fresh ? ' fresh' : ''}`;
    case 'sign-proposal':
      return `propose ${output.content.round} ${nameOf(output.content.value)} ${output.content.validRound}`;
    case 'sign-vote':
      return `${output.content.step} ${output.content.round} ${nameOf(output.content.value)}`;
    case 'timeout':
      return `timeout ${output.step} ${output.round}`;
    case 'decide':
      return `decide ${nameOf(output.value)} ${output.round}`;
    case 'evidence':
      return 'evidence';
    case 'alarm':
      return `alarm ${output.code}`;
  }
}

/** A validator locked on `a` in round 0, now in round 1. */
export function locked(): Bench {
  const bench = new Bench();
  bench.feed({ t: 'start' });
  bench.propose(0, A);
  bench.judge(a);
  bench.votes('prevote', 0, a, 0, 1);
  bench.votes('precommit', 0, null, 0, 1);
  bench.timeout('precommit', 0);
  return bench;
}
