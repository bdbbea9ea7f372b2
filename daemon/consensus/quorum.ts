/** How many validators must sign, and how many may be away. */
import { TownError } from '../ledger/ids.js';

/** `majority` bears crashes only: for boards that one owner trusts. `two-thirds` bears lies too. */
export type QuorumRule = 'majority' | 'two-thirds';

/**
 * The number of validators whose signatures decide.
 * 1 of 1; 2 of 2 (a step on the way); `majority` ⌊n/2⌋+1 from 3; `two-thirds` ⌊2n/3⌋+1 from 4.
 * @throws TownError `bad-quorum` for numbers that a charter may not have.
 */
export function quorumOf(validators: number, rule: QuorumRule): number {
  if (!Number.isSafeInteger(validators) || validators < 1) {
    throw new TownError('bad-quorum', `A town has at least one validator, not ${validators}.`);
  }
  if (validators <= 2) return validators;
  if (rule === 'majority') return Math.floor(validators / 2) + 1;
  if (validators === 3) {
    throw new TownError(
      'bad-quorum',
      'With two thirds of three validators none may lie and none may be off: the rule needs four or more.',
      'Add a fourth validator, or choose "majority" when one owner trusts all three boards.',
    );
  }
  return Math.floor((2 * validators) / 3) + 1;
}

/** How many validators may be off while the others still decide. */
export function mayBeOff(validators: number, rule: QuorumRule): number {
  return validators - quorumOf(validators, rule);
}

/**
 * How many validators beyond a round take the others there (Tendermint's line 55 has f + 1). They are more than may lie, and enough
 * that those who can decide together get to one round whatever was lost with the rest: a round is begun after the votes of a quorum in
 * the round before it, and of that quorum at least `2q − n` are among any q that are left. Where more than may be off are beyond a
 * round, it cannot be decided without them at all.
 */
export function skipCountOf(validators: number, rule: QuorumRule): number {
  const quorum = quorumOf(validators, rule);
  return Math.min(mayBeOff(validators, rule) + 1, 2 * quorum - validators);
}
