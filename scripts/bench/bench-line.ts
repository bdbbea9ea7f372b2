/** One measured figure of `npm run bench`, as it is printed with `--json`. */
export interface BenchLine {
  /** The bench it belongs to: `append`, `door`, `start`. */
  readonly bench: string;
  /** What was measured, e.g. `tap-to-strike-p99`. */
  readonly name: string;
  readonly value: number;
  /** E.g. `ms` or `entries/s`. */
  readonly unit: string;
  /** The same unit, measured in the same run. */
  readonly baseline: number;
  /** 1 = as good as the baseline, larger is better: value/baseline for rates, baseline/value for times. */
  readonly ratio: number;
}

/** A figure where more is better. */
export const rateLine = (
  bench: string,
  name: string,
  value: number,
  unit: string,
  baseline: number,
): BenchLine => ({
  bench,
  name,
  value: round(value),
  unit,
  baseline: round(baseline),
  ratio: round(value / baseline),
});

/** A figure where less is better. */
export const timeLine = (
  bench: string,
  name: string,
  value: number,
  unit: string,
  baseline: number,
): BenchLine => ({
  bench,
  name,
  value: round(value),
  unit,
  baseline: round(baseline),
  ratio: round(baseline / value),
});

/** Four significant digits: more would be noise. */
const round = (value: number): number => Number(value.toPrecision(4));
