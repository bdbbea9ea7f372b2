/** The contract protocol; it is written down where the replay speaks it. */
export type * from '../ledger/contract-protocol.js';
