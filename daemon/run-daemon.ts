/**
 * Reads the config and puts one daemon together: store, node, gate, broker, API, dapps. Imported by main.ts alone.
 */
import { rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { readFile } from 'node:fs/promises';
import { Command, InvalidArgumentError, Option } from 'commander';
import { pino, type Logger } from 'pino';
import { buildApi } from './api/server.js';
import { chooseDriver } from './dapps/choose-driver.js';
import type { ContractDriver } from './dapps/driver.js';
import { TownError, type Sha256 } from './ledger/ids.js';
import { loginAt } from './node/broker-login.js';
import { systemClock } from './node/clock.js';
import {
  brokerAt,
  isSamePlace,
  otherBroker,
  readConfig,
  type BrokerConfig,
  type NodeConfig,
} from './node/config.js';
import { readPackages } from './node/dapp-set.js';
import { hasTown, initTown } from './node/init-town.js';
import { Joining } from './node/joining-case.js';
import { finishJoining, isJoining } from './node/joining-files.js';
import { KeyStore, readNodeKeys, type NodeKeys } from './node/key-files.js';
import { readRestored } from './node/restored.js';
import { notifyReady, notifyStopping, startWatchdog } from './node/sd-notify.js';
import { TownKeys } from './node/town-keys.js';
import { RunningNode } from './node/town-node.js';
import { writeFileDurably } from './store/durable-file.js';
import { lockFolder } from './store/folder-lock.js';
import { Store } from './store/store.js';
import { startBroker, type Broker } from './sync/broker.js';
import { MqttTransport } from './sync/mqtt-transport.js';
import { SeveralBrokers, type TransportOptions } from './sync/several-brokers.js';
import type { Transport } from './sync/transport.js';

const HOST = '127.0.0.1';
const STOP_MS_MAX = 15_000;
const DAPPS_AGAIN_MS_MIN = 5_000;
const DAPPS_AGAIN_MS_MAX = 300_000;

const built = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const packagesFolder = built('../packages');
const panelFolder = built('../panel');

interface Options {
  readonly data: string;
  readonly port?: number;
  readonly mqttPort?: number;
  readonly broker?: string;
  readonly townName: string;
  readonly preset: string;
  readonly driver?: 'auto' | 'container' | 'process';
  readonly gate?: 'spawn' | 'external';
  readonly json: boolean;
}

function portOf(text: string): number {
  const port = Number(text);
  if (!/^[0-9]{1,5}$/.test(text) || port > 65_535)
    throw new InvalidArgumentError('a port is a number from 0 to 65535.');
  return port;
}

function parseOptions(): Options {
  return new Command('mergetown')
    .description('Runs one node of a town: ledger, doors, dapps, API and panel.')
    .option('--data <dir>', 'data folder', '.data')
    .option('--port <n>', 'port of API and panel (0: any free one)', portOf)
    .option('--mqtt-port <n>', 'port of the embedded MQTT broker (0: any free one)', portOf)
    .option('--broker <url>', 'meet the other nodes at this MQTT broker instead of an embedded one')
    .option('--town-name <name>', 'name of the town, when it is founded now', 'Our makerspace')
    .option('--preset <name>', 'preset of the town, when it is founded now', 'makerspace')
    .addOption(new Option('--driver <kind>', 'how contracts run').choices(['auto', 'container', 'process']))
    .addOption(new Option('--gate <start>', 'who starts the gate').choices(['spawn', 'external']))
    .option('--json', 'log lines of JSON instead of words', false)
    .parse()
    .opts<Options>();
}

/** Words for a person on the terminal, or lines of JSON for a program. */
function makeLogger(json: boolean): Logger {
  if (json) return pino({ level: 'info' });
  return pino(
    { level: 'warn' },
    {
      write(line: string): void {
        const { msg } = JSON.parse(line) as { msg: string };
        process.stderr.write(`warning: ${msg}\n`);
      },
    },
  );
}

function withOptions(config: NodeConfig, options: Options): NodeConfig {
  return {
    ...config,
    port: options.port ?? config.port,
    mqttPort: options.mqttPort ?? config.mqttPort,
    driver: options.driver ?? config.driver,
    gate: { ...config.gate, start: options.gate ?? config.gate.start },
    ...(options.broker === undefined ? {} : { broker: otherBroker(config.broker, options.broker) }),
  };
}

async function version(): Promise<string> {
  const text = await readFile(built('../../package.json'), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}

/** What was started, in order; stopped the other way round. */
class Started {
  private readonly stops: (() => Promise<unknown>)[] = [];

  add(stop: () => Promise<unknown>): void {
    this.stops.unshift(stop);
  }

  async stop(): Promise<void> {
    for (const stop of this.stops.splice(0)) await stop().catch(() => undefined);
  }
}

/**
 * Starts the dapps, again and again until they run: an engine may come up later than the daemon, and the doors do not
 * wait for it. Resolves to how they run.
 */
async function startDapps(
  node: RunningNode,
  config: NodeConfig,
  logger: Logger,
  ending: AbortSignal,
): Promise<'container' | 'process'> {
  for (let waitMs = DAPPS_AGAIN_MS_MIN; ; waitMs = Math.min(waitMs * 2, DAPPS_AGAIN_MS_MAX)) {
    let driver: ContractDriver | null = null;
    try {
      const chosen = await chooseDriver({
        town: node.town,
        node: node.id,
        log: ({ level, dapp, text }) => logger[level]({ dapp }, text),
        prefer: config.driver === 'auto' ? undefined : config.driver,
      });
      driver = chosen.driver;
      ending.throwIfAborted();
      if (chosen.warning !== null) process.stderr.write(`warning: ${chosen.warning}\n`);
      await node.startDapps(driver, chosen.warning);
      return driver.kind;
    } catch (error) {
      if (!ending.aborted) node.reportTrouble(error);
      // Also where the run is over: the next one, in the same process, starts its own.
      await driver?.stop().catch(() => undefined);
      if (ending.aborted) throw error;
      logger.warn(`Doors and panel go on; the dapps are tried again in ${waitMs / 1000} s.`);
      await sleep(waitMs, undefined, { signal: ending });
    }
  }
}

/**
 * Brings the folder to where a town is in it: one that was joined is put in its place, else one is founded.
 * @returns whether one was put in its place
 */
async function prepareTown(folder: string, options: Options, say: (text: string) => void): Promise<boolean> {
  if (await isJoining(folder)) {
    const release = await lockFolder(folder);
    await finishJoining(folder).finally(release);
    return true;
  }
  if (await hasTown(folder)) return false;
  say(`Founding the town "${options.townName}" in ${folder} …`);
  await initTown(folder, {
    name: options.townName,
    preset: options.preset,
    packagesFolder,
    clock: systemClock,
  });
  return false;
}

/**
 * The config as the options change it. A board that has just joined is at the broker of that town: the one that it was started
 * with was for the town that it had.
 */
async function settings(folder: string, options: Options, hasJoined: boolean): Promise<NodeConfig> {
  const config = await readConfig(folder);
  const { broker, ...others } = options;
  if (!hasJoined || broker === undefined || config.broker === undefined) return withOptions(config, options);
  const town = config.broker.url;
  if (!isSamePlace(brokerAt(broker).url, town))
    process.stderr.write(
      `note: this node meets its new town at ${town}; --broker is not used. Start it without that from now on.\n`,
    );
  return withOptions(config, others);
}

/**
 * Starts everything; resolves when the node meets its peers too.
 * @param ending aborted when this run is over
 * @param again starts anew on the port given, with what lies in the folder then
 */
async function run(
  options: Options,
  started: Started,
  ending: AbortSignal,
  again: (port: number) => void,
): Promise<void> {
  const folder = resolve(options.data);
  const logger = makeLogger(options.json);
  const say = (text: string): void =>
    void (options.json ? logger.info(text) : process.stdout.write(`${text}\n`));
  const hasJoined = await prepareTown(folder, options, say);
  const config = await settings(folder, options, hasJoined);
  const keys = await readNodeKeys(folder);
  const restored = await readRestored(folder);
  const store = await Store.open(folder, {
    onFatal(error) {
      process.stderr.write(
        `error: the disk or the database failed: ${error.message}\nThe daemon stops; the gate goes on.\n`,
      );
      process.exit(1);
    },
  });
  started.add(() => store.close());

  let url = '';
  let port = config.port;
  let broker: Broker | null = null;
  const packages = await readPackages(packagesFolder);
  const keyStore = await KeyStore.open(folder);
  for (const name of keyStore.flipped)
    process.stderr.write(
      `warning: a bit of keys/members/${name} has flipped: who signs in with that key cannot. Stop, and run \`town verify --repair\`.\n`,
    );
  const node = new RunningNode({
    folder,
    store,
    keys,
    keyStore,
    townKeys: await TownKeys.open(folder, keys.townKey),
    config,
    clock: systemClock,
    version: await version(),
    packages,
    logger,
    url: () => url,
    brokerPort: () => broker?.port ?? null,
    restored,
  });
  const joining = new Joining({
    folder,
    store,
    keys,
    packages,
    clock: systemClock,
    status: () => node.onMain.status(),
    setupLock: node.setupLock,
    onJoined: () => again(port),
  });
  const api = await buildApi({ node: node.onMain, joining, offers: node.offers, logger, panelFolder });
  try {
    await api.listen({ host: HOST, port: config.port });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    throw new TownError(
      'port-in-use',
      `The port ${config.port} is in use by another program.`,
      'Choose another with --port (0: any free one).',
    );
  }
  started.add(() => api.close());
  const bound = api.server.address();
  port = typeof bound === 'object' && bound ? bound.port : config.port;
  url = `http://${HOST}:${port}`;
  if (config.broker === undefined) {
    const embedded = (broker = await startBroker(config.mqttPort, HOST));
    started.add(() => embedded.close());
  }
  const meeting: BrokerConfig = config.broker ?? { url: `mqtt://${HOST}:${broker?.port ?? 0}` };

  // Both ports are ours: from here on this daemon stays. Doors first, everything else may take its time.
  node.startDoors();
  started.add(() => node.stop(config.gate.start === 'spawn'));

  const runtime = join(folder, 'daemon.json');
  const about = { pid: process.pid, url, mqttPort: broker?.port ?? null, startedAt: Date.now() };
  await writeFileDurably(runtime, Buffer.from(`${JSON.stringify(about)}\n`), 0o600);
  started.add(() => rm(runtime, { force: true }));

  const { town, needsSetup } = node.onMain.status();
  say(`\n${town.name} is open: ${url}`);
  say(`Data: ${folder}   MQTT: ${broker ? `${HOST}:${broker.port}` : meeting.url}   API: ${url}/docs`);
  if (needsSetup) {
    say(
      `\nNext step, once: open this link and choose the steward's passphrase.\n  ${url}/setup#${await node.setupToken()}\n`,
    );
  } else if (keyStore.isEmpty)
    say('Next step: open the panel and ask for a key of yours on this node; nobody has one here yet.');
  else say('Next step: sign in at the panel, or with `town login NAME`.');
  await joining.resume();
  started.add(() => joining.stop());
  const unsubscribe = node.onMain.subscribe((event) => {
    if (event.kind === 'status' && !event.status.needsSetup) joining.giveUp();
  });
  started.add(async () => unsubscribe());

  // Doors, API and panel serve: that is what systemd waits for. The dapps follow.
  await notifyReady(`${town.name} at ${url}`);
  const stopWatchdog = startWatchdog(() => true);
  started.add(async () => stopWatchdog());

  started.add(async () => node.expectStop());
  await node.openRepository();
  const driver = await startDapps(node, config, logger, ending);
  say(
    `The dapps are ready (${driver === 'container' ? 'in containers' : 'as child processes, not isolated'}).`,
  );

  const all: readonly BrokerConfig[] = [meeting, ...(config.otherBrokers ?? [])];
  const ways = (await Promise.all(all.map((each) => wayTo(each, node, keys, logger)))).flatMap(
    (way) => way ?? [],
  );
  // Its doors, panel and ledger are worth having without the others.
  if (ways.length === 0) return;
  await node.startPeering((peering) => {
    const [only] = ways;
    return ways.length === 1 && only ? only(peering) : new SeveralBrokers(ways, peering);
  });
}

/** How a broker is dialled; null where what is needed for that is not there. */
async function wayTo(
  broker: BrokerConfig,
  node: RunningNode,
  keys: NodeKeys,
  logger: Logger,
): Promise<((options: TransportOptions) => Transport) | null> {
  const { url, ca, pin } = broker;
  const authorities = ca === undefined ? '' : await readFile(ca, 'utf8').catch(() => null);
  if (authorities === null) {
    logger.warn(`${ca} cannot be read: without the authorities in it this node is not at ${url}.`);
    return null;
  }
  const trust = { ...(authorities === '' ? {} : { ca: authorities }), ...(pin === undefined ? {} : { pin }) };
  const login = loginAt(broker, keys, node.town as Sha256, node.nodes);
  return (options) => new MqttTransport({ ...options, url, ...login, ...trust });
}

function tell(error: unknown): void {
  if (error instanceof TownError) {
    process.stderr.write(`error: ${error.message}\n`);
    if (error.advice !== undefined) process.stderr.write(`  ${error.advice}\n`);
  } else
    process.stderr.write(
      `error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
    );
}

/** One run of the daemon, from its start to its end or to the start of the next. */
interface Run {
  readonly started: Started;
  readonly ending: AbortController;
  readonly done: Promise<void>;
}

let current: Run;
let stopping = false;

function begin(options: Options): Run {
  const started = new Started();
  const ending = new AbortController();
  const again = (port: number): void => void startAgain({ ...options, port });
  const done = run(options, started, ending.signal, again).catch((error: unknown) => {
    if (ending.signal.aborted) return;
    tell(error);
    void stop(1);
  });
  return { started, ending, done };
}

/** Ends this run and begins another one, in the same process and on the same port. */
async function startAgain(options: Options): Promise<void> {
  const { started, ending, done } = current;
  if (stopping || ending.signal.aborted) return;
  ending.abort();
  await started.stop();
  await done;
  if (!stopping) current = begin(options);
}

async function stop(code: number): Promise<void> {
  if (stopping) return;
  stopping = true;
  setTimeout(() => process.exit(code || 1), STOP_MS_MAX).unref();
  await notifyStopping();
  current.ending.abort();
  await current.started.stop();
  process.exit(code);
}

process.on('SIGINT', () => void stop(0));
process.on('SIGTERM', () => void stop(0));
current = begin(parseOptions());
