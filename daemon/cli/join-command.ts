/** `town join`, also called `town node join`: makes this board a node of a town that invited it, and runs it. */
import { hostname } from 'node:os';
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { InvalidArgumentError, Option, type Command } from 'commander';
import type { JoinProgress } from '../node/ask-to-join.js';
import { usageError } from './cli-error.js';
import { Context } from './context.js';
import { runDaemon } from './node-commands.js';
import { plain } from './output.js';

const packagesFolder = fileURLToPath(new URL('../../packages', import.meta.url));
const CODE_CHARS_MAX = 4096;

interface JoinWords {
  readonly name: string;
  readonly port?: number;
  readonly mqttPort?: number;
  readonly ca?: string;
  readonly driver?: 'auto' | 'container' | 'process';
  readonly gate?: 'spawn' | 'external';
  readonly start: boolean;
}

/** What the daemon is told by the same words. */
const FLAGS = { port: '--port', mqttPort: '--mqtt-port', driver: '--driver', gate: '--gate' } as const;

function portOf(text: string): number {
  if (!/^[0-9]{1,5}$/.test(text) || Number(text) > 65_535)
    throw new InvalidArgumentError('a port is a number from 0 to 65535.');
  return Number(text);
}

export function addJoinCommand(parent: Command): void {
  parent
    .command('join')
    .description('join a town with an invitation for a node, then run the node; Ctrl-C stops it')
    .argument('<code>', 'the code of `town node invite`, or its link; - reads it from standard input')
    .option('--name <name>', 'what this node shall be called', hostname().slice(0, 60) || 'board')
    .option('--port <n>', 'port of API and panel (default 4870), kept in the config', portOf)
    .option('--mqtt-port <n>', 'port of the embedded MQTT broker, where it runs one', portOf)
    .option('--ca <file>', 'authorities to trust (PEM) for a broker at mqtts://')
    .addOption(new Option('--driver <kind>', 'where contracts run').choices(['auto', 'container', 'process']))
    .addOption(new Option('--gate <kind>', 'who starts the gate').choices(['spawn', 'external']))
    .option('--no-start', 'join only; start it later with `town start`')
    .action(async (word: string, options: JoinWords, command: Command) => {
      const context = new Context(command);
      await join(context, word === '-' ? await standardInput() : word, options);
      if (options.start)
        process.exitCode = await runDaemon([
          '--data',
          context.folder,
          ...(['port', 'mqttPort', 'driver', 'gate'] as const).flatMap((option) =>
            options[option] === undefined ? [] : [FLAGS[option], String(options[option])],
          ),
          ...(context.json ? ['--json'] : []),
        ]);
    });
}

async function join(context: Context, code: string, options: JoinWords): Promise<void> {
  const [{ joinTown }, { readPackages }, { defaultConfig }, { systemClock }] = await Promise.all([
    import('../node/join-town.js'),
    import('../node/dapp-set.js'),
    import('../node/config.js'),
    import('../node/clock.js'),
  ]);
  const { name, port, mqttPort, driver, gate, ca } = options;
  const standard = defaultConfig(name);
  const tell = progressTeller(context);
  const joined = await joinTown(context.folder, {
    code,
    name,
    packages: await readPackages(packagesFolder),
    clock: systemClock,
    ca: ca === undefined ? undefined : resolve(ca),
    config: {
      ...standard,
      port: port ?? standard.port,
      mqttPort: mqttPort ?? standard.mqttPort,
      driver: driver ?? standard.driver,
      gate: { ...standard.gate, start: gate ?? standard.gate.start },
    },
    onProgress: tell,
  });
  const { node, id, name: townName } = joined;
  context.tell(
    { state: 'joined', node, town: townName, id, folder: context.folder },
    `Joined ${plain(townName)}.${options.start ? '' : `\nNext step: town start --data ${context.folder}`}`,
  );
}

/** Says what is new: a broker that stays away is told once, until one answers. */
function progressTeller(context: Context): (progress: JoinProgress) => void {
  const away = new Set<string>();
  let last = '';
  return (progress) => {
    const { broker, reached, node } = progress;
    if (reached === 'connected') away.clear();
    if (away.has(broker)) return;
    if (reached === 'away') away.add(broker);
    const words = progressText(progress);
    if (words === last) return;
    const about = last === '' ? `This node is ${node}: the steward compares that.\n` : '';
    last = words;
    context.tell(progress, `${about}${words}`);
  };
}

function progressText({ state, node, town, broker, reached }: JoinProgress): string {
  if (reached === 'away')
    return `No broker answers at ${broker}; it is tried again until one does. Ctrl-C stops that.`;
  if (state === 'waiting')
    return `Waiting for a steward of ${plain(town)}: they approve node ${node} in the panel or with \`town node approve\`.`;
  return reached === 'connected'
    ? `Asking ${plain(town)} to be let in …`
    : `Reaching the broker at ${broker} …`;
}

async function standardInput(): Promise<string> {
  let text = '';
  for await (const chunk of process.stdin) {
    text += String(chunk);
    if (text.length > CODE_CHARS_MAX) throw usageError('What came on standard input is no invitation.');
  }
  return text;
}
