/** As much of the store as the heart of a node needs: the real one, or one in simulated time. */
import type { Store } from '../store/store.js';

export type CoreStore = Pick<
  Store,
  | 'folder'
  | 'entriesOf'
  | 'pendingClaims'
  | 'lastN'
  | 'block'
  | 'lastBlock'
  | 'blocksUnmerged'
  | 'blocksUnmergedOn'
  | 'blockEntries'
  | 'branches'
  | 'merge'
  | 'mergeById'
  | 'lastMerge'
  | 'allState'
  | 'consensusLog'
  | 'ref'
  | 'counts'
  | 'appendEntries'
  | 'putBlock'
  | 'adopt'
  | 'logConsensus'
  | 'forgetConsensus'
>;
