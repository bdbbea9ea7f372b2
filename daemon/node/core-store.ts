/** As much of the store as the heart of a node needs: the real one, or one in simulated time. */
import type { Store } from '../store/store.js';

export type CoreStore = Pick<
  Store,
  | 'folder'
  | 'meta'
  | 'entriesOf'
  | 'pendingClaims'
  | 'lastN'
  | 'block'
  | 'lastBlock'
  | 'blocksFrom'
  | 'blocksUnmerged'
  | 'blocksUnmergedOn'
  | 'blockEntries'
  | 'blockTexts'
  | 'branches'
  | 'merge'
  | 'mergeById'
  | 'lastMerge'
  | 'allState'
  | 'consensusLog'
  | 'ref'
  | 'counts'
  | 'pendingCount'
  | 'hasUnblocked'
  | 'appendEntries'
  | 'putBlock'
  | 'adopt'
  | 'cutBranch'
  | 'logConsensus'
  | 'forgetConsensus'
  | 'putRefs'
  | 'certificate'
  | 'setMeta'
>;

/** And as much as its peering needs. */
export type PeeringStore = Pick<
  Store,
  | 'archive'
  | 'branches'
  | 'block'
  | 'blockTexts'
  | 'blocksFrom'
  | 'blocksOfMerge'
  | 'blocksUnmerged'
  | 'lastBlock'
  | 'merge'
  | 'mergeById'
  | 'certificate'
  | 'meta'
  | 'setMeta'
>;
