/** Whether a certificate proves a merge: a quorum of the validators of its epoch signed exactly these bytes as the next merge. */
import { keyOfNode, type Charter } from '../ledger/charter.js';
import { TownError, type KeyId, type NodeId, type Sha256 } from '../ledger/ids.js';
import { assertRecovery, followsOn, type Recovery } from '../ledger/recovery.js';
import { verifyCertificate, type Certificate } from './certificate.js';
import { valueIdOf } from './vote.js';

/** A line after a merge, by its state: who may certify the next one. */
export interface Parent {
  readonly town: Sha256;
  readonly line: string;
  readonly height: number;
  readonly id: Sha256;
  readonly epoch: number;
  readonly charter: Charter;
}

/** Under what the merge was made. */
export interface Proven {
  readonly epoch: number;
  /** With the set of validators that signed it: the parent's, or that of the recovery. */
  readonly charter: Charter;
  /** Of the first merge of an epoch. */
  readonly recovery: Recovery | null;
}

const bad = (why: string): TownError =>
  new TownError('bad-certificate', `The certificate does not prove the merge: ${why}.`);

/** Whether a certificate is for the merge after this one, be it proven or not. */
export const isNext = (proof: Certificate, { town, line, height, id }: Parent): boolean =>
  proof.town === town && proof.line === line && proof.height === height + 1 && proof.parent === id;

/**
 * @param raw the merge commit's bytes
 * @throws TownError `bad-certificate`, `bad-recovery`, `no-recovery`, `bad-quorum`
 */
export function proveMerge(proof: Certificate, raw: Uint8Array, parent: Parent): Proven {
  if (!isNext(proof, parent)) throw bad('it is for another place');
  const { recovery = null } = proof;
  if (recovery && !followsOn(recovery.statement, parent))
    throw bad('its recovery goes on from another merge');
  const charter = recovery ? assertRecovery(recovery, parent) : parent.charter;
  const epoch = recovery ? recovery.statement.epoch : parent.epoch;
  // What another epoch signed says nothing here: those votes may be of who was left behind.
  if (proof.epoch !== epoch) throw bad(`it is of epoch ${proof.epoch}, and this is epoch ${epoch}`);
  const keys = charter.validators.map(
    (id) => [id as NodeId, keyOfNode(charter, id as NodeId) as KeyId] as const,
  );
  verifyCertificate(proof, new Map(keys), charter.quorum);
  if (proof.value !== valueIdOf(raw)) throw bad('it is for another merge');
  return { epoch, charter, recovery };
}
