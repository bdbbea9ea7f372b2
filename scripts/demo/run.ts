/** Runs the demo: reads the options, plays the story, shows what is left of it, and cleans up after itself. */
import { access, mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { PASSPHRASE } from '../../daemon/testing/running-town.js';
import { STEWARD_NAME, type TownOfNodes } from '../../daemon/testing/town-of-nodes.js';
import { readFigures, type BoardFigures, type Figures } from './figures.js';
import { Narrator } from './narrator.js';
import { playStory, type Story, type StoryOptions } from './story.js';

const EXIT_NOT_CONVERGED = 1;
const EXIT_USAGE = 2;
const EXIT_STOPPED = 130;
/** How long the story may take to notice that it was stopped. */
const END_MS_MAX = 1_000;
const NODES = ['node-1', 'node-2', 'node-3'];
/** Lines of the git graph that are shown: the newest. */
const GRAPH_LINES_MAX = 60;

class UsageError extends Error {}

interface Options {
  readonly data: string | null;
  readonly keep: boolean;
  readonly json: boolean;
  readonly driver: 'container' | 'process';
}

function readOptions(words: readonly string[]): Options {
  let values;
  try {
    ({ values } = parseArgs({
      args: [...words],
      options: {
        data: { type: 'string' },
        keep: { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
        driver: { type: 'string', default: 'process' },
      },
    }));
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
  const { data, keep, json, driver } = values;
  if (driver !== 'container' && driver !== 'process')
    throw new UsageError(`--driver is container or process, not "${driver}".`);
  if (data === '') throw new UsageError('--data needs the name of a folder.');
  return { data: data === undefined ? null : resolve(data), keep, json, driver };
}

/** The folder for the nodes' folders; a temporary one where none is asked for. */
async function prepareFolder(data: string | null): Promise<string> {
  if (data === null) return mkdtemp(join(tmpdir(), 'mergetown-demo-'));
  for (const node of NODES) {
    const isThere = await access(join(data, node)).then(
      () => true,
      () => false,
    );
    if (isThere)
      throw new UsageError(
        `${join(data, node)} is there already.\nThe demo founds a new town: choose another folder, or remove that one.`,
      );
  }
  await mkdir(data, { recursive: true });
  return data;
}

/** Plays the story; where it breaks off, the boards are asked all the same how they stand, if they can answer. */
async function playOrFail(options: StoryOptions): Promise<{ story: Story; failure: Error | null }> {
  let town: TownOfNodes | null = null;
  const opened = (opening: TownOfNodes): void => options.opened((town = opening));
  try {
    return { story: await playStory({ ...options, opened }), failure: null };
  } catch (error) {
    const isUp = (town as TownOfNodes | null)?.boards.every(({ isRunning }) => isRunning) === true;
    if (town === null || !isUp) throw error;
    return { story: { town, heightBeforeCut: 0 }, failure: error as Error };
  }
}

async function showEnd(tell: Narrator, { town, heightBeforeCut }: Story): Promise<Figures> {
  const { figures, boards, problems } = await readFigures(town);
  tell.chapter('What is left: one history, readable with stock git');
  tell.lines(await drawGraph(town, boards, heightBeforeCut));
  tell.lines('');
  tell.table([
    ['board', 'folder', 'node', 'entries', 'height', 'main (git)'],
    ...boards.map(({ board, id, height, own, main }) => [
      town.nameOf(board),
      board.key,
      id,
      String(own),
      String(height),
      main,
    ]),
  ]);
  tell.lines('');
  const rejected = Object.entries(figures.rejected).map(([code, count]) => `${count} × ${code}`);
  await tell.all(
    `${figures.entries} entries, ${figures.merged} accepted, rejected: ${rejected.join(', ') || 'none'}. ` +
      (figures.converged
        ? 'All three boards have one history; git fsck --strict finds each repository whole.'
        : 'The boards do NOT have one history.'),
    figures.converged ? 'good' : 'bad',
  );
  for (const problem of problems) await tell.all(problem, 'bad');
  return figures;
}

/** The history since the cut as stock git draws it. */
async function drawGraph(
  { founder }: TownOfNodes,
  boards: readonly BoardFigures[],
  heightBeforeCut: number,
): Promise<string> {
  const merges = (boards[0]?.height ?? heightBeforeCut) - heightBeforeCut + 1;
  const range = heightBeforeCut === 0 ? 'main' : `main~${merges}..main`;
  const words = ['log', '--graph', '--oneline', '--notes=proof-of-merge', range];
  const lines = (await founder.git(...words)).split('\n').flatMap(withoutCertificate);
  return [
    `$ git -C ${founder.key}/ledger.git ${words.join(' ')}`,
    '  (the last merge before the cut, and all that came after it; of the proofs only who attested)',
    '',
    ...lines.slice(0, GRAPH_LINES_MAX),
    ...(lines.length > GRAPH_LINES_MAX ? [`… ${lines.length - GRAPH_LINES_MAX} lines more`] : []),
  ].join('\n');
}

/** The proofs are long, and a person looks for who signed; the edges of the drawing beside the rest stay. */
function withoutCertificate(line: string): string[] {
  const [, edges = '', text = ''] = /^([|\\/_ .*-]*)(.*)$/.exec(line) ?? [];
  const isShown = text !== '' && !/^(Certificate|Value-SHA256|Round|Notes)\b/.test(text);
  if (isShown) return [line];
  return /[\\/_]/.test(edges) ? [edges.trimEnd()] : [];
}

async function showPanels(tell: Narrator, town: TownOfNodes): Promise<void> {
  tell.chapter('The panels are up');
  for (const board of town.boards) await tell.at(town.nameOf(board), board.url);
  await tell.all(`Sign in as ${STEWARD_NAME}, the steward, on any of them. The passphrase is: ${PASSPHRASE}`);
  await tell.all(
    'The same passphrase is good for Carol (House and Garden), Dave (Workshop) and Erin (Garden): look at what they were told.',
  );
  await tell.all('Ctrl-C ends all three.');
}

/** Ends what was started, once, whoever asks for it. */
class Cleanup {
  #town: TownOfNodes | null = null;
  #folder: string | null = null;
  #done: Promise<void> | null = null;

  closes = (town: TownOfNodes): void => void (this.#town = town);
  removes(folder: string): void {
    this.#folder = folder;
  }
  keepsFolder(): void {
    this.#folder = null;
  }

  run(): Promise<void> {
    return (this.#done ??= (async () => {
      await this.#town?.close();
      if (this.#folder !== null) await rm(this.#folder, { recursive: true, force: true });
    })());
  }
}

async function main(cleanup: Cleanup, stopped: Promise<unknown>): Promise<number> {
  const options = readOptions(process.argv.slice(2));
  const tell = new Narrator(options.json ? process.stderr : process.stdout);
  const folder = await prepareFolder(options.data);
  if (options.data === null) cleanup.removes(folder);
  const { story, failure } = await playOrFail({
    folder,
    driver: options.driver,
    tell,
    opened: cleanup.closes,
  });
  if (failure !== null) await tell.all(`The story broke off: ${failure.message}`, 'bad');
  const figures = await showEnd(tell, story);
  if (options.data !== null || options.json) await tell.all(`The data folders are in ${folder}.`);
  if (options.keep) {
    await showPanels(tell, story.town);
    await stopped;
  }
  // A line that names folders which are gone would be of no use.
  if (options.json) cleanup.keepsFolder();
  await cleanup.run();
  if (options.json) process.stdout.write(`${JSON.stringify(figures)}\n`);
  return figures.converged && failure === null ? 0 : EXIT_NOT_CONVERGED;
}

const cleanup = new Cleanup();
const stopped = new Promise<null>((resolve) => {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => resolve(null));
});
let isStopped = false;
void stopped.then(() => (isStopped = true));
const ended = main(cleanup, stopped).catch((error: unknown) => {
  // What fails because it was stopped is no news.
  if (!isStopped)
    process.stderr.write(
      `\n${error instanceof UsageError ? error.message : ((error as Error).stack ?? String(error))}\n`,
    );
  return isStopped ? EXIT_STOPPED : error instanceof UsageError ? EXIT_USAGE : EXIT_NOT_CONVERGED;
});
await Promise.race([ended, stopped]);
await cleanup.run();
// Stopped in the middle of the story, it may wait for what no longer comes; stopped after it, its result counts.
const late = new Promise<number>((resolve) => setTimeout(() => resolve(EXIT_STOPPED), END_MS_MAX).unref());
process.exit(await Promise.race([ended, late]));
