/** The validators' messages as they travel between nodes. */
import type { Message as ConsensusMessage } from '../consensus/gossip.js';
import type { JsonObject } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import type { Message } from '../sync/message.js';

/** What is sealed: a vote, or a proposal with the bytes of its merge in base64. */
export const consensusBody = (message: ConsensusMessage): JsonObject =>
  (message.t === 'vote'
    ? { vote: message.vote }
    : {
        proposal: message.proposal,
        bytes: Buffer.from(message.bytes).toString('base64'),
      }) as unknown as JsonObject;

/** Its form alone is looked at; what it says, the merger judges. @throws TownError `malformed` */
export function readConsensus({ kind, body }: Pick<Message, 'kind' | 'body'>): ConsensusMessage {
  const bad = (): TownError => new TownError('malformed', 'Not a message of the validators.');
  const part = body[kind];
  if (typeof part !== 'object' || part === null || Array.isArray(part)) throw bad();
  if (kind === 'vote') return { t: 'vote', vote: part } as unknown as ConsensusMessage;
  const { bytes } = body;
  if (kind !== 'proposal' || typeof bytes !== 'string') throw bad();
  return {
    t: 'proposal',
    proposal: part,
    bytes: Buffer.from(bytes, 'base64'),
  } as unknown as ConsensusMessage;
}
