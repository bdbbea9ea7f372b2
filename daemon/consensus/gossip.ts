/** What to send again while a height is open, and after it for those who are behind: messages get lost on the way. */
import type { Input } from './algorithm.js';
import { roundLog, votesFor, type HeightState } from './height-state.js';
import type { Proposal } from './proposal.js';
import type { Vote } from './vote.js';

/** A message as it is sent; the other side verifies it and feeds it as input. */
export type Message = Extract<Input, { t: 'proposal' | 'vote' }>;

const voteMessages = (votes: readonly Vote[]): Message[] => votes.map((vote) => ({ t: 'vote', vote }));

function proposalMessages(state: HeightState, proposals: readonly Proposal[]): Message[] {
  return proposals.flatMap((proposal): Message[] => {
    const known = state.values.get(proposal.value);
    return known === undefined ? [] : [{ t: 'proposal', proposal, bytes: known.bytes }];
  });
}

/**
 * The messages that the others may need of this node, at most three rounds of votes:
 * - decided: the value and the precommits for it;
 * - else its own of this round and the one before (who is a round behind needs those), and the prevotes (of all) that make the
 *   valid value valid, and those that a proposal of this round refers to: after a power cut only their signers have them.
 * For sending on a clock (2 s, backing off) and at once to a node that reappears.
 */
export function gossip(state: HeightState): readonly Message[] {
  const { decision, self, round, validRound, validValue } = state;
  if (decision !== null) {
    const proposals = [...state.rounds.values()].flatMap((log) => log.proposals);
    const last = proposals.findLast((proposal) => proposal.value === decision.value);
    return [
      ...proposalMessages(state, last === undefined ? [] : [last]),
      ...voteMessages(votesFor(state, decision.round, 'precommit', decision.value)),
    ];
  }
  const messages = new Set<Vote | Proposal>();
  const own = [round - 1, round].map((r) => roundLog(state, r));
  for (const { proposals, votes } of own) {
    for (const message of [...proposals, ...votes]) if (message.node === self) messages.add(message);
  }
  if (validValue !== null) {
    for (const vote of votesFor(state, validRound, 'prevote', validValue)) messages.add(vote);
    for (const proposal of roundLog(state, validRound).proposals) {
      if (proposal.value === validValue) messages.add(proposal);
    }
  }
  for (const proposal of roundLog(state, round).proposals) {
    if (proposal.validRound < 0) continue;
    for (const vote of votesFor(state, proposal.validRound, 'prevote', proposal.value)) messages.add(vote);
  }
  const all = [...messages];
  return [
    ...proposalMessages(
      state,
      all.filter((message): message is Proposal => 'validRound' in message),
    ),
    ...voteMessages(all.filter((message): message is Vote => 'step' in message)),
  ];
}
