/** What a board that keeps a broker's authority holds of it between two runs, in `keys/broker.json`. */
import { readSummed, summed, type Read } from './key-text.js';

/** The file, in `keys/`. */
export const BROKER_KEYS = 'broker.json';

export interface BrokerKeys {
  readonly v: 1;
  /** PEM. */
  readonly authorityKey: string;
  /** The authority's certificate: base64 of its DER. */
  readonly authority: string;
  /** The password of those who do not belong to the town yet. */
  readonly guest: string;
  /** Where the files were written last. */
  readonly out?: string;
}

const FIELDS: ReadonlySet<string> = new Set(['v', 'authorityKey', 'authority', 'guest', 'out']);

export const brokerKeysText = (keys: BrokerKeys): string => `${JSON.stringify(summed(BROKER_KEYS, keys))}\n`;

export function readBrokerKeys(text: string): Read<BrokerKeys> {
  const found = readSummed(BROKER_KEYS, text, FIELDS);
  if (found?.t !== 'key') return found;
  const value = found.value as BrokerKeys;
  const { v, authorityKey, authority, guest } = value;
  const isSound = v === 1 && [authorityKey, authority, guest].every((each) => typeof each === 'string');
  return isSound ? { ...found, value } : null;
}
