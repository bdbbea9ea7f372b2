/** What boards are called. The ledger names them by their ids. */
import { useCallback } from 'preact/hooks';
import { useLoaded } from './loading.js';
import type { Nodes } from './shapes.js';

/** Gives the name of a board that the charter knows, else its id. */
export function useNodeNames(): (id: string) => string {
  const nodes = useLoaded<Nodes>('/nodes', ['merge']).value?.nodes;
  return useCallback((id: string) => nodes?.find((each) => each.id === id)?.name ?? id, [nodes]);
}
