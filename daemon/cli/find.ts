/** Finds what a person names: by id, by a unique start of it, or by a unique name. */
import { refusal } from './cli-error.js';
import { plain, short } from './output.js';

/**
 * @param what e.g. `member`; goes into the error
 * @param listed the command that lists them
 * @throws CliError `no-such-<what>` or `ambiguous`
 */
export function find<Item>(
  items: readonly Item[],
  word: string,
  what: string,
  idOf: (item: Item) => string,
  nameOf: (item: Item) => string | null,
  listed = `town ${what} list`,
): Item {
  const exact = items.find((item) => idOf(item) === word);
  if (exact) return exact;
  const lower = word.toLowerCase();
  const named = items.filter((item) => nameOf(item)?.toLowerCase() === lower);
  const matching = named.length > 0 ? named : items.filter((item) => idOf(item).startsWith(lower));
  if (matching.length === 1) return matching[0]!;
  if (matching.length === 0)
    throw refusal(
      `no-such-${what}`,
      `There is no ${what} with the id or name "${word}".`,
      items.length === 0 ? `There is no ${what} yet.` : `See \`${listed}\`.`,
    );
  const choices = matching
    .slice(0, 5)
    .map((item) => `${short(idOf(item))} ${plain(nameOf(item) ?? '')}`.trim());
  throw refusal('ambiguous', `"${word}" could be ${choices.join(', or ')}.`, 'Give more of the id.');
}
