/** The heart of a node: `main`, the view, the way of an entry into a block, and merging. Effects are given from outside. */
import type { VerifiedEntry } from '../ledger/entry.js';
import type { EntryId } from '../ledger/ids.js';
import { isSuspended } from '../ledger/kernel-evidence.js';
import { isRestrictive, type Manifests } from '../ledger/judge.js';
import type { MergeRow } from '../store/rows.js';
import type { CoreStore } from './core-store.js';
import { Appender } from './appender.js';
import { Blocks, type MadeBlock } from './blocks.js';
import type { Clock } from './clock.js';
import type { Exchange } from './drive.js';
import { Epochs, type EpochsParts } from './epochs.js';
import { Equivocations } from './equivocations.js';
import type { NodeKeys } from './key-files.js';
import type { MainLine } from './main-line.js';
import { MergeWorkshop, type MergeWorkshopParts } from './merge-workshop.js';
import { Merger, type MergerParts } from './merger.js';
import { PeerBlocks } from './peer-blocks.js';
import { View } from './view.js';

export interface CoreParts {
  readonly store: CoreStore;
  readonly keys: NodeKeys;
  readonly clock: Clock;
  readonly main: MainLine;
  readonly manifests: Manifests;
  readonly contracts: Exchange;
  readonly readObject: MergeWorkshopParts['readObject'];
  readonly heldByQuorum: MergeWorkshopParts['heldByQuorum'];
  readonly silentUpTo?: MergeWorkshopParts['silentUpTo'];
  readonly confirm?: MergeWorkshopParts['confirm'];
  readonly rules?: MergerParts['rules'];
  readonly broadcast: MergerParts['broadcast'];
  /** Whether another node is heard just now. */
  readonly isHeard: MergerParts['isHeard'];
  /** Tells the other nodes what began the epoch. */
  readonly sendRecovery?: EpochsParts['send'];
  /** The charter has other validators, and maybe nodes, from now on. */
  readonly epochBegan?: () => void;
  /** The town went on in an epoch without what this node has merged. */
  readonly epochLeft?: () => void;
  /** A later merge, which is not here yet, is of another epoch. */
  readonly epochAwaited?: () => void;
  /** A height was parked for want of a quorum, or goes on. */
  readonly parkedChanged?: MergerParts['parkedChanged'];
  readonly alarm: MergerParts['alarm'];
  readonly trouble: MergerParts['trouble'];
  /** An entry of this node is durable. */
  readonly appended: (entry: VerifiedEntry, kind: 'claim' | 'fact') => void;
  /** A block of this node is durable. */
  readonly blockMade: (block: MadeBlock) => void;
  /** A merge became `main`. */
  readonly adopted: (merge: MergeRow, entries: readonly EntryId[]) => void;
}

export class Core {
  readonly main: MainLine;
  readonly view: View;
  readonly appender: Appender;
  readonly merger: Merger;
  readonly peerBlocks: PeerBlocks;

  constructor(parts: CoreParts) {
    const {
      store,
      keys,
      clock,
      main,
      manifests,
      contracts,
      adopted,
      blockMade,
      readObject,
      heldByQuorum,
      broadcast,
      alarm,
      trouble,
      isHeard,
    } = parts;
    const view = new View(main, store, keys.id, manifests, clock, contracts);
    const appender = new Appender(store, main, view, keys, clock, (entry, kind) => {
      parts.appended(entry, kind);
      this.merger.noticed(kind);
      // A revocation sets out at once, so that it holds at the doors of the others too; should it fail, the next merge cuts it.
      if (isRestrictive(entry, manifests)) blocks.cut().catch(() => undefined);
    });
    const blocks = new Blocks(
      ...([store, main, keys, clock, () => appender.settledBelow, blockMade] as const),
      (node) => isSuspended(view.state, node),
    );
    const workshop = new MergeWorkshop({
      store,
      main,
      view,
      blocks,
      keys,
      clock,
      manifests,
      heldByQuorum,
      adopted: (merge, entries) => {
        adopted(merge, entries);
        epochs.settle();
      },
      readObject,
      silentUpTo: parts.silentUpTo,
      confirm: parts.confirm,
    });
    const epochs = new Epochs({
      ...{ store, main, view, clock, trouble },
      awaited: () => parts.epochAwaited?.(),
      send: parts.sendRecovery ?? (() => undefined),
      begun: () => {
        this.merger.epochBegan();
        parts.epochBegan?.();
      },
      left: () => {
        this.merger.leftBehind();
        parts.epochLeft?.();
      },
    });
    const equivocations = new Equivocations({ store, main, view, appender, trouble });
    this.main = main;
    this.view = view;
    this.appender = appender;
    this.merger = new Merger({
      store,
      main,
      blocks,
      workshop,
      keys,
      clock,
      broadcast,
      alarm,
      equivocated: (first, second) => equivocations.ofVotes(first, second),
      trouble,
      isHeard,
      parkedChanged: parts.parkedChanged ?? (() => undefined),
      epochs,
      rules: parts.rules,
    });
    this.peerBlocks = new PeerBlocks(store, view, manifests, equivocations, (taken) => {
      blocks.remember(taken);
      this.merger.blocksChanged();
    });
  }
}
