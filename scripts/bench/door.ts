/** Bench `door`: from a badge at the reader to the strike, through the real gate process and a durable writer on the daemon's side. */
import { mkdtemp, open, rm, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { badgeHash } from '../../daemon/gate/badge-number.js';
import { GateLink } from '../../daemon/gate/link.js';
import { timeLine, type BenchLine } from './bench-line.js';
import { busyDoor } from './door-busy.js';

const warmUp = 100;
const taps = 1000;
const badgeKey = 'ef'.repeat(32);
const badgeNumber = '123:4567';
const gateWaitMs = 10_000;

/** Writes the bytes and waits until they are on disk: what every record costs at least. */
async function writeDurably(file: FileHandle, bytes: Buffer): Promise<void> {
  await file.write(bytes);
  await file.datasync();
}

/** The way from the tap to the strike; then what the daemon's housework adds to it. */
export async function run(): Promise<BenchLine[]> {
  return [...(await tapToStrike()), ...(await busyDoor())];
}

/**
 * Taps one badge again and again, each time measuring from the tap to the news that the strike is on, and in turn the baseline:
 * one bare write and fdatasync of the same record. Both in ms, on the same file system.
 */
async function tapToStrike(): Promise<BenchLine[]> {
  const folder = await mkdtemp(join(tmpdir(), 'bench-door-'));
  const daemonFile = await open(join(folder, 'daemon'), 'a');
  const bareFile = await open(join(folder, 'bare'), 'a');
  let strikeMoved: (record: string) => void = () => undefined;
  let connected: () => void = () => undefined;
  const quiet = { info: () => undefined, warn: () => undefined };
  const link = new GateLink(join(folder, 'gate'), {
    spawn: true,
    logger: quiet,
    onRecord: (record) => writeDurably(daemonFile, Buffer.from(JSON.stringify(record) + '\n')),
    onStrike: ({ on, record }) => {
      if (on && record !== undefined) strikeMoved(record);
    },
    onHello: () => connected(),
  });
  try {
    await within(new Promise<void>((resolve) => ((connected = resolve), link.start())));
    await link.sendConfig({
      board: 'simulated',
      doors: [{ id: 'door', name: 'Door', strike: 'strike1', reader: { kind: 'simulated' }, pulseMs: 1 }],
      durableWaitMs: 150,
      lastTableMs: 0,
    });
    await link.sendRights({
      version: 1,
      town: 'bench',
      issuedAt: Date.now(),
      badgeKey,
      doors: { door: { mode: 'normal' } },
      badges: { [badgeHash(badgeKey, badgeNumber)]: { person: 'p0', status: 'active', doors: '*' } },
    });
    const toStrike: number[] = [];
    const bare: number[] = [];
    for (let index = 0; index < warmUp + taps; index += 1) {
      const started = performance.now();
      const moved = new Promise<number>((resolve) => {
        strikeMoved = () => resolve(performance.now() - started);
      });
      const record = await link.tap('door', badgeNumber);
      const strikeMs = await within(moved);
      if (record.code !== 'granted') throw new Error(`The bench's badge was refused: ${record.code}`);
      const bytes = Buffer.from(JSON.stringify(record) + '\n');
      const written = performance.now();
      await writeDurably(bareFile, bytes);
      const bareMs = performance.now() - written;
      if (index < warmUp) continue;
      toStrike.push(strikeMs);
      bare.push(bareMs);
    }
    return [50, 99].map((percent) =>
      timeLine(
        'door',
        `tap-to-strike-p${percent}`,
        percentile(toStrike, percent),
        'ms',
        percentile(bare, percent),
      ),
    );
  } finally {
    await link.stop({ gateToo: true });
    await daemonFile.close();
    await bareFile.close();
    await rm(folder, { recursive: true, force: true });
  }
}

/** The value below which `percent` of the values lie (nearest rank). */
function percentile(values: readonly number[], percent: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.ceil((percent / 100) * sorted.length) - 1]!;
}

async function within<T>(value: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`The gate did not answer in ${gateWaitMs} ms.`)), gateWaitMs);
  });
  try {
    return await Promise.race([value, late]);
  } finally {
    clearTimeout(timer);
  }
}
