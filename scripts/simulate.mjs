#!/usr/bin/env node
/** `npm run simulate`: installs and builds what changed, then plays whole towns in simulated time, each from a seed. */
import { runProgram } from './steps.mjs';

const help = `npm run simulate -- [options]     whole towns in simulated time: any faults, one history

Each seed is a town of three to five nodes, with the daemon's own consensus, sync, ledger and storage, in one thread and in
simulated time. In each of its phases things go wrong; then they stop, and the town must become one again. What must hold is
looked at all the while: one merge a height, never two certificates, no vote twice or against a lock, constant supply, nothing
acknowledged lost, no payment out of an allowance bounced, each view and each state what a replay gives, and at the end a
stranger who has nothing but genesis verifies every certificate and comes to the same state.

  --seeds A-B      which seeds, or one (default 1-100); a seed always gives the same run
  --nodes N        towns of N nodes, 3 to 9 (default: the seed says, three to five)
  --days D         D simulated days of quiet, spread over the phases (default 0)
  --phases P       phases in which things go wrong (default: the seed says, one or two)
  --faults LIST    only these may happen (default: all; a seed draws each by itself), or none:
                   loss, dup, reorder, delay       messages are lost (up to 30 %), doubled, overtake each other, are late
                   partition                       nodes cut off, in one direction or both; the broker goes away
                   crash, torn                     processes end at any point, all at once too; what was being written is
                                                   on the disk though nobody was told
                   wipe, old-backup                a card is lost: a new node in its place, empty or with an old backup
                   lost-quorum                     so many cards are lost at once that too few validators are left
                   skew                            clocks off by hours, by days, in 1970
                   slow-dapp, diverge              a contract is slow; at one node it gives other answers
                   equivocate                      a card is copied and both run: one key signs two histories
                   lying-broker                    replays, tampers, withholds, keeps junk
                   charter                         pace, bounds and validators change in the midst; nodes are expelled
  --acts K         people do at most K things
  --break RULE     switches a rule off, to see that it is found: vote-twice, skip-lock, drop-polka, trust-proposer,
                   vote-before-durable, acknowledge-before-durable, forget-last-write, forget-restrictions
  --jobs N         threads (default: one for each core)
  --trace          shows what happened in each town
  --json           ends with one line: {"seeds","violations","merges","entries","simulated_days","seconds"};
                   everything else goes to stderr
  --help           this text

A seed that fails is made shorter (fewer phases, faults, acts) and told with the command that plays it again.
Exit code: 0 everything held, 1 something did not, 2 wrong usage.
`;

await runProgram(help, ['daemon', 'simulation', 'run.js']);
