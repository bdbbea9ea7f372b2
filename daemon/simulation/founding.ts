/** What a simulated town begins with: keys from words, a charter whose nodes are all validators, genesis, its first members. */
import { makerspaceCharter, parseCharter } from '../ledger/charter.js';
import type { DappManifest, FromContract, ToContract } from '../ledger/contract-protocol.js';
import { sha256 } from '../ledger/hash.js';
import type { JsonObject, Millis, Sha256 } from '../ledger/ids.js';
import { INVITATION_DOMAIN, invitationText } from '../ledger/kernel.js';
import { makeGenesis, type Genesis } from '../ledger/merge.js';
import { signRecovery, type Recovery, type RecoveryStatement } from '../ledger/recovery.js';
import { sealingKeyOf } from '../ledger/sealing.js';
import { nodeIdOf, publicKeyOf, signText } from '../ledger/signature.js';
import type { NodeKeys } from '../node/key-files.js';
import type { Shape } from './scenario.js';
import { MINUTE, SECOND } from './timeline.js';

export const TOWN_BEGINS = 1_700_000_000_000 as Millis;

/** How long an allowance that is fenced still pays: short, as the lives of these towns are. */
const FENCE_WAIT_MS = 5 * SECOND;

/** The one dapp of a simulated town; judged in this process. Its verbs are those that `workload.ts` says. */
export interface SimulatedDapp {
  readonly manifest: DappManifest;
  /** A contract that has just started: what it answers to one message. */
  readonly contract: () => (message: ToContract) => FromContract;
}

/** A secret key from a word: the same in every run. */
export const secretOf = (word: string): Uint8Array => Buffer.from(sha256(`simulated ${word}`), 'hex');

export function nodeKeys(name: string): NodeKeys {
  const secretKey = secretOf(`node ${name}`);
  const key = publicKeyOf(secretKey);
  return {
    secretKey,
    key,
    id: nodeIdOf(key),
    sealingSecret: secretOf(`sealing ${name}`),
    badgeKey: secretOf('badges'),
    townKey: secretOf('town'),
  };
}

/** What stands of a node in the charter. */
export const nodeRecord = (name: string, { key, sealingSecret }: NodeKeys): JsonObject => ({
  ...{ name, key, roles: ['door'] },
  sealing: sealingKeyOf(sealingSecret),
});

export const nodeNames = (count: number): readonly string[] =>
  Array.from({ length: count }, (_, index) => `node-${index}`);

/** Who holds a key of recovery; two of them begin an epoch. */
const KEY_HOLDERS = ['drawer', 'bank', 'aunt'];
const KEYS_NEEDED = 2;

/** What the first of them sign. */
export const signedByHolders = (statement: RecoveryStatement): Recovery =>
  KEY_HOLDERS.slice(0, KEYS_NEEDED).reduce<Recovery>(
    (recovery, holder) => signRecovery(recovery, secretOf(holder)),
    { statement, sigs: [] },
  );

/** Genesis of a town of this shape. */
export function genesisOf(shape: Shape, dapp: SimulatedDapp): Genesis {
  const names = nodeNames(shape.nodes);
  const keys = names.map(nodeKeys);
  const [first] = keys as [NodeKeys, ...NodeKeys[]];
  const { name, version } = dapp.manifest;
  const base = makerspaceCharter({
    name: 'Simulated',
    node: { id: first.id, key: first.key, name: names[0] as string },
    dapps: [{ name, version, digest: sha256(name) }],
  });
  const own = `${name}.*`;
  const charter = parseCharter({
    ...base,
    nodes: Object.fromEntries(keys.map((each, index) => [each.id, nodeRecord(names[index] as string, each)])),
    validators: keys.slice(0, shape.validators).map(({ id }) => id),
    quorum: shape.quorum,
    recovery: { k: KEYS_NEEDED, keys: KEY_HOLDERS.map((holder) => publicKeyOf(secretOf(holder))) },
    roles: {
      member: { permissions: ['allowance.open', 'credit.transfer', own] },
      steward: { permissions: [...(base.roles['steward']?.permissions ?? []), own] },
    },
    allowances: { most: 200, fenceWaitMs: FENCE_WAIT_MS },
    pace: { interactiveMs: 500, factsMs: 2_000 },
  });
  return makeGenesis(charter, sha256('nonce'), first.id, TOWN_BEGINS, first.secretKey);
}

/** An invitation that the first steward signed. */
export function invitationBy(host: string, town: Sha256, guest: string): JsonObject {
  const by = publicKeyOf(secretOf(host));
  const content = {
    town,
    nonce: sha256(`invitation ${guest}`),
    roles: ['member'],
    until: TOWN_BEGINS + 60 * MINUTE,
  };
  const sig = signText(secretOf(host), INVITATION_DOMAIN, invitationText(content as never));
  return { ...content, by, sig };
}
