/** @jsxImportSource preact */
import type { GraphLine, GraphPicture } from '../graph-layout.js';
import { sketchEllipse } from '../map/sketch.js';

const rem = 16;
/** As high as a row of the list beside it. */
const rowHeight = 3.25 * rem;
const laneMost = 26;
/** However many boards there are, the words need their place too. */
const widthMost = 190;
const left = 16;

/** The lines and knots of the graph. Only for the eye: the list beside it says the same. */
export function GraphDrawing({ picture: { rows, lines, lanes } }: { picture: GraphPicture }) {
  const step = Math.min(laneMost, (widthMost - 2 * left) / Math.max(lanes.length, 1));
  const width = 2 * left + lanes.length * step;
  const height = rows.length * rowHeight;
  const x = (lane: number) => left + lane * step;
  const y = (row: number) => (row + 0.5) * rowHeight;
  const ordered = [...lines].sort((a, b) => Number(b.kind === 'stand') - Number(a.kind === 'stand'));
  return (
    <svg
      class="graph-drawing"
      viewBox={`0 0 ${width} ${height}`}
      width={`${width / rem}rem`}
      height={`${height / rem}rem`}
      aria-hidden="true"
    >
      {ordered.map((line) => (
        <path
          key={`${line.kind} ${line.from.lane} ${line.from.row} ${line.to.lane} ${line.to.row}`}
          class={`graph-line ${line.kind} ${line.open ? 'open' : ''} lane-${colourOf(line.lane)}`}
          d={pathOf(line, x, y)}
        />
      ))}
      {rows.map((row, at) => {
        const lane = row.kind === 'merge' ? 0 : row.lane;
        const open = row.kind === 'blocks' && row.blocks.at(-1)?.height === null;
        const run = row.kind === 'blocks' && row.blocks.length > 1;
        return (
          <g key={at} class={`knot lane-${colourOf(lane)} ${open ? 'open' : ''}`}>
            {run && <circle cx={x(lane)} cy={y(at) + 6} r="5" />}
            <circle cx={x(lane)} cy={y(at)} r={lane === 0 ? 8 : 6} />
            <path
              class="pencil thin"
              d={sketchEllipse(x(lane), y(at), lane === 0 ? 8 : 6, lane === 0 ? 8 : 6, at + 3)}
            />
          </g>
        );
      })}
    </svg>
  );
}

/** The main line has a colour of its own; the boards share six. */
const colourOf = (lane: number): number => (lane === 0 ? 0 : 1 + ((lane - 1) % 6));

function pathOf(line: GraphLine, x: (lane: number) => number, y: (row: number) => number): string {
  const [ax, ay] = [x(line.from.lane), y(line.from.row)];
  const [bx, by] = [x(line.to.lane), y(line.to.row)];
  const bend = rowHeight * 0.7;
  switch (line.kind) {
    case 'main':
    case 'grow':
      return `M${ax} ${ay}V${by}`;
    case 'fold':
      return `M${ax} ${ay}V${by + bend}C${ax} ${by + bend / 4} ${(ax + bx) / 2} ${by} ${bx} ${by}`;
    case 'stand': {
      const middle = (ay + by) / 2;
      return line.aside
        ? `M${ax} ${ay}C${ax} ${middle} ${bx} ${middle} ${bx} ${by}`
        : `M${ax} ${ay}C${(ax + bx) / 2} ${ay} ${bx} ${ay - bend / 4} ${bx} ${ay - bend}V${by}`;
    }
  }
}
