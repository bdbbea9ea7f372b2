/** @jsxImportSource preact */
/** The seven buildings, each in a box of 200 × 160 with its feet at y = 156. */
import { Arch, Box, Line, Round, Shape, Window } from './drawing.js';

/** Two towers and a gate; the gate stands open while a strike is on. */
export function Gatehouse({ open }: { open: boolean }) {
  return (
    <g>
      <Box at={[2, 112, 196, 44]} paint="wall2" />
      <Line points="4,126 50,127 52,140 6,141" />
      <Line points="150,128 194,127" />
      <Line points="160,141 196,142" />
      <Box at={[66, 62, 68, 94]} paint="wall" />
      <Shape
        points="62,62 62,48 74,48 74,55 86,55 86,48 98,48 98,55 110,55 110,48 122,48 122,55 138,55 138,62"
        paint="wall"
      />
      <Box at={[34, 50, 36, 106]} paint="wall" />
      <Box at={[130, 50, 36, 106]} paint="wall" />
      <Shape points="28,51 52,12 76,51" paint="roof" />
      <Shape points="124,51 148,12 172,51" paint="roof" />
      <Line points="52,12 52,0" thin={false} />
      <Shape points="52,1 70,5 52,10" paint="roof2" thin />
      <Arch at={[46, 66, 12, 20]} paint="glass" thin />
      <Arch at={[142, 66, 12, 20]} paint="glass" thin />
      <Arch at={[80, 92, 40, 64]} paint={open ? 'lamplight' : 'dark'} />
      {open ? (
        <g>
          <Shape points="80,100 68,106 68,156 80,156" paint="wood" />
          <Shape points="120,100 132,106 132,156 120,156" paint="wood" />
        </g>
      ) : (
        <g>
          <Arch at={[83, 96, 34, 60]} paint="wood" thin />
          <Line points="100,97 100,156" />
          <Line points="84,120 116,120" />
          <Line points="84,138 116,138" />
        </g>
      )}
    </g>
  );
}

/** A gabled house with a card over the door. */
export function RegistryOffice() {
  return (
    <g>
      <Box at={[128, 18, 16, 40]} paint="wall2" />
      <Box at={[26, 76, 148, 80]} paint="wall" />
      <Shape points="14,80 44,28 156,28 186,80" paint="roof2" />
      <Line points="36,58 72,58" />
      <Line points="92,48 120,48" />
      <Line points="112,66 152,66" />
      <Window at={[40, 96, 26, 30]} />
      <Window at={[134, 96, 26, 30]} />
      <Arch at={[86, 112, 28, 44]} paint="wood" />
      <Round at={[108, 136, 1.6, 1.6]} thin />
      <Box at={[80, 84, 40, 24]} paint="paper" />
      <Round at={[90, 93, 4, 4.4]} thin />
      <Line points="84,104 87,99 93,99 96,104" />
      <Line points="101,92 115,92" />
      <Line points="101,98 112,98" />
      <Line points="76,156 124,156" thin={false} />
    </g>
  );
}

/** A roofed notice board with papers pinned to it. */
export function JobBoard() {
  return (
    <g>
      <Box at={[40, 48, 9, 108]} paint="wood" />
      <Box at={[151, 48, 9, 108]} paint="wood" />
      <Box at={[32, 58, 136, 70]} paint="wall2" />
      <Shape points="18,56 100,22 182,56 172,64 100,35 28,64" paint="roof" />
      <Shape points="44,70 72,68 74,102 46,104" paint="paper" thin />
      <Shape points="84,74 116,75 115,96 83,95" paint="paper" thin />
      <Shape points="126,68 154,70 152,108 124,106" paint="paper" thin />
      <Shape points="88,101 112,100 113,121 89,122" paint="paper" thin />
      <Line points="50,79 67,78" />
      <Line points="51,86 66,85" />
      <Line points="52,93 62,92" />
      <Line points="89,82 110,82" />
      <Line points="89,88 104,88" />
      <Line points="131,79 147,80" />
      <Line points="131,87 147,88" />
      <Line points="130,95 141,96" />
      <Line points="94,108 107,108" />
      <Line points="94,114 104,114" />
      <Round at={[59, 71, 2, 2]} paint="roof" thin />
      <Round at={[100, 77, 2, 2]} paint="roof" thin />
      <Round at={[140, 72, 2, 2]} paint="roof" thin />
    </g>
  );
}

/** Columns, a pediment, and a coin in it. */
export function Bank() {
  return (
    <g>
      <Box at={[30, 70, 140, 78]} paint="wall" />
      <Shape points="16,62 100,16 184,62" paint="wall2" />
      <Box at={[20, 61, 160, 11]} paint="wall2" />
      <Round at={[100, 45, 10, 10]} paint="glass" />
      <Line points="100,39 100,51" />
      {[36, 66, 124, 154].map((x) => (
        <g key={x}>
          <Box at={[x, 74, 12, 70]} paint="paper" />
          <Line
            points={[
              [x + 4, 80],
              [x + 4, 138],
            ]}
          />
          <Line
            points={[
              [x + 8, 80],
              [x + 8, 138],
            ]}
          />
        </g>
      ))}
      <Box at={[86, 90, 28, 56]} paint="wood" />
      <Line points="100,92 100,144" />
      <Box at={[22, 144, 156, 7]} paint="wall2" />
      <Box at={[14, 150, 172, 7]} paint="wall2" />
    </g>
  );
}

/** The tall one, with a clock and a flag; the flag is red while the town has an alarm. */
export function TownHall({ alarm }: { alarm: boolean }) {
  return (
    <g>
      <Box at={[12, 80, 176, 76]} paint="wall" />
      <Shape points="4,82 24,56 176,56 196,82" paint="roof" />
      <Box at={[78, 30, 44, 126]} paint="wall" />
      <Shape points="72,32 100,4 128,32" paint="roof2" />
      <Line points="100,4 100,-16" thin={false} />
      <Shape points="100,-15 122,-10 100,-4" paint={alarm ? 'roof' : 'leaf'} thin />
      <Round at={[100, 50, 12, 12]} paint="paper" />
      <Line points="100,50 100,42" />
      <Line points="100,50 106,53" />
      <Window at={[26, 96, 18, 24]} />
      <Window at={[52, 96, 18, 24]} />
      <Window at={[130, 96, 18, 24]} />
      <Window at={[156, 96, 18, 24]} />
      <Arch at={[91, 74, 18, 26]} paint="glass" thin />
      <Arch at={[87, 114, 26, 42]} paint="wood" />
      <Line points="100,116 100,156" />
      <Line points="78,108 122,108" />
    </g>
  );
}

/** A low house with a horn's sign, a letter box and a pile of parcels. */
export function PostOffice() {
  return (
    <g>
      <Box at={[24, 74, 128, 82]} paint="wall" />
      <Shape points="12,78 30,36 146,36 164,78" paint="roof" />
      <Line points="40,56 76,56" />
      <Line points="88,66 132,66" />
      <Box at={[40, 16, 14, 30]} paint="wall2" />
      <Box at={[56, 82, 62, 17]} paint="paper" />
      <Line points="64,86 76,92 88,86" />
      <Line points="94,88 110,88" />
      <Line points="94,93 106,93" />
      <Window at={[36, 108, 26, 26]} />
      <Box at={[80, 108, 28, 48]} paint="wood" />
      <Round at={[102, 134, 1.6, 1.6]} thin />
      <Window at={[120, 108, 22, 26]} />
      <Box at={[164, 112, 22, 30]} paint="roof2" />
      <Line points="168,121 182,121" thin={false} />
      <Line points="175,142 175,156" thin={false} />
    </g>
  );
}

/** By the river, with a wheel in it and a wire to the town; dark while too few boards are heard to merge. */
export function PowerHouse({ lit }: { lit: boolean }) {
  const spokes = [0, 1, 2, 3].map((at) => {
    const angle = 0.2 + (at * Math.PI) / 4;
    const [dx, dy] = [Math.cos(angle) * 35, Math.sin(angle) * 35];
    return [
      [160 - dx, 118 - dy],
      [160 + dx, 118 + dy],
    ] as const;
  });
  return (
    <g>
      <Line points="34,52 34,4" thin={false} />
      <Line points="20,12 48,12" thin={false} />
      <Round at={[22, 9, 2.4, 3]} paint="paper" thin />
      <Round at={[46, 9, 2.4, 3]} paint="paper" thin />
      <Box at={[84, 18, 16, 40]} paint="wall2" />
      <Box at={[14, 74, 120, 82]} paint="wall" />
      <Shape points="6,76 14,46 54,62 54,46 94,62 94,46 142,76" paint="roof2" />
      <Arch at={[28, 92, 20, 30]} paint={lit ? 'lamplight' : 'dark'} thin />
      <Arch at={[100, 92, 20, 30]} paint={lit ? 'lamplight' : 'dark'} thin />
      <Line points="38,92 38,122" />
      <Line points="110,92 110,122" />
      <Arch at={[60, 112, 28, 44]} paint="wood" />
      <Line points="74,114 74,156" />
      <Box at={[58, 80, 32, 26]} paint="paper" thin />
      <Shape points="76,83 67,95 73,95 71,104 81,91 75,91" paint="lamplight" thin />
      <Round at={[160, 118, 37, 37]} thin={false} />
      <Round at={[160, 118, 29, 29]} thin />
      {spokes.map((points) => (
        <Line key={points.join()} points={points} thin={false} />
      ))}
      <Round at={[160, 118, 5, 5]} paint="wood" />
    </g>
  );
}
