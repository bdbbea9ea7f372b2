/** @jsxImportSource preact */
/** The strokes that buildings and landscape are made of. Colours come from the style sheet, by class. */
import { useMemo } from 'preact/hooks';
import { box, pointsOf, polygonPoints, sketchEllipse, sketchLine, smooth, type Point } from './sketch.js';

type Paint =
  | 'wall'
  | 'wall2'
  | 'roof'
  | 'roof2'
  | 'wood'
  | 'glass'
  | 'water'
  | 'lamplight'
  | 'dark'
  | 'paper'
  | 'leaf'
  | 'leaf2'
  | 'none';

/** Points as "x,y x,y", or as numbers where they are reckoned. */
type Points = string | readonly Point[];

interface ShapeProps {
  readonly points: Points;
  readonly paint?: Paint;
  readonly thin?: boolean;
}

const asPoints = (points: Points): readonly Point[] =>
  typeof points === 'string' ? pointsOf(points) : points;

const seedOf = (points: readonly Point[]): number =>
  points.reduce((seed, [x, y]) => Math.imul(seed, 31) + x * 7 + y, 17);

/** A polygon: flat colour under a double pencil line. */
export function Shape({ points, paint = 'wall', thin = false }: ShapeProps) {
  const [fill, stroke] = useMemo(() => {
    const corners = asPoints(points);
    return [polygonPoints(corners), sketchLine(corners, true, seedOf(corners))];
  }, [points]);
  return (
    <g>
      <polygon points={fill} class={`paint-${paint}`} />
      <path d={stroke} class={thin ? 'pencil thin' : 'pencil'} />
    </g>
  );
}

interface BoxProps extends Omit<ShapeProps, 'points'> {
  readonly at: readonly [x: number, y: number, width: number, height: number];
}

export function Box({ at: [x, y, width, height], ...rest }: BoxProps) {
  const points = useMemo(() => box(x, y, width, height), [x, y, width, height]);
  return <Shape points={points} {...rest} />;
}

/** An open line. */
export function Line({ points, thin = true }: { points: Points; thin?: boolean }) {
  const stroke = useMemo(() => {
    const way = asPoints(points);
    return sketchLine(way, false, seedOf(way));
  }, [points]);
  return <path d={stroke} class={thin ? 'pencil thin' : 'pencil'} />;
}

interface RoundProps {
  readonly at: readonly [cx: number, cy: number, rx: number, ry: number];
  readonly paint?: Paint;
  readonly thin?: boolean;
}

export function Round({ at: [cx, cy, rx, ry], paint = 'none', thin = false }: RoundProps) {
  const stroke = useMemo(() => sketchEllipse(cx, cy, rx, ry, cx * 13 + cy), [cx, cy, rx, ry]);
  return (
    <g>
      <ellipse cx={cx} cy={cy} rx={rx} ry={ry} class={`paint-${paint}`} />
      <path d={stroke} class={thin ? 'pencil thin' : 'pencil'} />
    </g>
  );
}

/** An arch standing on `y + height`: door, gate, window. */
export function Arch({ at: [x, y, width, height], paint = 'dark', thin = false }: BoxProps) {
  const half = width / 2;
  const d = `M${x} ${y + height}V${y + half}A${half} ${half} 0 0 1 ${x + width} ${y + half}V${y + height}Z`;
  return <path d={d} class={`paint-${paint} pencil ${thin ? 'thin' : ''}`} />;
}

/** A window with a cross; lit at night. */
export function Window({ at }: { at: BoxProps['at'] }) {
  const [x, y, width, height] = at;
  return (
    <g>
      <Box at={at} paint="glass" thin />
      <Line
        points={[
          [x + width / 2, y],
          [x + width / 2, y + height],
        ]}
      />
      <Line
        points={[
          [x, y + height / 2],
          [x + width, y + height / 2],
        ]}
      />
    </g>
  );
}

/** A leafy tree; `tall` for a cypress. */
export function Tree({
  x,
  y,
  size = 1,
  tall = false,
}: {
  x: number;
  y: number;
  size?: number;
  tall?: boolean;
}) {
  const crown = useMemo<readonly Point[]>(() => {
    const shape: readonly Point[] = tall
      ? [
          [0, -46],
          [8, -28],
          [10, -12],
          [0, -6],
          [-10, -12],
          [-8, -28],
        ]
      : [
          [0, -42],
          [14, -36],
          [20, -22],
          [12, -9],
          [-3, -8],
          [-17, -12],
          [-20, -26],
          [-12, -38],
        ];
    return shape.map(([dx, dy]) => [x + dx * size, y + dy * size]);
  }, [x, y, size, tall]);
  return (
    <g>
      <Line
        points={[
          [x - size, y],
          [x, y - 14 * size],
        ]}
        thin={false}
      />
      <path d={smooth(crown, true)} class={`pencil ${tall ? 'paint-leaf2' : 'paint-leaf'}`} />
      <path
        d={smooth([
          [x - 8 * size, y - 20 * size],
          [x - 1 * size, y - 16 * size],
          [x + 6 * size, y - 21 * size],
        ])}
        class="pencil thin"
      />
    </g>
  );
}
