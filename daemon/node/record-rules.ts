/** Who may read the sealed records of a town, and which of them are over: questions to its adopted state. Pure. */
import type { Charter } from '../ledger/charter.js';
import type { NodeId } from '../ledger/ids.js';
import { ownerOf } from '../ledger/record-key.js';
import { readJson, type StateReader } from '../ledger/state.js';

const ERASURES_MAX = 100_000;

/** Whether the charter gives a node the keys of records. */
export function mayReadRecords({ nodes, records }: Charter, node: NodeId): boolean {
  return nodes[node]?.roles.some((role) => records.readers.includes(role)) ?? false;
}

/** Those whose records were erased: ids of people and members. */
export const erasedOwners = (state: StateReader): readonly string[] =>
  state.keys('kernel', 'erasures', '', ERASURES_MAX);

/** The credit member that a person is, or null. */
export const memberOf = (state: StateReader, person: string): string | null =>
  readJson<{ readonly member: string | null }>(state, 'membership', 'people', person)?.member ?? null;

/** Whether the records of this subject were erased: those of a person, or of the member that the person is. */
export function isErased(state: StateReader, subject: string): boolean {
  const owner = ownerOf(subject);
  const has = (id: string): boolean => state.get('kernel', 'erasures', id) !== undefined;
  if (has(owner)) return true;
  const link = readJson<{ readonly person: string }>(state, 'membership', 'links', owner);
  return link !== undefined && has(link.person);
}
