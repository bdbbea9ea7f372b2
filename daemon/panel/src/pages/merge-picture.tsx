/** @jsxImportSource preact */
import { counted, number, shortId } from '../format.js';
import { sketchEllipse } from '../map/sketch.js';
import type { Merge } from '../shapes.js';

const rowHeight = 34;
const drawnMost = 8;

/** The branches flowing into main, as `git log --graph` would tell it. The same stands beside it as text. */
export function MergePicture({ merge, nameOf }: { merge: Merge; nameOf(id: string): string }) {
  if (merge.height === 0) return null;
  const heads = merge.heads.slice(0, drawnMost);
  const height = 40 + heads.length * rowHeight;
  const main = 22;
  return (
    <figure class="merge-picture">
      <svg viewBox={`0 0 360 ${height}`} aria-hidden="true">
        <path class="pencil branch-line" d={`M6 ${main} C90 ${main - 1} 200 ${main + 1} 352 ${main}`} />
        <Knot x={48} y={main} kind="main" />
        <Knot x={270} y={main} kind="main" big />
        <text x="48" y={main - 12}>
          {number(merge.height - 1)}
        </text>
        <text x="270" y={main - 12}>
          {number(merge.height)}
        </text>
        {heads.map((head, at) => {
          const y = main + (at + 1) * rowHeight;
          return (
            <g key={head.id}>
              <path class="pencil branch-line" d={`M6 ${y} L190 ${y} C230 ${y} 232 ${main} 270 ${main}`} />
              <Knot x={182} y={y} kind="head" />
            </g>
          );
        })}
      </svg>
      <figcaption class="small muted">
        <ul>
          {merge.heads.map((head) => (
            <li key={head.id}>
              {counted(head.entries, 'entry', 'entries')} of {nameOf(head.node)}, up to block{' '}
              <code title={head.id}>{shortId(head.id)}</code>
            </li>
          ))}
        </ul>
      </figcaption>
    </figure>
  );
}

function Knot({ x, y, kind, big = false }: { x: number; y: number; kind: 'main' | 'head'; big?: boolean }) {
  const r = big ? 8 : 5.5;
  return (
    <g>
      <circle cx={x} cy={y} r={r} class={`knot-${kind}`} />
      <path class="pencil thin" d={sketchEllipse(x, y, r, r, x * 7 + y)} />
    </g>
  );
}
