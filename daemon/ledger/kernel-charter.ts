/** Changes of the charter, signed by as many stewards as it says. */
import { changeCharter, charterText, validatorsMoved, type Charter, type CharterChange } from './charter.js';
import { TownError, type NodeId, type Sha256 } from './ids.js';
import { allowanceAt } from './kernel-allowances.js';
import { KERNEL, badBody, countStewards, hasOnly, refuse, tooFewStewards, type Handler } from './kernel.js';
import { readRecovery } from './recovery.js';

/**
 * Null where the charter would not hold. What exactly is wrong is for who asks before they sign: a receipt is the same everywhere,
 * and those words come from a library.
 */
function changed(charter: Charter, change: CharterChange): Charter | null {
  try {
    return changeCharter(charter, change);
  } catch (error) {
    if (error instanceof TownError && error.code === 'bad-charter') return null;
    throw error;
  }
}

const whoDecides = ({ validators, quorum }: Charter): string => [...validators, quorum].join();

/** Sets and removes places of the charter. */
export const change: Handler = (entry, state, context) => {
  const { charter } = context;
  const { set, remove } = entry.body;
  const isObject = typeof set === 'object' && set !== null && !Array.isArray(set);
  if (
    !hasOnly(entry.body, 'set', 'remove') ||
    !isObject ||
    !Array.isArray(remove) ||
    !remove.every((r) => typeof r === 'string')
  )
    return badBody(entry.type, '{set: {pointer: value}, remove: [pointer]}');
  const unsigned = tooFewStewards(entry, context);
  if (unsigned) return unsigned;
  const next = changed(charter, { set, remove } as CharterChange);
  if (!next) return refuse('bad-charter', 'The charter would not hold then.');
  // Consecutive sets share all but one, whatever number of changes a merge folds in: so each quorum overlaps with the next.
  if (validatorsMoved(context.validators, next.validators) > 1)
    return refuse(
      'validator-moved',
      'A merge moves one validator at most, and another was moved in this one: change it once that is merged.',
      'charter/charter',
    );
  const begun = readRecovery(state);
  const isStale = begun && context.baseTime(entry.base) <= context.baseTime(begun.parent as Sha256);
  // A list of before would bring back whom the recovery left out, and end the new quorum too.
  if (isStale && whoDecides(next) !== whoDecides(charter))
    return refuse(
      'before-epoch',
      'It was signed before the first merge of the epoch: the validators that it names are those of before.',
      'recovery/current',
    );
  if (next.amend > countStewards(state))
    return refuse('too-few-stewards', `There are fewer than ${next.amend} stewards to sign the next change.`);
  for (const node of Object.keys(charter.nodes) as NodeId[]) {
    const open = next.nodes[node] ? undefined : allowanceAt(state, node);
    if (open !== undefined)
      return refuse(
        'allowances-open',
        `Node ${node} holds allowances of members: let it return them, or fence them first (town allowance fence).`,
        `allowances/${open}`,
      );
  }
  state.put(KERNEL, 'charter', 'charter', charterText(next));
  return null;
};
