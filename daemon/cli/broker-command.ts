/** `town node broker-config`: the files of a Mosquitto broker for the town, made from this node's data folder. */
import { hostname } from 'node:os';
import { join } from 'node:path';
import { InvalidArgumentError, type Command } from 'commander';
import { Context } from './context.js';

interface BrokerWords {
  readonly out?: string;
  readonly host?: readonly string[];
  readonly port?: number;
  readonly use?: true;
}

function portOf(text: string): number {
  const port = Number(text);
  if (!/^[0-9]{1,5}$/.test(text) || port < 1 || port > 65_535)
    throw new InvalidArgumentError('a port is a number from 1 to 65535.');
  return port;
}

export function addBrokerCommand(node: Command): void {
  node
    .command('broker-config')
    .description(
      'write the files of a Mosquitto broker for the town: TLS, a user for each node, what each may do',
    )
    .option('--out <dir>', 'where they go (default: broker/ in the data folder)')
    .option(
      '--host <host...>',
      'names and addresses by which the nodes reach it, the best first (default: this machine)',
    )
    .option('--port <n>', 'its port (default 8883)', portOf)
    .option('--use', 'let this node meet the others there from its next start on')
    .action(async (options: BrokerWords, command: Command) => {
      const context = new Context(command);
      const { writeBrokerFiles, fingerprintText } = await import('../node/broker-config.js');
      const made = await writeBrokerFiles(context.folder, {
        out: options.out ?? join(context.folder, 'broker'),
        hosts: options.host ?? [hostname()],
        ...(options.port === undefined ? {} : { port: options.port }),
        use: options.use === true,
        now: Date.now(),
      });
      const { folder, address, pin, nodes, without } = made;
      context.tell(
        made,
        [
          `Wrote mosquitto.conf, acl, passwords and certificates to ${folder}, for ${nodes.length} ${nodes.length === 1 ? 'node' : 'nodes'}.`,
          ...(without.length === 0
            ? []
            : [`Without a key to share, and so without a user: ${without.join(', ')}.`]),
          `Fingerprint of its authority (SHA-256): ${fingerprintText(pin)}`,
          `Start it: mosquitto -c ${join(folder, 'mosquitto.conf')}`,
          `Each node: town start --broker '${address}'`,
          'Keep that address to yourselves: with it anybody may ask to join. Invitations carry it by themselves.',
          'When a node came or went, this board writes the users anew; the broker has to read them then (kill -HUP).',
        ].join('\n'),
      );
    });
}
