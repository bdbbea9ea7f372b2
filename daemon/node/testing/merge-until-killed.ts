/**
 * A child process for the crash tests: a node's whole heart, the only validator of its town. Members and doors record as fast as it
 * can, it cuts blocks, votes, merges, fills the repository, combines packs and archives; it says what was acknowledged, only after it was.
 * Begins when its input says so. Arguments: data folder.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { tell, tellFatal, told } from '../../store/testing/acknowledged.js';
import { keepTidy } from '../../store/testing/keep-tidy.js';
import { claimOf, genesisOf, openHeart } from './core-town.js';

const claimersMax = 4;
const doorsMax = 4;
const notesMax = 700; // beyond 512, so that the state's folders split
const pendingMax = 120;

const folder = process.argv[2]!;
await told();
const genesis = genesisOf(['alpha'], (charter) => ({
  ...charter,
  pace: { interactiveMs: 1, factsMs: 1 },
}));
const heart = await openHeart(
  { folder, name: 'alpha', genesis },
  {
    heldByQuorum: () => undefined,
    broadcast: () => undefined,
    blockMade: ({ id }) => {
      tell(`block ${id}`);
      heart.repository.scheduleFlush();
    },
    adopted: ({ id }) => {
      tell(`merge ${id}`);
      heart.repository.scheduleFlush();
    },
  },
);
const { core, store, repository } = heart;
await core.view.rebuild(() => Promise.resolve());
core.merger.start();
tell('open');
if (store.lastN(heart.keys.id, 'main') < 1)
  tell(`entry ${(await claimOf(heart, 'ada', 'member.found', {}, ['alpha'])).id}`);

const words = (): string => 'word '.repeat(Math.random() * 30);
const note = (): string => `note-${Math.floor(Math.random() * notesMax)}`;
const enough = async (): Promise<void> => {
  while (store.pendingCount() > pendingMax) await sleep(5);
};

async function claim(): Promise<never> {
  for (;;) {
    await enough();
    tell(`entry ${(await claimOf(heart, 'ada', 'notes.put', { key: note(), value: words() })).id}`);
  }
}

async function seen(): Promise<never> {
  for (;;) {
    await enough();
    const entry = await core.appender.fact('notes.seen', { key: note() });
    if (entry !== null) tell(`entry ${entry.id}`);
  }
}

async function flush(): Promise<never> {
  for (;;) {
    await sleep(30);
    const block = store.lastBlock(heart.keys.id, 'main');
    await repository.flush();
    if (block !== null) tell(`flushed ${block.oid}`);
    if (heart.alarms.length > 0) throw new Error(heart.alarms.join('; '));
  }
}

await Promise.all([
  ...Array.from({ length: claimersMax }, claim),
  ...Array.from({ length: doorsMax }, seen),
  flush(),
  keepTidy(store, repository),
]).catch(tellFatal);
