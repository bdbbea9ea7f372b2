/**
 * The border of the gate: turns what came over the socket or from a file into the shapes of `shapes.ts`,
 * or says what is wrong with it. Inside the gate the shapes are trusted.
 */
import { TownError } from '../ledger/ids.js';
import type {
  BadgeRight,
  DoorWiring,
  FromGate,
  GateConfig,
  GateRecord,
  RightsTable,
  ToGate,
} from './shapes.js';

/** Bytes of one line on the socket; a `rights` line may be longer. */
export const lineBytesMax = 64 * 1024;
export const rightsBytesMax = 8 * 1024 * 1024;
const doorsMax = 64;
const badgesMax = 100_000;
const pulseMsMax = 60_000;
const durableWaitMsMax = 5_000;
const lastTableMsMax = 90 * 24 * 3600 * 1000;

const doorId = /^[a-z0-9-]{1,32}$/;
const lineName = /^[a-z0-9-]{1,32}$/;
const hex64 = /^[0-9a-f]{64}$/;
const recordId = /^[0-9a-f]{16}-[0-9]{1,15}$/;
const code = /^[a-z-]{1,32}$/;

type Fields = Record<string, unknown>;

function bad(what: string): never {
  throw new TownError(
    'bad-message',
    `The gate got something it cannot use: ${what}.`,
    'Run the gate and the daemon in the same version.',
  );
}

function fields(value: unknown, what: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) bad(`${what} is not an object`);
  return value as Fields;
}

function text(value: unknown, what: string, max: number, pattern?: RegExp): string {
  if (typeof value !== 'string' || value.length > max)
    bad(`${what} is not a text of at most ${max} characters`);
  if (pattern !== undefined && !pattern.test(value)) bad(`${what} does not match ${pattern.source}`);
  return value;
}

function integer(value: unknown, what: string, max = Number.MAX_SAFE_INTEGER): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0 || value > max)
    bad(`${what} is not a whole number from 0 to ${max}`);
  return value;
}

function list(value: unknown, what: string, max: number): readonly unknown[] {
  if (!Array.isArray(value) || value.length > max) bad(`${what} is not a list of at most ${max}`);
  return value;
}

/** One JSON value from a line or file. Throws `bad-message`. */
export function parseJson(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return bad('it is not JSON');
  }
}

function parseWiring(value: unknown): DoorWiring {
  const door = fields(value, 'a door');
  const reader = fields(door['reader'], 'a reader');
  const kind = reader['kind'];
  if (kind !== 'simulated' && kind !== 'wiegand')
    bad('the kind of a reader is neither simulated nor wiegand');
  const wiring: DoorWiring = {
    id: text(door['id'], 'a door id', 32, doorId),
    name: text(door['name'], 'a door name', 200),
    strike: text(door['strike'], 'a strike line', 32, lineName),
    reader:
      kind === 'simulated'
        ? { kind }
        : {
            kind,
            d0: text(reader['d0'], 'a d0 line', 32, lineName),
            d1: text(reader['d1'], 'a d1 line', 32, lineName),
          },
    pulseMs: integer(door['pulseMs'], 'pulseMs', pulseMsMax),
  };
  const exit = door['exitButton'];
  return exit === undefined ? wiring : { ...wiring, exitButton: text(exit, 'an exit line', 32, lineName) };
}

/** Reads a gate config; no line may be used twice. Throws `bad-message`. */
export function parseConfig(value: unknown): GateConfig {
  const config = fields(value, 'the config');
  const doors = list(config['doors'], 'doors', doorsMax).map(parseWiring);
  const ids = new Set(doors.map((door) => door.id));
  if (ids.size !== doors.length) bad('two doors have one id');
  const lines = doors.flatMap((door) => [
    door.strike,
    ...(door.reader.kind === 'wiegand' ? [door.reader.d0, door.reader.d1] : []),
    ...(door.exitButton === undefined ? [] : [door.exitButton]),
  ]);
  if (new Set(lines).size !== lines.length) bad('one line of the board is used twice');
  return {
    board: text(config['board'], 'the board', 64, /^[a-z0-9-]{1,64}$/),
    doors,
    durableWaitMs: integer(config['durableWaitMs'], 'durableWaitMs', durableWaitMsMax),
    lastTableMs: integer(config['lastTableMs'], 'lastTableMs', lastTableMsMax),
  };
}

function parseRight(value: unknown): BadgeRight {
  const right = fields(value, 'a badge right');
  const status = right['status'];
  if (status !== 'active' && status !== 'revoked' && status !== 'suspended') bad('the status of a badge');
  const doors = right['doors'];
  return {
    person: text(right['person'], 'a person', 64),
    status,
    doors:
      doors === '*'
        ? '*'
        : list(doors, 'the doors of a badge', 1024).map((id) => text(id, 'a door id', 32, doorId)),
    ...(right['until'] === undefined ? {} : { until: integer(right['until'], 'until') }),
    ...(right['reason'] === undefined ? {} : { reason: text(right['reason'], 'a reason', 500) }),
  };
}

/** Reads a rights table. Throws `bad-message`. */
export function parseRights(value: unknown): RightsTable {
  const table = fields(value, 'the rights table');
  const doorFields = Object.entries(fields(table['doors'], 'the doors of the table'));
  const badgeFields = Object.entries(fields(table['badges'], 'the badges of the table'));
  if (doorFields.length > 4096) bad('more than 4,096 doors');
  if (badgeFields.length > badgesMax) bad(`more than ${badgesMax} badges`);
  return {
    version: integer(table['version'], 'the version of the table'),
    town: text(table['town'], 'the town', 128),
    issuedAt: integer(table['issuedAt'], 'issuedAt'),
    badgeKey: text(table['badgeKey'], 'the badge key', 64, hex64),
    doors: Object.fromEntries(
      doorFields.map(([id, door]) => {
        const mode = fields(door, 'a door')['mode'];
        if (mode !== 'normal' && mode !== 'lockdown') bad('the mode of a door');
        return [text(id, 'a door id', 32, doorId), { mode }];
      }),
    ),
    badges: Object.fromEntries(
      badgeFields.map(([hash, right]) => [text(hash, 'a badge hash', 64, hex64), parseRight(right)]),
    ),
  };
}

/** Reads a record, from the journal or the socket. Throws `bad-message`. */
export function parseRecord(value: unknown): GateRecord {
  const record = fields(value, 'a record');
  const kind = record['kind'];
  const outcome = record['outcome'];
  if (kind !== 'tap' && kind !== 'exit' && kind !== 'open' && kind !== 'late') bad('the kind of a record');
  if (outcome !== 'granted' && outcome !== 'refused') bad('the outcome of a record');
  const optional = (name: string, max: number, pattern?: RegExp) =>
    record[name] === undefined ? {} : { [name]: text(record[name], `${name} of a record`, max, pattern) };
  return {
    id: text(record['id'], 'the id of a record', 40, recordId),
    at: integer(record['at'], 'the time of a record'),
    door: text(record['door'], 'the door of a record', 32, doorId),
    kind,
    outcome,
    code: text(record['code'], 'the code of a record', 32, code) as GateRecord['code'],
    ...optional('reason', 1000),
    ...optional('badge', 64, hex64),
    ...optional('person', 64),
    ...optional('by', 200),
    table: integer(record['table'], 'the table of a record'),
    ...optional('of', 40, recordId),
    ...(record['waitedMs'] === undefined ? {} : { waitedMs: integer(record['waitedMs'], 'waitedMs') }),
  };
}

/** Reads one line from the daemon. Throws `bad-message`; what came with a valid `ref` can be answered by it. */
export function parseToGate(line: string): ToGate {
  const message = fields(parseJson(line), 'a message');
  const ref = () => integer(message['ref'], 'ref');
  switch (message['t']) {
    case 'hello':
      return { t: 'hello', daemon: text(message['daemon'], 'the name of the daemon', 200) };
    case 'config':
      return { t: 'config', ref: ref(), config: parseConfig(message['config']) };
    case 'rights':
      return { t: 'rights', ref: ref(), table: parseRights(message['table']) };
    case 'ack':
      return {
        t: 'ack',
        ids: list(message['ids'], 'ids', 1024).map((id) => text(id, 'an id', 40, recordId)),
      };
    case 'tap':
      return {
        t: 'tap',
        ref: ref(),
        door: text(message['door'], 'a door id', 32, doorId),
        badgeNumber: text(message['badgeNumber'], 'a badge number', 64, /^[\x21-\x7e]+$/),
      };
    case 'open':
      return {
        t: 'open',
        ref: ref(),
        door: text(message['door'], 'a door id', 32, doorId),
        by: text(message['by'], 'who asks', 200),
      };
    case 'stop':
      return { t: 'stop', ref: ref() };
    default:
      return bad('an unknown kind of message');
  }
}

/** The `ref` of a line that may be wrong otherwise; null where it has none. */
export function refOf(line: string): number | null {
  try {
    const { ref } = JSON.parse(line) as { ref?: unknown };
    return typeof ref === 'number' && Number.isSafeInteger(ref) && ref > 0 ? ref : null;
  } catch {
    return null;
  }
}

/** Reads one line from the gate. Throws `bad-message`. */
export function parseFromGate(line: string): FromGate {
  const message = fields(parseJson(line), 'a message');
  switch (message['t']) {
    case 'hello':
      return {
        t: 'hello',
        pid: integer(message['pid'], 'pid'),
        instance: text(message['instance'], 'the instance', 16, /^[0-9a-f]{16}$/),
        board: text(message['board'], 'the board', 64),
        simulated: message['simulated'] === true,
        doors: list(message['doors'], 'doors', doorsMax).map((id) => text(id, 'a door id', 32, doorId)),
        table: integer(message['table'], 'the table'),
        journalled: integer(message['journalled'], 'journalled'),
      };
    case 'record':
      return { t: 'record', record: parseRecord(message['record']) };
    case 'strike':
      return {
        t: 'strike',
        door: text(message['door'], 'a door id', 32, doorId),
        on: message['on'] === true,
        at: integer(message['at'], 'at'),
        ...(message['record'] === undefined
          ? {}
          : { record: text(message['record'], 'a record id', 40, recordId) }),
      };
    case 'done': {
      const ref = integer(message['ref'], 'ref');
      if (message['record'] === undefined) return { t: 'done', ref };
      return { t: 'done', ref, record: parseRecord(message['record']) };
    }
    case 'failed':
      return {
        t: 'failed',
        ref: integer(message['ref'], 'ref'),
        code: text(message['code'], 'a code', 64),
        message: text(message['message'], 'a message', 2000),
      };
    default:
      return bad('an unknown kind of message');
  }
}
