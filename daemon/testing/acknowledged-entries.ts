/** What became of entries that a board has acknowledged, on every board of a town. */
import type { EntryView } from '../node/use-cases.js';
import { asked, STEWARD_NAME, type Board } from './town-of-nodes.js';

/** What a board knows of an entry; null: nothing. */
export async function entryOn(board: Board, id: string): Promise<EntryView | null> {
  const { status, body } = await (await board.as(STEWARD_NAME))('GET', `/api/ledger/show/${id}`);
  if (status === 404) return null;
  return (await asked<{ entry: EntryView }>({ status, body }, id)).entry;
}

/** Whether the boards have all of the entries in their `main`. */
export async function areMerged(boards: readonly Board[], entries: readonly string[]): Promise<boolean> {
  const views = boards.flatMap((board) => entries.map((id) => entryOn(board, id)));
  return (await Promise.all(views)).every((entry) => entry?.state === 'merged');
}

/** What is wrong with the acknowledged entries on the boards: each is merged, or rejected with its reason. */
export async function lostOf(boards: readonly Board[], entries: readonly string[]): Promise<string[]> {
  const lost: string[] = [];
  for (const board of boards)
    for (const id of entries) {
      const entry = await entryOn(board, id);
      const isJudged =
        entry?.state === 'merged' || (entry?.state === 'rejected' && (entry.reason ?? '') !== '');
      if (!isJudged) lost.push(`${id} is ${entry?.state ?? 'unknown'} on ${board.key}`);
    }
  return lost;
}
