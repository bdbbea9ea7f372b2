/**
 * Erasing what is known of a person. `record.erase` puts the wish on record as `kernel/erasures/<subject>`; every node that
 * adopts it destroys the keys of the subject's private records, which are sealed for good then. History stays as it is.
 */
import { permits } from './charter.js';
import type { EntryId } from './ids.js';
import { KERNEL, authorOf, badBody, hasOnly, refuse, type Handler } from './kernel.js';
import { readJson, writeJson, type StateReader } from './state.js';

export interface Erasure {
  readonly entry: EntryId;
  /** The entry time (ms). */
  readonly at: number;
}

/** Who may erase the records of others, beside `record.erase` for one's own. */
const ERASE_OTHERS = 'record.erase-others';

export const readErasure = (state: StateReader, subject: string): Erasure | undefined =>
  readJson<Erasure>(state, KERNEL, 'erasures', subject);

/** By members for themselves and the person that the register links with them; by who may, for anybody. For ever. */
export const erase: Handler = (entry, state, context) => {
  const { subject } = entry.body;
  if (!hasOnly(entry.body, 'subject') || typeof subject !== 'string' || !/^[pm][0-9a-f]{16}$/.test(subject))
    return badBody(entry.type, '{subject}: the id of a person or member');
  const { id, roles } = authorOf(entry, context);
  const link = readJson<{ person: string }>(state, 'membership', 'links', id);
  const isOwn = subject === id || subject === link?.person;
  if (!isOwn && !permits(context.charter, roles, ERASE_OTHERS))
    return refuse('not-you', 'Members erase their own records; those of others who may.');
  if (readErasure(state, subject))
    return refuse('erased-already', `The records of ${subject} were erased before.`, `erasures/${subject}`);
  writeJson(state, KERNEL, 'erasures', subject, { entry: entry.id, at: context.tau } satisfies Erasure);
  return null;
};
