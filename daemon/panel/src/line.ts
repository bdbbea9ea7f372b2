/**
 * Which line this tab works on: `main`, or a draft of this board. Kept for the tab alone, so that another one shows `main`.
 * Only what drafts have a view of their own of goes by it: people, members, credits, gigs, the charter, the ledger.
 */
const KEPT = 'town-line';
const OF_LINES = /^\/(people|badges|members|credits|gigs|charter|ledger\/(log|merges|show|merge))(\/|\?|$)/;

/** The draft that is worked on; null: `main`. */
export const currentLine = (): string | null => globalThis.sessionStorage?.getItem(KEPT) ?? null;

/** Switches to a draft, or with null back to `main`: everything shown is loaded anew. */
export function switchLine(draft: string | null): void {
  if (draft === null) sessionStorage.removeItem(KEPT);
  else sessionStorage.setItem(KEPT, draft);
  location.reload();
}

/** The header that names the line for a call of `at` (below `/api`), where it goes by lines. */
export function lineHeader(at: string): { readonly [name: string]: string } {
  const draft = currentLine();
  return draft === null || !OF_LINES.test(at) ? {} : { 'x-town-line': draft };
}
