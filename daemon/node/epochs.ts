/**
 * Epochs at this node: a recovery that holds is made durable, the next merge is made and certified under it, and the others are told.
 * A node that merged more in the old epoch than the recovery names is left behind: it merges no more, and gives the others its blocks.
 */
import { parseCertificate } from '../consensus/certificate.js';
import { canonicalize } from '../ledger/canonical.js';
import { TownError, type Json, type Sha256 } from '../ledger/ids.js';
import { readRecovery, type Recovery, type RecoveryStatement } from '../ledger/recovery.js';
import type { Clock } from './clock.js';
import type { CoreStore } from './core-store.js';
import {
  AWAITED_RECOVERY_META,
  RECOVERY_META,
  type Head,
  type MainLine,
  type RecoveryStanding,
} from './main-line.js';
import type { View } from './view.js';

/** Who goes by an older epoch is told of this one, at most so often. */
const ANNOUNCE_GAP_MS = 2_000;

export interface EpochsParts {
  readonly store: CoreStore;
  readonly main: MainLine;
  readonly view: View;
  readonly clock: Clock;
  /** To the other nodes; they may miss it. */
  readonly send: (recovery: Recovery) => void;
  /** From now on the next merge is of another epoch. */
  readonly begun: () => void;
  /** The town went on without what this node has merged. */
  readonly left: () => void;
  /** A later merge, which is not here yet, is of another epoch. */
  readonly awaited: () => void;
  /** Something that people should look at. */
  readonly trouble: (code: string, message: string) => void;
}

export class Epochs {
  /** By the clock, which may be set. */
  private announcedAt = -Infinity;
  /** What the others here were told of: that it begins an epoch, or that it left this node behind. */
  private told: RecoveryStatement | null = null;
  private rivalTold = 0;

  constructor(private readonly parts: EpochsParts) {}

  /**
   * Takes a recovery in, durably. Only while no merge is adopted.
   * @param mayLeave false: not where this node would be left behind by it
   * @throws TownError `bad-recovery`, `no-recovery`, `leaves-behind`
   */
  async take(recovery: Recovery, mayLeave = true): Promise<RecoveryStanding> {
    const { store, main, view, awaited } = this.parts;
    const standing = main.standingOf(recovery);
    if (standing === 'past' || main.knows(recovery)) return standing;
    if (standing === 'diverged' && !mayLeave) throw leavesBehind(recovery.statement, main.head);
    // What begins later takes nothing away from what has begun.
    const key = standing === 'ahead' ? AWAITED_RECOVERY_META : RECOVERY_META;
    await view.rebuild(async () => {
      await store.setMeta(key, canonicalize(recovery as unknown as Json));
      main.takeRecovery(recovery);
    });
    if (standing === 'ahead') awaited();
    this.settle();
    return standing;
  }

  /** Whoever has to know is told, where an epoch has begun or has left this node behind: at once, or with the merge it waited for. */
  settle(): void {
    const { main, begun, left, trouble } = this.parts;
    const statement = main.divergedFrom ?? main.recovery?.statement ?? null;
    if (statement === null || statement === this.told) return;
    this.told = statement;
    if (main.divergedFrom === null) {
      begun();
      return this.announce();
    }
    const { code, message } = diverged(statement);
    trouble(code, message);
    left();
  }

  /** A recovery of another node: where the keys signed two for one epoch, people are told, once an epoch. */
  seen(recovery: Recovery): void {
    const { main, trouble } = this.parts;
    const { epoch } = recovery.statement;
    if (epoch <= this.rivalTold || !main.isRival(recovery)) return;
    this.rivalTold = epoch;
    trouble(
      'rival-recovery',
      `The keys of recovery signed two different statements for epoch ${epoch}, and the boards that took one do not follow those that took ` +
        'the other. Begin one more epoch from the history that shall count: town recover, at a board that has it.',
    );
  }

  /** Tells the others what began the epoch: who was away may have gone on in the old one. */
  announce(): void {
    const recovery = this.parts.main.recovery ?? this.inForce();
    if (recovery) this.parts.send(recovery);
  }

  /** Somebody goes by an older epoch. */
  announceSoon(): void {
    const now = this.parts.clock.now();
    if (Math.abs(now - this.announcedAt) < ANNOUNCE_GAP_MS) return;
    this.announcedAt = now;
    this.announce();
  }

  /** The messages of a height were sent: of the first of an epoch they say nothing to who does not know the epoch. */
  gossiped(): void {
    if (this.parts.main.recovery) this.announceSoon();
  }

  /** Another node's last merge: one that is not the town's since the epoch began comes from who does not know of it. */
  headTold({ height, id }: { readonly height: number; readonly id: Sha256 }): void {
    const { main, store } = this.parts;
    const statement = main.recovery?.statement ?? readRecovery(main.state);
    if (!statement || height < statement.height || height > main.head.height) return;
    const ours = height === main.head.height ? main.head.id : store.merge(height)?.id;
    if (ours !== id) this.announceSoon();
  }

  /** With the signatures that the epoch's first merge was certified with. */
  private inForce(): Recovery | null {
    const { store, main } = this.parts;
    const statement = readRecovery(main.state);
    const certificate = statement && store.certificate(statement.height + 1);
    return certificate ? (parseCertificate(certificate).recovery ?? null) : null;
  }
}

const leavesBehind = ({ epoch, height }: RecoveryStatement, head: Head): TownError =>
  new TownError(
    'leaves-behind',
    `The statement goes on in epoch ${epoch} from merge ${height}, and this node has merged otherwise, up to merge ${head.height}: it ` +
      'would merge no more, and would have to join anew.',
    'See with `town status` whether the town merges again: then the statement is not needed, and is better destroyed. Where it goes on from ' +
      'here all the same, make another one.',
  );

/** Why a node that was left behind merges no more. */
export const diverged = ({ epoch, height }: RecoveryStatement): TownError =>
  new TownError(
    'diverged',
    `The town went on in epoch ${epoch} from merge ${height}, and this node has merged more since then or otherwise: its main is not the ` +
      "town's any more. What it recorded on merges that the town has goes to the others and is merged again: leave it on until they have " +
      'it (town log --branches, there). Then let it join anew, with an empty data folder.',
  );
