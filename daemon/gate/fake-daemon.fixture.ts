/**
 * A daemon for the tests, as a process that can be killed: connects to the gate of argv[2] and appends the id of each record
 * that it has made durable to the file argv[3]. With argv[4] `deaf` it never acknowledges.
 */
import { appendFileSync } from 'node:fs';
import { GateLink } from './link.js';

const [, , folder, delivered, how] = process.argv;
const quiet = { info: () => undefined, warn: () => undefined };
const link = new GateLink(folder!, {
  spawn: false,
  logger: quiet,
  onRecord: async (record) => {
    if (how === 'deaf') await new Promise(() => undefined);
    appendFileSync(delivered!, record.id + '\n');
  },
  onHello: () => process.stdout.write('hello\n'),
});
link.start();
