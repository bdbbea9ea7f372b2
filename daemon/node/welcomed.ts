/** What a node was told when it was let into the town, until its own history says as much. */
import type { Store } from '../store/store.js';
import type { Welcome } from '../sync/joining.js';

/** The store's meta that holds it: canonical JSON. Also the mark of a node that joined, and did not found, its town. */
export const WELCOME_META = 'welcome';

export type Welcomed = Pick<Welcome, 'checkpoint' | 'nodes'>;

/** Null at the founding node. */
export function readWelcomed(store: Pick<Store, 'meta'>): Welcomed | null {
  const text = store.meta(WELCOME_META);
  return text === null ? null : (JSON.parse(text) as Welcomed);
}
