/** Pin maps: which line of which GPIO chip a board's `strike1` is. Files in `firmware-configs/boards`, or in `<gate folder>/boards`. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { TownError } from '../ledger/ids.js';
import { readIfThere } from './durable-file.js';

export interface PinLine {
  /** On the chip. */
  readonly offset: number;
  readonly use: 'output' | 'input' | 'reader';
  /** The line is on (or pressed) when its level is low. */
  readonly activeLow: boolean;
}

export interface PinMap {
  readonly name: string;
  /** Matches the text of `/proc/device-tree/model`. */
  readonly model: RegExp;
  /** Label of the GPIO chip. */
  readonly chip: string;
  readonly lines: ReadonlyMap<string, PinLine>;
}

/** The project's own maps, from `dist/daemon/gate`. */
const ownFolder = fileURLToPath(new URL('../../../firmware-configs/boards/', import.meta.url));
const modelPath = '/proc/device-tree/model';
const names = /^[a-z0-9-]{1,64}$/;

/** Reads a pin map from its JSON. Throws `bad-pin-map`, saying what is wrong. */
export function parsePinMap(name: string, text: string): PinMap {
  const bad = (what: string): never => {
    throw new TownError(
      'bad-pin-map',
      `The pin map ${name}: ${what}.`,
      'See firmware-configs/README.md for what a pin map looks like.',
    );
  };
  let map: Record<string, unknown>;
  try {
    map = JSON.parse(text) as Record<string, unknown>;
  } catch {
    return bad('it is not JSON');
  }
  const { model, chip, lines } = map;
  const unknown = Object.keys(map).find((key) => !['title', 'model', 'chip', 'lines'].includes(key));
  if (unknown !== undefined) bad(`"${unknown}" is not known here`);
  if (typeof model !== 'string' || model.length > 200) return bad('model is not a pattern');
  if (typeof chip !== 'string' || !/^[\w.@:-]{1,64}$/.test(chip))
    return bad('chip is not the label of a chip');
  if (typeof lines !== 'object' || lines === null) return bad('lines is not an object');
  const known = new Map<string, PinLine>();
  const offsets = new Set<number>();
  for (const [line, value] of Object.entries(lines as Record<string, Record<string, unknown>>)) {
    const { offset, use, activeLow = false } = value ?? {};
    if (!/^[a-z0-9-]{1,32}$/.test(line)) bad(`the line name "${line}"`);
    if (typeof offset !== 'number' || !Number.isInteger(offset) || offset < 0 || offset > 1023)
      return bad(`the offset of ${line} is not a number from 0 to 1023`);
    if (use !== 'output' && use !== 'input' && use !== 'reader')
      return bad(`the use of ${line} is none of output, input, reader`);
    if (typeof activeLow !== 'boolean') return bad(`activeLow of ${line} is neither true nor false`);
    if (offsets.has(offset)) bad(`the offset ${offset} is used twice`);
    offsets.add(offset);
    known.set(line, { offset, use, activeLow });
  }
  if (known.size === 0 || known.size > 256) bad('it has no lines, or more than 256');
  try {
    return { name, model: new RegExp(model), chip, lines: known };
  } catch {
    return bad('model is not a pattern');
  }
}

/**
 * The pin map called `name`, or for `auto` the one that matches this board's device tree. A map in `<folder>/boards` goes before ours.
 * Throws `unknown-board` where there is none: then no line may be touched.
 */
export async function findPinMap(name: string, folder: string): Promise<PinMap> {
  const places = [join(folder, 'boards'), ownFolder];
  if (name === 'auto') return await matchModel(places);
  for (const place of names.test(name) ? places : []) {
    const text = await readIfThere(join(place, `${name}.json`));
    if (text !== null) return parsePinMap(name, text);
  }
  throw new TownError(
    'unknown-board',
    `There is no pin map for the board "${name}".`,
    `Use one of ${(await namesIn(places)).join(', ')}, auto, or simulated; or write a map (firmware-configs/README.md).`,
  );
}

async function matchModel(places: readonly string[]): Promise<PinMap> {
  const model = (await readFile(modelPath, 'utf8').catch(() => '')).replaceAll('\0', '').trim();
  for (const name of model === '' ? [] : await namesIn(places)) {
    const map = await findPinMapIn(name, places);
    if (map?.model.test(model) === true) return map;
  }
  throw new TownError(
    'unknown-board',
    model === ''
      ? 'This machine does not say what board it is.'
      : `No pin map matches this board: "${model}".`,
    'Name the pin map in the config if you are sure, or use the simulated board.',
  );
}

async function findPinMapIn(name: string, places: readonly string[]): Promise<PinMap | null> {
  for (const place of places) {
    const text = await readIfThere(join(place, `${name}.json`));
    if (text !== null) return parsePinMap(name, text);
  }
  return null;
}

async function namesIn(places: readonly string[]): Promise<string[]> {
  const found = await Promise.all(places.map((place) => readdir(place).catch(() => [])));
  const maps = found.flat().filter((file) => file.endsWith('.json'));
  return [...new Set(maps.map((file) => file.slice(0, -'.json'.length)))].sort();
}
