/** The node's config file, `<data>/config.json`: what a person may set on this board. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Type, type Static } from 'typebox';
import { Value } from 'typebox/value';
import { TownError } from '../ledger/ids.js';
import { writeFileDurably } from '../store/durable-file.js';

const closed = { additionalProperties: false } as const;
const Line = Type.String({ pattern: '^[a-z0-9-]{1,32}$' });
const Port = Type.Integer({ minimum: 0, maximum: 65_535 });

const DoorSchema = Type.Object(
  {
    id: Type.String({ pattern: '^[a-z0-9-]{1,32}$' }),
    name: Type.String({ minLength: 1, maxLength: 60 }),
    strike: Line,
    reader: Type.Union([
      Type.Object({ kind: Type.Literal('simulated') }, closed),
      Type.Object({ kind: Type.Literal('wiegand'), d0: Line, d1: Line }, closed),
    ]),
    exitButton: Type.Optional(Line),
    pulseMs: Type.Integer({ minimum: 100, maximum: 60_000 }),
  },
  closed,
);

const BrokerSchema = Type.Object(
  {
    /** `mqtt://host:port` or `mqtts://host:port`, without name and password: it is shown to every member. */
    url: Type.String({ pattern: '^mqtts?://[\\x21-\\x3f\\x41-\\x7e]+$', maxLength: 200 }),
    username: Type.Optional(Type.String({ minLength: 1, maxLength: 200 })),
    password: Type.Optional(Type.String({ maxLength: 200 })),
    /** A file with the authorities to trust (PEM), where not the system's. */
    ca: Type.Optional(Type.String({ minLength: 1, maxLength: 4096 })),
    /** SHA-256 of the certificate that the broker, or its authority, is known by: 64 hex digits. Only with `mqtts://`. */
    pin: Type.Optional(Type.String({ pattern: '^[0-9a-f]{64}$' })),
    /** The node that keeps the broker: name and password there follow from the keys of both, see broker-login.ts. */
    keeper: Type.Optional(Type.String({ pattern: '^[0-9a-f]{16}$' })),
    /** With `keeper`: what nodes that are invited say to it until they are let in. */
    guest: Type.Optional(Type.String({ minLength: 1, maxLength: 64 })),
  },
  closed,
);

/** What nodes that are invited call themselves at a broker of the town. */
export const GUEST = 'joining';

const ConfigSchema = Type.Object(
  {
    version: Type.Literal(1),
    nodeName: Type.String({ minLength: 1, maxLength: 60 }),
    /** Ports of the API and of the embedded MQTT broker; 0: any free one. */
    port: Port,
    mqttPort: Port,
    /** The broker where the town's nodes meet. Without it this node runs the embedded one and is at that. */
    broker: Type.Optional(BrokerSchema),
    /** What this board gives to the others: bytes a second of the line; without it, all that it carries. */
    sync: Type.Optional(
      Type.Object({ bytesPerSecond: Type.Integer({ minimum: 16_384, maximum: 1_000_000_000 }) }, closed),
    ),
    /** Further ones: it is at all of them at once, and does without those that are away. */
    otherBrokers: Type.Optional(Type.Array(BrokerSchema, { maxItems: 3 })),
    /** Where contracts run: `auto` takes containers when an engine answers. */
    driver: Type.Union([Type.Literal('auto'), Type.Literal('container'), Type.Literal('process')]),
    gate: Type.Object(
      {
        /** `spawn`: the daemon starts the gate; `external`: systemd does. */
        start: Type.Union([Type.Literal('spawn'), Type.Literal('external')]),
        board: Type.String({ pattern: '^[a-z0-9-]{1,64}$' }),
        durableWaitMs: Type.Integer({ minimum: 0, maximum: 5000 }),
        lastTableMs: Type.Integer({ minimum: 0, maximum: 31 * 86_400_000 }),
        doors: Type.Array(DoorSchema, { maxItems: 32 }),
      },
      closed,
    ),
  },
  closed,
);

export type NodeConfig = Static<typeof ConfigSchema>;
export type BrokerConfig = Static<typeof BrokerSchema>;

export const DEFAULT_PORT = 4870;
export const DEFAULT_MQTT_PORT = 1883;

/**
 * The broker at an address, name and password taken out of it.
 * @throws TownError `bad-broker-url`
 */
export function brokerAt(address: string): BrokerConfig {
  const bad = (): TownError =>
    new TownError(
      'bad-broker-url',
      `Expected the address of a broker such as mqtt://board.local:1883, found ${address.slice(0, 200)}.`,
      'Brokers are reached by mqtt:// or mqtts://.',
    );
  if (!/^mqtts?:\/\/[\x21-\x7e]+$/.test(address) || address.length > 200 || !URL.canParse(address))
    throw bad();
  const url = new URL(address);
  if (url.hostname === '') throw bad();
  let username: string;
  let password: string;
  try {
    [username, password] = [decodeURIComponent(url.username), decodeURIComponent(url.password)];
  } catch {
    throw bad();
  }
  const marks = new URLSearchParams(url.hash.slice(1));
  const [pin, keeper] = [marks.get('sha256'), marks.get('of')];
  const print = pin === null ? null : Buffer.from(pin, 'base64url');
  if (print !== null && (url.protocol !== 'mqtts:' || print.length !== 32)) throw bad();
  if (keeper !== null && (!/^[0-9a-f]{16}$/.test(keeper) || username !== GUEST)) throw bad();
  const base = {
    url: `${url.protocol}//${url.host}`,
    ...(print === null ? {} : { pin: print.toString('hex') }),
  };
  if (keeper !== null) return { ...base, keeper, ...(password ? { guest: password } : {}) };
  return { ...base, ...(username ? { username } : {}), ...(password ? { password } : {}) };
}

/**
 * The broker that is named at a start instead of the config's. For the same address, name, password and authorities of the config
 * go on to count where the start names no other name; to another one no password goes, but the authorities are trusted there too.
 * @throws TownError `bad-broker-url`
 */
export function otherBroker(before: BrokerConfig | undefined, address: string): BrokerConfig {
  const named = brokerAt(address);
  if (before === undefined) return named;
  const isBare = named.username === undefined && named.keeper === undefined && named.pin === undefined;
  if (isBare && isSamePlace(before.url, named.url)) return before;
  return before.ca === undefined ? named : { ca: before.ca, ...named };
}

/** Whether two addresses are of one broker. */
export function isSamePlace(one: string, other: string): boolean {
  const [a, b] = [one, other].map((url) => {
    const { protocol, hostname, port } = new URL(url);
    return `${protocol}//${hostname}:${port || (protocol === 'mqtts:' ? '8883' : '1883')}`;
  });
  return a === b;
}

/** The other way round: the address with name and password in it, and what the broker is known by. */
export function addressOf(broker: BrokerConfig): string {
  const { url, pin, keeper, guest } = broker;
  const [username = '', password = ''] = keeper ? [GUEST, guest] : [broker.username, broker.password];
  const address = new URL(url);
  // A colon in a name would end it; everything is written so that `brokerAt` reads it again.
  address.username = encodeURIComponent(username);
  address.password = encodeURIComponent(password);
  const marks = [
    ...(pin ? [`sha256=${Buffer.from(pin, 'hex').toString('base64url')}`] : []),
    ...(keeper ? [`of=${keeper}`] : []),
  ];
  address.hash = marks.join('&');
  return address.href;
}

/** The brokers that a node dials: those of the config; without any it is at its own alone. */
export const brokersOf = ({
  broker,
  otherBrokers = [],
}: Pick<NodeConfig, 'broker' | 'otherBrokers'>): readonly BrokerConfig[] => [
  ...(broker ? [broker] : []),
  ...otherBrokers,
];

/** What a new board starts with: one simulated door, everything on loopback. */
export const defaultConfig = (nodeName: string): NodeConfig => ({
  version: 1,
  nodeName,
  port: DEFAULT_PORT,
  mqttPort: DEFAULT_MQTT_PORT,
  driver: 'auto',
  gate: {
    start: 'spawn',
    board: 'simulated',
    durableWaitMs: 150,
    lastTableMs: 72 * 3_600_000,
    doors: [
      { id: 'front', name: 'Front door', strike: 'strike1', reader: { kind: 'simulated' }, pulseMs: 3000 },
    ],
  },
});

const configPath = (folder: string): string => join(folder, 'config.json');

/**
 * Reads and checks the config.
 * @throws TownError `no-town` (no config here), `bad-config` that names the place
 */
export async function readConfig(folder: string): Promise<NodeConfig> {
  const path = configPath(folder);
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT')
      throw new TownError(
        'no-town',
        `There is no town in ${folder}.`,
        `Found one with: town init --data ${folder}`,
      );
    throw error;
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new TownError(
      'bad-config',
      `${path} is not valid JSON: ${(error as Error).message}.`,
      'Mend the file, or put back a copy that was good.',
    );
  }
  if (!Value.Check(ConfigSchema, value)) {
    const [first] = Value.Errors(ConfigSchema, value);
    throw new TownError(
      'bad-config',
      `${path} does not hold at ${first?.instancePath || 'its root'}: ${first?.message}.`,
      'Mend that place; README.md lists what may stand there.',
    );
  }
  const doors = value.gate.doors.map(({ id }) => id);
  if (new Set(doors).size !== doors.length)
    throw new TownError('bad-config', `${path} names a door twice.`, 'Give each door an id of its own.');
  return value;
}

export const writeConfig = (folder: string, config: NodeConfig): Promise<void> =>
  writeFileDurably(configPath(folder), Buffer.from(`${JSON.stringify(config, null, 2)}\n`), 0o600);
