/** Time for tests that a person makes larger than in CI: thousands of rounds, flips or faults take hours. */

/** What a test file gets for it, milliseconds. `npm test` gives no file more. */
export const sweepMsMax = 4 * 3_600_000;

const began = performance.now();
const wantedMs = Number(process.env['MINUTES'] ?? Number.POSITIVE_INFINITY) * 60_000;

/**
 * Whether a sweep ends here, with what it has seen: `MINUTES=n`, from when its file began.
 * @param share of the time that what the file did until here may take
 */
export const isTimeUp = (share = 1): boolean => performance.now() >= began + wantedMs * share;
