/** A merge that is trusted by its certificate alone, before anything that led to it is here. */
import { parseCertificate, verifyCertificate } from '../consensus/certificate.js';
import { isNext, proveMerge, type Parent } from '../consensus/proof.js';
import { valueIdOf } from '../consensus/vote.js';
import { commitOid } from '../ledger/block.js';
import { keyOfNode } from '../ledger/charter.js';
import { parseCommit, parseTrailers } from '../ledger/git-object.js';
import { sha256 } from '../ledger/hash.js';
import type { KeyId, Millis, NodeId, Oid, Sha256 } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import type { RawMerge } from '../sync/block-batch.js';
import { MAIN, type Head } from './main-line.js';

export interface CertifiedMerge extends Head {
  readonly raw: Uint8Array;
  readonly certificate: string;
  /** The git id of its tree. */
  readonly tree: Oid;
}

/**
 * Whether a quorum of the validators that are trusted here signed it. Who was a validator then signs only what follows from all
 * before; so such a quorum proves as much of a later merge as of the next one. The votes of later validators do not count.
 * Where an epoch began in between, too few of them did, or it is the next merge and brings what began it.
 * @param trusted the last merge that is trusted, with the validators and the epoch that hold after it
 * @param epochDue the epoch in which it is at least, by what is known here
 * @returns null where too few of them signed: others are validators by then, and a merge before it has to be trusted first
 * @throws TownError `bad-certificate`, `bad-commit`, `bad-merge`, `bad-recovery`, `no-recovery`
 */
export function readCertified(
  { raw, certificate }: RawMerge,
  place: { readonly town: Sha256; readonly height: number },
  trusted: Parent,
  epochDue: number = trusted.epoch,
): CertifiedMerge | null {
  const proof = parseCertificate(certificate);
  if (proof.town !== place.town || proof.line !== MAIN || proof.height !== place.height)
    throw new TownError('bad-certificate', 'The certificate is for another place than was asked for.');
  if (proof.value !== valueIdOf(raw))
    throw new TownError('bad-certificate', 'The certificate is for another merge.');
  const { charter, epoch } = trusted;
  if (proof.epoch < epochDue)
    throw new TownError(
      'bad-certificate',
      `The certificate is of epoch ${proof.epoch}, and epoch ${epochDue} has begun by then.`,
    );
  if (proof.recovery && proof.epoch > epoch && isNext(proof, trusted)) {
    proveMerge(proof, raw, trusted);
    return certifiedOf({ raw, certificate }, place);
  }
  const keys = new Map(
    charter.validators.map((id) => [id as NodeId, keyOfNode(charter, id as NodeId) as KeyId]),
  );
  const votes = proof.votes.filter(({ node }) => keys.has(node));
  try {
    verifyCertificate({ ...proof, votes }, keys, charter.quorum);
  } catch (error) {
    if (error instanceof TownError && error.code === 'bad-certificate') return null;
    throw error;
  }
  return certifiedOf({ raw, certificate }, place);
}

/**
 * A merge whose certificate was found to hold before.
 * @throws TownError `bad-commit`, `bad-merge`
 */
export function certifiedOf(
  { raw, certificate }: RawMerge,
  { town, height }: { readonly town: Sha256; readonly height: number },
): CertifiedMerge {
  const { fields } = parseCommit(raw);
  const trailers = parseTrailers(fields.message);
  const isThere = (name: string, value: string): boolean => trailers.get(name)?.join() === value;
  const [time] = trailers.get('Time') ?? [];
  if (!isThere('Town', town) || !isThere('Height', String(height)) || !/^\d{1,15}$/.test(time ?? ''))
    throw new TownError('bad-merge', 'The merge belongs to another place.');
  return {
    height,
    id: sha256(raw),
    oid: commitOid(raw),
    time: Number(time) as Millis,
    tree: fields.tree,
    raw,
    certificate,
  };
}
