#!/usr/bin/env node
/** `npm run demo`: installs and builds what changed, then plays three boards, a cut and the merge after it. */
import { runProgram } from './steps.mjs';

const help = `npm run demo -- [options]     three boards, a cut, one history: in about a minute

Three nodes on this machine make one town: people, badges, taps at three doors, a gig. Then one is cut off, life goes on
on both sides, and they merge what they recorded. Everything is real but the boards' readers and strikes, which are simulated.

  --data DIR       leaves the data folders in DIR (node-1, node-2, node-3); it must not hold them yet
  --keep           leaves the panels up afterwards, to click through, until Ctrl-C
  --driver KIND    where contracts run: process (default) or container
  --json           tells the story on stderr and ends with one line of JSON on stdout:
                   {"nodes","entries","merged","rejected":{code:count},"converged","main":{node:commit},"data":{node:folder}}
  --help           this text

It needs no free port of its own and leaves nothing behind but what --data, --keep or --json ask for.
Exit code: 0 all boards ended with one history, 1 they did not, 2 wrong usage, 130 stopped by Ctrl-C.
`;

await runProgram(help, ['scripts', 'demo', 'run.js']);
