/** What a step of the sync machine asks its caller to do. */
import type { NodeId } from '../ledger/ids.js';
import type { HaveBody, HeadsBody, Tip, WantBody } from './bodies.js';
import type { Item, SyncState } from './sync-state.js';

/** What is to be done. */
export type Output =
  | { readonly t: 'publish-heads'; readonly body: HeadsBody }
  | { readonly t: 'send-want'; readonly to: NodeId; readonly body: WantBody }
  /** Read these from the store, pack as many as fit, send them, and tell `answered`. */
  | { readonly t: 'send-have'; readonly to: NodeId; readonly item: Item; readonly what: WantBody }
  /** Unpack, put into quarantine, check, store; tell `received`, `stored` or `adopted` as it goes and `settled` at the end. */
  | {
      readonly t: 'admit';
      readonly from: NodeId;
      readonly item: Item;
      readonly body: HaveBody;
      /** It goes behind what waits of the item already, and does not take its place. */
      readonly follows: boolean;
    }
  /** Forget what of this item waits in quarantine: it did not get on. */
  | { readonly t: 'discard'; readonly item: Item }
  | { readonly t: 'refused'; readonly from: NodeId; readonly code: 'unsolicited' | 'busy' }
  /** A peer names another block at the end of a branch than is held here, or more of the own branch. Told once a branch. */
  | {
      readonly t: 'contradiction';
      readonly branch: NodeId;
      readonly peer: NodeId;
      readonly ours: Tip | null;
      readonly theirs: Tip;
    };

export interface Stepped {
  readonly state: SyncState;
  readonly outputs: readonly Output[];
}
