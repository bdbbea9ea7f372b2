/** For tests, a process of its own: puts the town of the folder it is given in its place, to be killed while it does. */
import { finishJoining } from '../joining-files.js';

process.stdout.write('begins\n');
await finishJoining(process.argv[2] as string);
process.stdout.write('done\n');
