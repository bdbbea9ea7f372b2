/** The charter's parameters for gigs. A charter that leaves one out, or sets it to nonsense, gets DiTo's value. */
import type { ContractContext, Json } from '../sdk/typescript/contract.js';

export interface GigParameters {
  readonly priceMin: number;
  readonly priceMax: number;
  /** A submitted gig that is not rated for this long can be closed at 100 %. */
  readonly rateWindowMs: number;
  /** A rating that is not disputed for this long can be closed at its payout. */
  readonly disputeWindowMs: number;
  /** What 1, 2, 3, 4 and 5 stars pay. */
  readonly payoutPercent: readonly number[];
  readonly arbiterRole: string;
}

const WEEK_MS = 7 * 24 * 3600 * 1000;
const PAYOUT_PERCENT = [20, 40, 60, 80, 100];

const whole = (value: Json | undefined, min: number, otherwise: number): number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= min ? value : otherwise;

export function parametersOf({ parameters: given }: ContractContext): GigParameters {
  const percents = given['payoutPercent'];
  const priceMin = whole(given['priceMin'], 1, 1);
  return {
    priceMin,
    priceMax: Math.min(whole(given['priceMax'], priceMin, Math.max(1000, priceMin)), 1_000_000_000_000),
    rateWindowMs: whole(given['rateWindowMs'], 0, WEEK_MS),
    disputeWindowMs: whole(given['disputeWindowMs'], 0, WEEK_MS),
    payoutPercent:
      Array.isArray(percents) &&
      percents.length === 5 &&
      percents.every((p) => whole(p as Json, 0, 101) <= 100)
        ? (percents as number[])
        : PAYOUT_PERCENT,
    arbiterRole: typeof given['arbiterRole'] === 'string' ? given['arbiterRole'] : 'steward',
  };
}
