/** A town of real boards that loses its quorum, and those who hold the keys of recovery. */
import { parseCertificate } from '../consensus/certificate.js';
import type { JsonObject } from '../ledger/ids.js';
import { recoveryText, signRecovery, type Recovery, type RecoveryStatement } from '../ledger/recovery.js';
import { publicKeyOf } from '../ledger/signature.js';
import { secretOf } from '../ledger/testing/small-town.js';
import type { RecoveryApplied, RecoveryPlace } from '../node/recovery-cases.js';
import { STEWARD_NAME as ADA, type Board } from './town-of-nodes.js';
import { reading } from './witness.js';

const HOLDERS = ['drawer', 'bank', 'aunt'];

/** What the charter says of the keys: two of three sign. */
export const RECOVERY_KEYS: JsonObject = {
  k: 2,
  keys: HOLDERS.map((holder) => publicKeyOf(secretOf(holder))),
};

export const placeOf = (board: Board): Promise<RecoveryPlace> => board.get<RecoveryPlace>('/api/recovery');

/** What begins an epoch after the last merge of a board, as `town recover` makes it, signed by two. */
export async function recoveryAfter(
  board: Board,
  validators: readonly string[],
  nodes: JsonObject = {},
): Promise<Recovery> {
  const { town, nextEpoch: epoch, height, parent } = await placeOf(board);
  const statement = {
    ...{ v: 1, town: town.id, line: 'main', epoch, height, parent, nodes },
    ...{ validators, quorum: 'majority' },
  } as RecoveryStatement;
  const begun: Recovery = { statement, sigs: [] };
  return HOLDERS.slice(0, 2).reduce((signed, holder) => signRecovery(signed, secretOf(holder)), begun);
}

export const applyAt = (board: Board, recovery: Recovery): Promise<RecoveryApplied> =>
  board.post<RecoveryApplied>(ADA, '/api/recovery', recovery);

/** The merges of a board after the one that a statement goes on from: `epoch id`; of the first also whether that statement began it. */
export function historyAfter(board: Board, { height, epoch, ...rest }: RecoveryStatement): readonly string[] {
  return reading(board, (store) => {
    const last = store.lastMerge()?.height ?? 0;
    return Array.from({ length: Math.max(0, last - height) }, (_, index) => {
      const at = height + 1 + index;
      const proof = parseCertificate(store.certificate(at) ?? '');
      const { statement } = proof.recovery ?? {};
      const began = statement && recoveryText(statement) === recoveryText({ height, epoch, ...rest });
      return `${proof.epoch} ${store.merge(at)?.id}${statement ? (began ? ' begins' : ' by another') : ''}`;
    });
  });
}
