/** `town init, start, status, verify`: the node itself and its data folder. */
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { fileURLToPath } from 'node:url';
import { Option, type Command } from 'commander';
import type { StatusView } from '../node/use-cases.js';
import { EXIT_REFUSED } from './cli-error.js';
import { Context } from './context.js';
import { nextMergeText, peersText, validatorsText } from './nodes-text.js';
import { unreadLineOfSaved } from './notice-commands.js';
import { credits, facts, plain, short, time } from './output.js';
import { progressBar } from './progress.js';

const built = (path: string): string => fileURLToPath(new URL(path, import.meta.url));
const packagesFolder = built('../../packages');

export function addNodeCommands(town: Command): void {
  town
    .command('init')
    .description('found a town in the data folder, without starting it')
    .option('--name <name>', "the town's name", 'Our makerspace')
    .option('--preset <name>', 'what the charter starts with', 'makerspace')
    .action(async (options: { name: string; preset: string }, command: Command) => {
      const context = new Context(command);
      const [{ initTown }, { systemClock }] = await Promise.all([
        import('../node/init-town.js'),
        import('../node/clock.js'),
      ]);
      const id = await initTown(context.folder, { ...options, packagesFolder, clock: systemClock });
      context.tell(
        { town: id, folder: context.folder },
        `Founded ${plain(options.name)} (${short(id)}) in ${context.folder}.\nNext step: town start --data ${context.folder}`,
      );
    });

  town
    .command('start')
    .description('run the node in the foreground; Ctrl-C stops it')
    .option('--port <n>', 'port of API and panel (default 4870)')
    .option('--mqtt-port <n>', 'port of the embedded MQTT broker (default 1883)')
    .option('--broker <url>', 'meet the other nodes at this MQTT broker instead of the embedded one')
    .option('--town-name <name>', 'name of the town, when it is founded now')
    .option('--preset <name>', 'preset of the town, when it is founded now')
    .addOption(new Option('--driver <kind>', 'where contracts run').choices(['auto', 'container', 'process']))
    .addOption(new Option('--gate <kind>', 'who starts the gate').choices(['spawn', 'external']))
    .action(async (options: Record<string, string>, command: Command) => {
      const context = new Context(command);
      const words = Object.entries(options).flatMap(([name, value]) => [
        `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`,
        value,
      ]);
      process.exitCode = await runDaemon([
        '--data',
        context.folder,
        ...words,
        ...(context.json ? ['--json'] : []),
      ]);
    });

  town
    .command('status')
    .description('how the town and this node are')
    .action(async (_options: object, command: Command) => {
      const context = new Context(command);
      const client = await context.client();
      const status = await client.get<StatusView>('/api/status');
      const unread = context.json ? '' : await unreadLineOfSaved(client, context.as);
      context.tell(status, statusText(status, client.url) + unread);
    });

  town
    .command('verify')
    .description('check the whole ledger in the data folder: signatures, hashes, certificates, replay, git')
    .addOption(new Option('--driver <kind>', 'where contracts run').choices(['container', 'process']))
    .option(
      '--repair',
      'with the daemon stopped: give back what is damaged from the other copies on this node',
    )
    .action(async (options: { driver?: 'container' | 'process'; repair?: true }, command: Command) => {
      const context = new Context(command);
      const progress = await progressBar();
      const how = { packagesFolder, driver: options.driver, onProgress: progress.show };
      const repaired = options.repair
        ? await (await import('../node/repair-town.js')).repairTown(context.folder, how).finally(progress.end)
        : null;
      const report =
        repaired?.report ??
        (await (
          await import('../node/verify-town.js')
        )
          .verifyTown(context.folder, how)
          .finally(progress.end));
      const { merges, blocks, entries, gitObjects, rows, values, files } = report.checked;
      const checked = `Checked ${merges} merges, ${blocks} blocks, ${entries} entries, ${gitObjects} git objects, ${values} values of the state, ${rows} rows, ${files} files.`;
      const problems = report.problems.map(
        (problem) => `${plain(problem.where)}: ${plain(problem.what)}\n  ${plain(problem.repair)}`,
      );
      const repairs = [
        ...(repaired?.done ?? []).map(plain),
        ...(repaired?.lost ?? []).map((what) => `Lost: ${plain(what)}`),
      ];
      context.tell(
        repaired === null ? report : { ...report, repaired: repaired.done, lost: repaired.lost },
        [
          ...repairs,
          checked,
          ...report.notes.map(plain),
          ...problems,
          report.ok ? 'All of it holds.' : 'Not all of it holds.',
        ].join('\n'),
      );
      if (!report.ok) process.exitCode = EXIT_REFUSED;
    });
}

/** The daemon with this terminal; resolves to its exit code when it ends. */
export function runDaemon(words: readonly string[]): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [built('../main.js'), ...words], { stdio: 'inherit' });
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
      process.on(signal, () => child.kill(signal));
    child.once('error', reject);
    child.once('close', (code, signal) =>
      resolve(code ?? (signal === null ? 1 : 128 + constants.signals[signal])),
    );
  });
}

function statusText(status: StatusView, url: string): string {
  const { gate, dapps, supply, validators, peers } = status;
  const doors = gate.connected
    ? `gate connected, ${gate.simulated ? 'simulated board' : (gate.board ?? 'board')}`
    : 'gate not connected';
  const where =
    dapps.driver === 'container'
      ? 'in containers'
      : dapps.driver === 'process'
        ? 'as child processes, not isolated'
        : 'starting';
  const list = dapps.list.map((dapp) => `${dapp.name} ${dapp.version}`).join(', ');
  return [
    facts([
      ['town', `${status.town.name} (${short(status.town.id)}, preset ${status.town.preset})`],
      ['node', `${status.node.name} (${status.node.id}), version ${status.version}`],
      ['panel', url],
      ['since', time(status.startedAt)],
      ['main', `height ${status.height}, ${short(status.main)}`],
      [
        'catching up',
        status.catchingUp
          ? `goes by the state at merge ${status.catchingUp.height}, which a quorum signed, and works through the history up to there; until then it does not vote`
          : null,
      ],
      ['pending', nextMergeText(status)],
      ['doors', doors],
      ['dapps', `${list} ${dapps.ready ? where : '(not ready yet)'}`],
      ['mqtt', status.broker.listening ? `port ${status.broker.port ?? '?'}` : 'not listening'],
      [
        'credits',
        `${credits(supply.total)} = vault ${credits(supply.vault)} + members ${credits(supply.members)} + locked ${credits(supply.locked)}`,
      ],
      ['nodes', peersText(peers, status.next.connected)],
      ['proof', validatorsText(validators)],
      ...dapps.list.flatMap(({ name, suspended }): [string, string][] =>
        suspended === null
          ? []
          : [
              [
                'suspended',
                `${name}: ${suspended} Its entries are refused until the charter says otherwise of it (another version, or disabled and enabled again)`,
              ],
            ],
      ),
      ['warning', dapps.warning],
      ['ALARM', status.alarm === null ? null : `${status.alarm.code}: ${status.alarm.message}`],
    ]),
    ...(status.needsSetup
      ? ['\nNext step: town setup LINK --name NAME (the link the daemon printed at its start)']
      : []),
  ].join('\n');
}
