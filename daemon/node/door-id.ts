/** The id of the door that a joining node brings: host and asker name it alike without asking each other. */
import type { NodeId } from '../ledger/ids.js';

/** With the hyphen and the four digits, what an id of a door may hold: 32 characters. */
const SLUG_MAX = 27;
/** For a name without a Latin letter or a digit. */
const NAMELESS = 'door';

/** The name in a-z, 0-9 and single hyphens, at most 27 characters: "Wólka, back room" is "wolka-back-room". */
function slugOf(name: string): string {
  const letters = name
    .replaceAll('ł', 'l')
    .replaceAll('Ł', 'l')
    .replaceAll('ß', 'ss')
    .normalize('NFKD')
    .replace(/\p{M}/gu, '')
    .toLowerCase();
  const slug = letters
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+/, '')
    .slice(0, SLUG_MAX)
    .replace(/-+$/, '');
  return slug === '' ? NAMELESS : slug;
}

/** `<slug of the node's name>-<first 4 hex digits of its id>`: two nodes of one name have doors of their own. */
export const doorIdOf = (name: string, node: NodeId): string => `${slugOf(name)}-${node.slice(0, 4)}`;
