/** `town log, show, merge, charter`: what the ledger says. */
import { InvalidArgumentError, type Command } from 'commander';
import type { Json, JsonObject } from '../ledger/ids.js';
import type { LedgerGraph } from '../node/ledger-graph.js';
import type { BranchView, EntryView, MergeView, Page, Recorded, Shown } from '../node/use-cases.js';
import { usageError } from './cli-error.js';
import { Context } from './context.js';
import { graphText } from './graph-text.js';
import { facts, plain, short, table, time } from './output.js';

const mergeWithin = 600_000;
const pageMax = 200;
const graphMergesMax = 50;
/** Where there is no terminal to ask. */
const columns = 80;

export function addLedgerCommands(town: Command): void {
  town
    .command('log')
    .description('entries, newest first; or --graph, --merges, or --branches')
    .option('-n, --limit <n>', `how many, at most ${pageMax}`, count, 20)
    .option('--before <cursor>', 'go on where a page ended')
    .option('--graph', "draw how the nodes' branches run into main instead")
    .option('--merges', 'the merges of main instead')
    .option('--branches', "the nodes' branches instead")
    .action(
      async (
        options: { limit: number; before?: string; graph?: true; merges?: true; branches?: true },
        command: Command,
      ) => {
        const context = new Context(command);
        const before = options.before === undefined ? '' : `&before=${encodeURIComponent(options.before)}`;
        if (options.graph) {
          const limit = Math.min(options.limit, graphMergesMax);
          const graph = await context.get<LedgerGraph>(`/api/ledger/graph?limit=${limit}`);
          context.tell(graph, graphText(graph, process.stdout.columns ?? columns));
        } else if (options.branches) {
          const branches = await context.get<BranchView[]>('/api/ledger/branches');
          context.tell(branches, branchTable(branches));
        } else if (options.merges) {
          const page = await context.get<Page<MergeView>>(
            `/api/ledger/merges?limit=${options.limit}${before}`,
          );
          context.tell(page, withNext(page, page.items.map(mergeLine)));
        } else {
          const page = await context.get<Page<EntryView>>(`/api/ledger/log?limit=${options.limit}${before}`);
          context.tell(page, withNext(page, page.items.map(entryLine)));
        }
      },
    );

  town
    .command('show')
    .description('one entry or merge, in words: who, what, by which rule, what it changed')
    .argument('<id>', 'its id or git id, or a unique start of it (8 characters at least)')
    .action(async (id: string, _options: object, command: Command) => {
      const context = new Context(command);
      if (!/^[0-9a-f]{8,64}$/i.test(id))
        throw usageError(`Expected 8 to 64 hex digits of an id, got ${id}.`, 'See `town log`.');
      const shown = await context.get<Shown>(`/api/ledger/show/${id.toLowerCase()}`);
      const text = shown.kind === 'entry' ? entryText(shown.entry) : mergeText(shown.merge);
      context.tell(shown, [...explainedText(shown.explained), text].join('\n'));
    });

  town
    .command('merge')
    .description('merge everything that is pending, now')
    .action(async (_options: object, command: Command) => {
      const context = new Context(command);
      const { merge } = await context.post<{ merge: MergeView | null }>(
        '/api/ledger/merge',
        undefined,
        mergeWithin,
      );
      context.tell({ merge }, merge === null ? 'There was nothing to merge.' : mergeText(merge));
    });

  const charter = town.command('charter').description("the town's constitution");
  charter
    .command('show')
    .description('print it')
    .action(async (_options: object, command: Command) => {
      const context = new Context(command);
      const value = await (
        await context.client()
      ).get<JsonObject>('/api/charter', (await context.saved()).token);
      context.tell(value, JSON.stringify(value, null, 2));
    });
  charter
    .command('set')
    .description('propose a change, e.g.: town charter set /pace/interactiveMs=1000')
    .argument('[changes...]', 'pointer=value: a JSON pointer into the charter, and JSON, or else text')
    .option('--remove <pointer...>', 'pointers to take out')
    .action(async (changes: string[], options: { remove?: string[] }, command: Command) => {
      const context = new Context(command);
      const remove = options.remove ?? [];
      if (changes.length + remove.length === 0)
        throw usageError('Expected a change, such as /pace/interactiveMs=1000.');
      const recorded = await context.post<Recorded>('/api/charter/changes', {
        set: Object.fromEntries(changes.map(parseChange)),
        remove,
      });
      await context.tellRecorded(recorded, 'The change of the charter is recorded.');
    });
}

function parseChange(change: string): readonly [string, Json] {
  const at = change.indexOf('=');
  if (at < 1) throw usageError(`Expected pointer=value, got ${change}.`);
  const text = change.slice(at + 1);
  try {
    return [change.slice(0, at), JSON.parse(text) as Json];
  } catch {
    return [change.slice(0, at), text];
  }
}

export function count(text: string): number {
  const value = Number(text);
  if (!/^\d{1,3}$/.test(text) || value < 1 || value > pageMax)
    throw new InvalidArgumentError(`a whole number from 1 to ${pageMax} is expected.`);
  return value;
}

const marks = { pending: '…', merged: '✓', rejected: '✗' } as const;

const entryLine = (entry: EntryView): string => {
  const irregular = entry.verdict === 'irregular' ? ` (irregular: ${entry.reason ?? entry.code ?? ''})` : '';
  const why = entry.state === 'rejected' ? ` (rejected: ${entry.reason ?? entry.code ?? ''})` : irregular;
  return `${short(entry.id)}  ${time(entry.at)}  ${marks[entry.state]} ${plain(entry.says)}${plain(why)}`;
};

const counted = ({ accepted, rejected, irregular }: MergeView['counts']): string =>
  [
    `${accepted} accepted`,
    ...(rejected ? [`${rejected} rejected`] : []),
    ...(irregular ? [`${irregular} irregular`] : []),
  ].join(', ');

const mergeLine = (merge: MergeView): string =>
  `${short(merge.id)}  ${time(merge.time)}  height ${merge.height}: ${counted(merge.counts)}, attested by ${merge.attestedBy.length}`;

function withNext(page: Page<unknown>, lines: readonly string[]): string {
  if (lines.length === 0) return 'Nothing yet.';
  return [...lines, ...(page.next === null ? [] : [`… more with --before ${page.next}`])].join('\n');
}

const branchTable = (branches: readonly BranchView[]): string =>
  table(
    branches,
    [
      { head: 'branch', cell: (branch) => branch.name },
      { head: 'blocks', cell: (branch) => branch.seq, right: true },
      { head: 'unmerged', cell: (branch) => branch.unmerged, right: true },
      { head: 'head', cell: (branch) => (branch.head === null ? '-' : short(branch.head)) },
    ],
    'No branch yet.',
  );

/** The sentences, and what changed; a blank line before what follows. */
function explainedText(explained: Shown['explained']): readonly string[] {
  if (explained === undefined) return [];
  const { story, changes, more } = explained;
  const value = (text: string | null): string => (text === null ? '(nothing)' : plain(text));
  const changed = (changes ?? []).map(
    ({ path, before, after }) => `  ${plain(path)}: ${value(before)} → ${value(after)}`,
  );
  const heading =
    changes === null
      ? []
      : changes.length === 0
        ? ['It changed nothing in the state.']
        : ['It changed in the state:', ...changed, ...(more > 0 ? [`  … and ${more} more`] : [])];
  return [...story.map(plain), ...heading, ''];
}

const entryText = (entry: EntryView): string =>
  [
    facts([
      ['entry', entry.id],
      ['says', entry.says],
      ['type', entry.type],
      ['by', entry.by],
      ['at', time(entry.at)],
      ['node', `${entry.node}, number ${entry.n}`],
      ['state', entry.state],
      ['verdict', entry.verdict],
      ['rule', entry.code],
      ['reason', entry.reason],
      ['other', entry.other],
      ['merge', entry.merge],
      ['height', entry.height],
    ]),
    JSON.stringify(entry.body, null, 2).split('\n').map(plain).join('\n'),
  ].join('\n');

const mergeText = (merge: MergeView): string =>
  [
    facts([
      ['merge', merge.id],
      ['git', merge.oid],
      ['height', merge.height],
      ['time', time(merge.time)],
      ['by', merge.by],
      ['content', merge.content],
      ['entries', counted(merge.counts)],
      ['heads', merge.heads.map((head) => `${head.node} (${head.entries})`).join(', ')],
      ['tested by', merge.testedBy.join(', ')],
      ['attested by', merge.attestedBy.join(', ')],
    ]),
    ...(merge.entries ?? []).map(entryLine),
  ].join('\n');
