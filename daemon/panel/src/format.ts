/** How the panel writes times, numbers and ids. Pure: the moment and the locale come from outside. */

const second = 1_000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;

/** "now", "5 seconds ago", "3 minutes ago" … and past a week the date. `at`, `now` in ms. */
export function ago(at: number, now: number, locale?: string): string {
  const gone = now - at;
  if (gone < 2 * second) return 'just now';
  if (gone >= 7 * day) return dateTime(at, locale);
  const words = new Intl.RelativeTimeFormat(locale ?? 'en', { numeric: 'always' });
  if (gone < minute) return words.format(-Math.floor(gone / second), 'second');
  if (gone < hour) return words.format(-Math.floor(gone / minute), 'minute');
  if (gone < day) return words.format(-Math.floor(gone / hour), 'hour');
  return words.format(-Math.floor(gone / day), 'day');
}

/** Date and time to the second, in the reader's own time zone. */
export const dateTime = (at: number, locale?: string): string =>
  new Intl.DateTimeFormat(locale ?? 'en-GB', { dateStyle: 'medium', timeStyle: 'medium' }).format(at);

/** The time of day to the second. */
export const timeOfDay = (at: number, locale?: string): string =>
  new Intl.DateTimeFormat(locale ?? 'en-GB', { timeStyle: 'medium' }).format(at);

/** Whole seconds left until `until`, never below 0. */
export const secondsLeft = (until: number, now: number): number =>
  Math.max(0, Math.ceil((until - now) / second));

/** "1 credit", "1,200 credits". */
export const credits = (amount: number | null): string =>
  `${number(amount)} ${amount === 1 ? 'credit' : 'credits'}`;

/** "1,200"; "–" for what was not told. */
export const number = (value: number | null): string =>
  value === null ? '–' : new Intl.NumberFormat('en').format(value);

/** "1 entry", "2 entries": the count and the right form of the word. */
export const counted = (count: number, one: string, many = `${one}s`): string =>
  `${number(count)} ${count === 1 ? one : many}`;

/** The start of a long id, enough to tell it from others on a page. */
export const shortId = (id: string): string => (id.length <= 14 ? id : `${id.slice(0, 10)}…`);

/** A name, or the start of the id where this node may not read the name. */
export const nameOr = (name: string | null | undefined, id: string): string => name ?? shortId(id);

/** `door.lockdown` → "lockdown"; `add-door` → "add door". */
export const plainWord = (code: string): string => code.replace(/^.*\./, '').replaceAll('-', ' ');
