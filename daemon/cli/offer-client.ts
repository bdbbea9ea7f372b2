/** The running daemon as one that takes in what others hold. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { BringOptions } from '../node/bring-history.js';
import { proofOfOffer, type Offered, type OfferTaker } from '../node/offers.js';
import type { Context } from './context.js';

/** A merge of thousands of entries is replayed before the answer comes. */
const ANSWER_MS_MAX = 600_000;

const packagesFolder = fileURLToPath(new URL('../../packages', import.meta.url));

/** How a history is brought to the node of `--data`, whether its daemon runs or not. */
export function bringOptions(
  context: Context,
  driver: 'container' | 'process' | undefined,
): Omit<BringOptions, 'onProgress'> {
  const text = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8');
  return {
    packagesFolder,
    version: (JSON.parse(text) as { version: string }).version,
    driver,
    daemon: async (keys) => {
      const client = await context.client();
      return {
        take: (part: Parameters<OfferTaker['take']>[0]) => {
          const offer = JSON.stringify(part);
          const body = { part: offer, proof: proofOfOffer(keys, offer) };
          return client.post<Offered>('/api/ledger/offers', undefined, body, ANSWER_MS_MAX);
        },
      };
    },
  };
}
