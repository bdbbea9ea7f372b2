/** What a validator signs when it votes. Here, below the consensus, because two votes of one place are evidence in the ledger. */
import { canonicalize } from './canonical.js';
import type { Sha256 } from './ids.js';

export const VOTE_DOMAIN = 'mergetown/vote/v1';

/** The place of a vote in the town's history, and what it is for. `value` null: for nothing in this round. */
export interface VoteWords {
  readonly town: Sha256;
  readonly line: string;
  readonly epoch: number;
  readonly height: number;
  readonly round: number;
  readonly parent: Sha256;
  readonly step: 'prevote' | 'precommit';
  readonly value: Sha256 | null;
}

/** The signed text of a vote; the key says whose it is. */
export function voteText({ town, line, epoch, height, round, step, value, parent }: VoteWords): string {
  return canonicalize({ town, line, epoch, height, round, step, value, parent });
}
