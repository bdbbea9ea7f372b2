/** A board with real lines: strikes and buttons through `onoff` (sysfs), readers through `gpiomon` (libgpiod). */
import type { Gpio } from 'onoff';
import { TownError } from '../ledger/ids.js';
import type { Board, BoardEvents } from './board.js';
import { gpiomonArguments, libgpiodChip, libgpiodVersion, sysfsChip } from './gpio-chip.js';
import { findPinMap, type PinLine, type PinMap } from './pin-map.js';
import type { DoorWiring, GateConfig } from './shapes.js';
import { guardStrikes } from './strike-guard.js';
import { WiegandReader } from './wiegand-reader.js';

const buttonDebounceMs = 20;

/**
 * Outputs stay ours, driven off, when a board is closed: let go, a line floats, and what that does to a relay is anyone's guess.
 * By their numbers in sysfs; at most the lines of one chip.
 */
const outputs = new Map<number, Gpio>();

/**
 * Opens the lines that the config's doors use. Throws `unknown-board`, `bad-pin-map`, `no-gpio-chip`, `no-gpio-tools`,
 * `unknown-line`, `gpio-failed`; then all outputs it had opened are off.
 */
export async function openRealBoard(config: GateConfig, events: BoardEvents, folder: string): Promise<Board> {
  const map = await findPinMap(config.board, folder);
  const chip = await sysfsChip(map.chip);
  const { Gpio } = await import('onoff');
  const number = (line: PinLine): number => {
    if (line.offset >= chip.lines)
      throw new TownError('unknown-line', `The chip ${map.chip} has no line ${line.offset}.`);
    return chip.base + line.offset;
  };
  const strikes = new Map<string, Gpio>();
  const buttons: Gpio[] = [];
  const readers: WiegandReader[] = [];
  const paths: string[] = [];
  let dismissGuard: () => void = () => undefined;
  const close = () => {
    for (const strike of strikes.values()) quietly(() => strike.writeSync(0));
    for (const button of buttons) quietly(() => button.unexport());
    for (const reader of readers) reader.close();
    buttons.length = 0;
    readers.length = 0;
    dismissGuard();
  };
  try {
    for (const door of config.doors) {
      const line = lineOf(map, door.strike, 'output');
      const gpio = openOutput(Gpio, number(line), line);
      strikes.set(door.strike, gpio);
      paths.push(`/sys/class/gpio/gpio${number(line)}/value`);
    }
    if (paths.length > 0)
      dismissGuard = guardStrikes(paths, (message) => events.problem('guard-failed', message));
    for (const door of config.doors) {
      if (door.exitButton === undefined) continue;
      const line = lineOf(map, door.exitButton, 'input');
      const button = new Gpio(number(line), 'in', 'rising', {
        debounceTimeout: buttonDebounceMs,
        activeLow: line.activeLow,
      });
      buttons.push(button);
      button.watch((error) => {
        if (error) events.problem('button-failed', `The exit button of ${door.id}: ${error.message}`);
        else events.exit(door.id);
      });
    }
    readers.push(...(await openReaders(config.doors, map, events)));
  } catch (error) {
    close();
    if (error instanceof TownError) throw error;
    throw new TownError(
      'gpio-failed',
      `A line of ${map.name} could not be opened: ${error instanceof Error ? error.message : String(error)}`,
      'Check that this user is in the group gpio and that nothing else uses the line.',
    );
  }
  for (const reader of readers) reader.start();
  return {
    name: map.name,
    simulated: false,
    setLine(name, on) {
      const gpio = strikes.get(name);
      if (gpio === undefined) throw new TownError('unknown-line', `The line ${name} is not open.`);
      gpio.writeSync(on ? 1 : 0);
    },
    close,
  };
}

function openOutput(Line: typeof Gpio, number: number, line: PinLine): Gpio {
  // `low` and `high` are levels, not meanings: sysfs does not turn them round for an active-low line.
  const gpio =
    outputs.get(number) ??
    new Line(number, line.activeLow ? 'high' : 'low', undefined, { activeLow: line.activeLow });
  outputs.set(number, gpio);
  gpio.writeSync(0);
  if (gpio.readSync() !== 0 || gpio.direction() !== 'out')
    throw new TownError('gpio-failed', `The line ${number} cannot be held off: something else drives it.`);
  return gpio;
}

async function openReaders(
  doors: readonly DoorWiring[],
  map: PinMap,
  events: BoardEvents,
): Promise<WiegandReader[]> {
  const wired = doors.flatMap((door) =>
    door.reader.kind === 'wiegand' ? [{ door, reader: door.reader }] : [],
  );
  if (wired.length === 0) return [];
  const [version, chip] = await Promise.all([libgpiodVersion(), libgpiodChip(map.chip)]);
  return wired.map(({ door, reader }) => {
    const d0 = lineOf(map, reader.d0, 'reader').offset;
    const d1 = lineOf(map, reader.d1, 'reader').offset;
    return new WiegandReader({
      args: gpiomonArguments(version, chip, [d0, d1]),
      d0,
      d1,
      read: (read) => events.read(door.id, read),
      problem: (message) => events.problem('reader-failed', `The reader of ${door.id}: ${message}`),
    });
  });
}

function lineOf(map: PinMap, name: string, use: PinLine['use']): PinLine {
  const line = map.lines.get(name);
  if (line === undefined || line.use !== use)
    throw new TownError(
      'unknown-line',
      `The pin map ${map.name} has no ${use} called "${name}".`,
      `It has ${[...map.lines]
        .filter(([, { use: its }]) => its === use)
        .map(([its]) => its)
        .join(', ')}.`,
    );
  return line;
}

function quietly(what: () => void): void {
  try {
    what();
  } catch {
    // The board is being closed: what cannot be done any more is left to the guard and the next start.
  }
}
