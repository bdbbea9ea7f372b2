/** @jsxImportSource preact */
/** The ground that the buildings stand on: once wide, once tall for a phone. The style sheet shows one of them. */
import { Line, Round, Tree } from './drawing.js';
import { pointsOf, smooth } from './sketch.js';

const hillsWide = '-20,150 120,92 260,130 420,70 600,118 800,64 980,122 1120,84 1220,130';
const hillsTall = '-20,96 70,52 160,86 270,40 420,84';

/** Winding roads. All edges lie under all surfaces, so that roads run into each other. */
function Roads({ ways }: { ways: readonly string[] }) {
  const curves = ways.map((way) => smooth(pointsOf(way)));
  return (
    <g>
      {curves.map((d) => (
        <path key={d} d={d} class="road-edge" />
      ))}
      {curves.map((d) => (
        <path key={d} d={d} class="road" />
      ))}
    </g>
  );
}

function River({ points }: { points: string }) {
  const d = smooth(pointsOf(points));
  return (
    <g>
      <path d={d} class="river-edge" />
      <path d={d} class="river" />
      <path d={d} class="river-glint" />
    </g>
  );
}

/** Sun by day, moon by night. */
function Light({ x, y }: { x: number; y: number }) {
  return (
    <g>
      <circle cx={x} cy={y} r="22" class="sun" />
      <path d={`M${x - 8} ${y - 20}a21 21 0 1 0 26 26a17 17 0 0 1 -26 -26Z`} class="moon" />
    </g>
  );
}

/** Shown by night only. */
function Stars({ at }: { at: string }) {
  return (
    <g class="night">
      {pointsOf(at).map(([x, y]) => (
        <circle key={x} cx={x} cy={y} r={x % 3 === 0 ? 1.8 : 1.2} />
      ))}
    </g>
  );
}

function Hills({ points, floor, width }: { points: string; floor: number; width: number }) {
  const d = smooth(pointsOf(points));
  return (
    <g>
      <path d={`${d}L${width + 20} ${floor}L-20 ${floor}Z`} class="hills" />
      <path d={d} class="pencil thin" />
    </g>
  );
}

export function WideLandscape() {
  return (
    <svg
      class="landscape wide"
      viewBox="0 0 1200 760"
      preserveAspectRatio="xMidYMid slice"
      aria-hidden="true"
    >
      <Light x={1080} y={56} />
      <Stars at="60,48 141,90 220,30 305,74 396,22 470,50 540,36 712,24 780,46 866,30 930,72 990,26 1160,96" />
      <Hills points={hillsWide} floor={260} width={1200} />
      <path d="M0 168Q300 150 620 164T1200 158V760H0Z" class="meadow" />
      <River points="1230,356 1100,372 980,370 890,410 846,500 836,620 850,700 830,790" />
      <Roads
        ways={[
          '200,292 300,352 440,380 600,372',
          '600,300 598,340 600,372',
          '996,290 900,340 760,350 600,372',
          '300,352 282,420 270,520 262,620 200,690 90,716 -30,722',
          '600,372 540,440 450,540 420,670',
          '600,372 632,460 690,560 720,670',
          '600,372 740,384 860,436 960,500 1040,580 1070,680',
        ]}
      />
      <Round at={[600, 376, 62, 26]} paint="paper" thin />
      <Round at={[600, 372, 26, 11]} paint="water" />
      <Line points="600,372 600,350" thin={false} />
      <Line points="590,356 600,348 610,356" />
      <Line points="846,408 908,446" thin={false} />
      <Line points="828,440 890,480" thin={false} />
      <Tree x={350} y={250} tall />
      <Tree x={378} y={262} size={0.9} tall />
      <Tree x={566} y={590} size={1.1} />
      <Tree x={284} y={722} size={1.1} />
      <Tree x={50} y={392} />
      <Tree x={36} y={450} size={0.8} tall />
      <Tree x={800} y={250} size={0.9} />
      <Tree x={832} y={262} size={0.7} tall />
      <Tree x={1150} y={470} size={1.1} />
      <Tree x={1110} y={452} size={0.8} tall />
      <Tree x={580} y={724} size={0.9} tall />
      <Tree x={30} y={240} size={0.9} tall />
      <Tree x={1172} y={250} size={0.9} />
      <Line points="330,450 348,444 366,452" />
      <Line points="900,716 918,710 934,717" />
      <Line points="1040,420 1056,414 1074,421" />
      <Line points="150,480 166,474 184,481" />
    </svg>
  );
}

export function TallLandscape() {
  return (
    <svg
      class="landscape tall"
      viewBox="0 0 400 1180"
      preserveAspectRatio="xMidYMid slice"
      aria-hidden="true"
    >
      <Light x={350} y={40} />
      <Stars at="30,30 81,16 132,42 190,20 240,28 291,14" />
      <Hills points={hillsTall} floor={180} width={400} />
      <path d="M0 112Q120 98 240 112T400 104V1180H0Z" class="meadow" />
      <River points="430,742 330,772 240,800 120,776 -30,826" />
      <Roads
        ways={[
          '100,300 150,336 190,352 200,400 206,520 196,680 202,860 200,1010',
          '300,300 250,336 210,352 200,400',
          '100,580 150,620 204,646',
          '300,566 250,614 204,646',
          '100,860 150,894 202,916',
          '300,860 250,894 202,916',
        ]}
      />
      <Tree x={200} y={150} size={0.8} tall />
      <Tree x={22} y={350} size={0.9} />
      <Tree x={382} y={360} size={0.8} tall />
      <Tree x={18} y={640} size={0.8} />
      <Tree x={384} y={652} size={0.8} tall />
      <Tree x={60} y={1010} />
      <Tree x={90} y={1090} size={0.8} tall />
      <Tree x={344} y={1030} size={1.1} />
      <Tree x={376} y={1110} size={0.8} tall />
    </svg>
  );
}
