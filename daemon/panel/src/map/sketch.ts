/**
 * Lines as a hand would draw them: every straight line bends a little, overshoots a little, and is drawn twice.
 * Pure and seeded, so that the town looks the same each time.
 */
export type Point = readonly [x: number, y: number];

/** Numbers from 0 to 1 that follow from the seed (mulberry32, public domain). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** "10,20 30,40" as points. */
export const pointsOf = (text: string): readonly Point[] =>
  text.split(' ').map((pair) => {
    const [x = 0, y = 0] = pair.split(',').map(Number);
    return [x, y];
  });

const round = (value: number): number => Math.round(value * 10) / 10;

/** SVG path data of a polyline, drawn twice by hand. `closed` joins the last point to the first. */
export function sketchLine(points: readonly Point[], closed: boolean, seed: number, roughness = 1): string {
  const random = seeded(seed);
  const off = (size: number) => (random() - 0.5) * 2 * size * roughness;
  const ends = closed ? [...points, points[0]!] : points;
  const strokes: string[] = [];
  for (let pass = 0; pass < 2; pass += 1) {
    const shake = pass === 0 ? 0.6 : 1.1;
    for (let at = 1; at < ends.length; at += 1) {
      const [ax, ay] = ends[at - 1]!;
      const [bx, by] = ends[at]!;
      const bow = Math.min(2.2, Math.hypot(bx - ax, by - ay) / 45);
      const from = `${round(ax + off(shake))} ${round(ay + off(shake))}`;
      const bend = `${round((ax + bx) / 2 + off(bow))} ${round((ay + by) / 2 + off(bow))}`;
      strokes.push(`M${from}Q${bend} ${round(bx + off(shake))} ${round(by + off(shake))}`);
    }
  }
  return strokes.join('');
}

/** SVG path data of an ellipse drawn once, almost round, its ends passing each other. */
export function sketchEllipse(cx: number, cy: number, rx: number, ry: number, seed: number): string {
  const random = seeded(seed);
  const steps = 9;
  const start = random() * Math.PI;
  const points: Point[] = [];
  for (let at = 0; at <= steps; at += 1) {
    const angle = start + ((Math.PI * 2 + 0.25) * at) / steps;
    const wobble = 1 + (random() - 0.5) * 0.07;
    points.push([cx + Math.cos(angle) * rx * wobble, cy + Math.sin(angle) * ry * wobble]);
  }
  return smooth(points);
}

/** SVG path data of a soft curve through all points (Catmull-Rom as cubic Béziers). */
export function smooth(points: readonly Point[], closed = false): string {
  const at = (index: number): Point =>
    closed
      ? points[(index + points.length) % points.length]!
      : points[Math.min(points.length - 1, Math.max(0, index))]!;
  const [x, y] = at(0);
  let path = `M${round(x)} ${round(y)}`;
  for (let index = 0; index < points.length - (closed ? 0 : 1); index += 1) {
    const [before, from, to, after] = [at(index - 1), at(index), at(index + 1), at(index + 2)];
    path += `C${round(from[0] + (to[0] - before[0]) / 6)} ${round(from[1] + (to[1] - before[1]) / 6)} `;
    path += `${round(to[0] - (after[0] - from[0]) / 6)} ${round(to[1] - (after[1] - from[1]) / 6)} `;
    path += `${round(to[0])} ${round(to[1])}`;
  }
  return closed ? `${path}Z` : path;
}

/** "10,20 30,40": the plain polygon under a sketch, for its fill. */
export const polygonPoints = (points: readonly Point[]): string =>
  points.map((each) => each.join()).join(' ');

/** Corners of an upright rectangle. */
export const box = (x: number, y: number, width: number, height: number): readonly Point[] => [
  [x, y],
  [x + width, y],
  [x + width, y + height],
  [x, y + height],
];
