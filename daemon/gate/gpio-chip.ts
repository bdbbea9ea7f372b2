/** Finds a GPIO chip by its label: its number changes from kernel to kernel, its label does not. */
import { execFile } from 'node:child_process';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { TownError } from '../ledger/ids.js';

const sysfs = '/sys/class/gpio';
const toolWaitMs = 2_000;
const run = promisify(execFile);

export interface SysfsChip {
  /** Added to a line's offset it gives the number in sysfs (0 on old kernels, 512 and more since 6.6). */
  readonly base: number;
  readonly lines: number;
}

/** The chip in sysfs, for `onoff`. Throws `no-gpio-chip`. */
export async function sysfsChip(label: string): Promise<SysfsChip> {
  for (const name of await readdir(sysfs).catch(() => [])) {
    if (!name.startsWith('gpiochip')) continue;
    const read = async (file: string) => (await readFile(join(sysfs, name, file), 'utf8')).trim();
    if ((await read('label').catch(() => '')) !== label) continue;
    return { base: Number(await read('base')), lines: Number(await read('ngpio')) };
  }
  throw new TownError(
    'no-gpio-chip',
    `No GPIO chip in ${sysfs} is labelled "${label}".`,
    'Check that the config names the right board, and that this user is in the group gpio.',
  );
}

/** Name (`gpiochip0`) of the chip, for libgpiod's tools. Throws `no-gpio-tools`, `no-gpio-chip`. */
export async function libgpiodChip(label: string): Promise<string> {
  const listed = await runTool('gpiodetect', []);
  for (const line of listed.split('\n')) {
    const match = /^(gpiochip\d+) \[(.*)\] \(\d+ lines\)$/.exec(line.trim());
    if (match?.[2] === label) return match[1]!;
  }
  throw new TownError('no-gpio-chip', `gpiodetect knows no chip labelled "${label}".`);
}

/** Which generation of libgpiod's tools is installed: their options differ. Throws `no-gpio-tools`. */
export async function libgpiodVersion(): Promise<1 | 2> {
  const match = /v(\d+)\.\d+/.exec(await runTool('gpiomon', ['--version']));
  if (match === null) throw new TownError('no-gpio-tools', 'gpiomon does not say its version.');
  return match[1] === '1' ? 1 : 2;
}

/** The arguments with which `gpiomon` prints falling edges as `<offset> <seconds> <nanoseconds>` (v2: a point between the two). */
export function gpiomonArguments(version: 1 | 2, chip: string, offsets: readonly number[]): string[] {
  const lines = offsets.map(String);
  return version === 1
    ? ['--falling-edge', '--bias=pull-up', '--line-buffered', '--format=%o %s %n', chip, ...lines]
    : ['--edges=falling', '--bias=pull-up', '--format=%o %S', `--chip=${chip}`, ...lines];
}

async function runTool(tool: string, args: string[]): Promise<string> {
  try {
    return (await run(tool, args, { timeout: toolWaitMs, maxBuffer: 64 * 1024 })).stdout;
  } catch (error) {
    throw new TownError(
      'no-gpio-tools',
      `${tool} does not run: ${error instanceof Error ? error.message : String(error)}`,
      'Install libgpiod’s tools: apt install gpiod',
    );
  }
}
