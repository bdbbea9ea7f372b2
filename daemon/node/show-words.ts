/** An entry or a merge, explained in plain sentences: who, what, verdict, which rule, which other entry, who proved it. */
import type { EntryView, Explained, MergeView } from './use-cases.js';
import type { StateChange } from './state-changes.js';

const CHANGES_MAX = 40;
const VALUE_CHARS_MAX = 300;

const bounded = (value: string | null): string | null =>
  value === null || value.length <= VALUE_CHARS_MAX ? value : `${value.slice(0, VALUE_CHARS_MAX)}…`;

/** As many changes as a person reads. */
export function shownChanges(
  changes: readonly StateChange[] | undefined,
): Pick<Explained, 'changes' | 'more'> {
  if (changes === undefined) return { changes: null, more: 0 };
  const shown = changes
    .slice(0, CHANGES_MAX)
    .map(({ path, before, after }) => ({ path, before: bounded(before), after: bounded(after) }));
  return { changes: shown, more: changes.length - shown.length };
}

export const shortId = (id: string): string => `${id.slice(0, 12)}…`;
const listed = (words: readonly string[]): string =>
  words.length < 2 ? words.join() : `${words.slice(0, -1).join(', ')} and ${words[words.length - 1]}`;
const count = (n: number, one: string, many: string): string => `${n} ${n === 1 ? one : many}`;
const when = (at: number): string => new Date(at).toISOString().replace('.000Z', 'Z');

/** @param nameOf the name of a node; @param merge the merge that judged it, where one did */
export function storyOfEntry(
  entry: EntryView,
  merge: MergeView | null,
  other: EntryView | null,
  nameOf: (node: string) => string,
): readonly string[] {
  const line = entry.line === undefined ? '' : ` on the line ${entry.line}`;
  const story = [
    `${entry.says}.`,
    `It was signed at ${when(entry.at)} and came in by node ${nameOf(entry.node)}, as its entry ${entry.n}${line}.`,
  ];
  if (merge === null || entry.verdict === null) {
    story.push(
      entry.state === 'pending'
        ? 'No merge has judged it yet: it holds at that node only, until one does.'
        : `It is ${entry.state}.`,
    );
    return story;
  }
  const where = `Merge ${merge.height} (${shortId(merge.id)}, ${when(merge.time)})`;
  const rule = entry.code === undefined ? '' : ` by the rule ${entry.code}`;
  const why = entry.reason === undefined ? '' : `: ${entry.reason.replace(/\.$/, '')}`;
  if (entry.verdict === 'accepted') story.push(`${where} accepted it.`);
  else if (entry.verdict === 'rejected') story.push(`${where} rejected it${rule}${why}.`);
  else story.push(`${where} recorded it as irregular${rule}${why}.`);
  if (other) {
    const there =
      other.height === undefined || other.height === merge.height
        ? 'the same merge'
        : `merge ${other.height}`;
    story.push(`It lost to entry ${shortId(other.id)} of ${there}: ${other.says}.`);
  }
  story.push(...proof(merge, nameOf));
  return story;
}

function proof(merge: MergeView, nameOf: (node: string) => string): readonly string[] {
  if (merge.height === 0) return ['It is the genesis: nothing stands before it to prove.'];
  const tests = merge.testedBy.length === 0 ? '' : ` and the tests of ${listed(merge.testedBy)} passed`;
  return [
    `${listed(merge.attestedBy.map(nameOf)) || 'Nobody'} proved that merge by signature: each replayed it to the same content${tests}.`,
  ];
}

/** @param expired locks and other deadlines that ran out in it */
export function storyOfMerge(merge: MergeView, nameOf: (node: string) => string): readonly string[] {
  if (merge.height === 0)
    return [`This is the genesis of the town, made by ${nameOf(merge.by)} at ${when(merge.time)}.`];
  const { accepted, rejected, irregular } = merge.counts;
  const from = merge.heads.map(
    ({ node, entries }) => `${count(entries, 'entry', 'entries')} of ${nameOf(node)}`,
  );
  const verdicts = [
    `${accepted} accepted`,
    ...(rejected > 0 ? [`${rejected} rejected`] : []),
    ...(irregular > 0 ? [`${irregular} irregular`] : []),
  ];
  return [
    `Merge ${merge.height}, proposed by ${nameOf(merge.by)} for ${when(merge.time)}, folded in ${listed(from)}.`,
    `Of them ${listed(verdicts)}.`,
    ...proof(merge, nameOf),
  ];
}
