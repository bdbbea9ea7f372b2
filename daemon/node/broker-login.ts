/**
 * How a node logs in at a broker that another node of the town keeps: as its own id, with a password that follows from the X25519 keys
 * of the two. So none has to be given out: the keeper writes it (hashed) into the broker's file for every node of the charter.
 */
import type { Charter } from '../ledger/charter.js';
import type { NodeId, Sha256 } from '../ledger/ids.js';
import { sharedKey } from '../ledger/sealing.js';
import { GUEST, type BrokerConfig } from './config.js';

export interface Login {
  readonly username?: string;
  readonly password?: string;
}

/**
 * The password of a node at the keeper's broker: 32 characters. Both come to the same, each with its own secret and the other's key.
 * @throws TownError `bad-sealing-key`
 */
export function nodePassword(
  about: { readonly town: Sha256; readonly keeper: NodeId; readonly node: NodeId },
  secretKey: Uint8Array,
  otherKey: string,
): string {
  const { town, keeper, node } = about;
  const key = sharedKey(secretKey, otherKey, `mergetown/broker-password/v1 ${town} ${keeper} ${node}`);
  return Buffer.from(key.subarray(0, 24)).toString('base64url');
}

/** What a node says to a broker of its config. */
export function loginAt(
  { keeper, username, password }: BrokerConfig,
  node: { readonly id: NodeId; readonly sealingSecret: Uint8Array },
  town: Sha256,
  nodes: Charter['nodes'],
): Login {
  if (keeper === undefined)
    return {
      ...(username === undefined ? {} : { username }),
      ...(password === undefined ? {} : { password }),
    };
  const sealing = nodes[keeper]?.sealing;
  // Refused by the broker, and told as that.
  if (sealing === undefined) return { username: node.id };
  const about = { town, keeper: keeper as NodeId, node: node.id };
  return { username: node.id, password: nodePassword(about, node.sealingSecret, sealing) };
}

/** What a node says that was invited and is not let in yet. */
export const guestLogin = ({ keeper, guest, username, password }: BrokerConfig): Login => {
  const [name, word] = keeper === undefined ? [username, password] : [GUEST, guest];
  return {
    ...(name === undefined ? {} : { username: name }),
    ...(word === undefined ? {} : { password: word }),
  };
};
