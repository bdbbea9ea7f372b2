/**
 * Epochs at this node: a recovery that holds is made durable, the next merge is made and certified under it, and the others are told.
 * A node that merged more in the old epoch than the recovery names is left behind: it merges no more, and gives the others its blocks.
 */
import { parseCertificate } from '../consensus/certificate.js';
import { canonicalize } from '../ledger/canonical.js';
import { TownError, type Json } from '../ledger/ids.js';
import { readRecovery, type Recovery, type RecoveryStatement } from '../ledger/recovery.js';
import type { CoreStore } from './core-store.js';
import { RECOVERY_META, type MainLine, type RecoveryStanding } from './main-line.js';
import type { View } from './view.js';

export interface EpochsParts {
  readonly store: CoreStore;
  readonly main: MainLine;
  readonly view: View;
  /** To the other nodes; they may miss it. */
  readonly send: (recovery: Recovery) => void;
  /** From now on the next merge is of another epoch. */
  readonly begun: () => void;
  /** Something that people should look at. */
  readonly trouble: (code: string, message: string) => void;
}

export class Epochs {
  constructor(private readonly parts: EpochsParts) {}

  /**
   * Takes a recovery in, durably. Only while no merge is adopted.
   * @throws TownError `bad-recovery`, `no-recovery`
   */
  async take(recovery: Recovery): Promise<RecoveryStanding> {
    const { store, main, view, begun, trouble } = this.parts;
    const standing = main.standingOf(recovery);
    if (standing === 'past' || recovery.statement.epoch === main.recovery?.statement.epoch) return standing;
    await view.rebuild(async () => {
      await store.setMeta(RECOVERY_META, canonicalize(recovery as unknown as Json));
      main.takeRecovery(recovery);
    });
    if (standing === 'diverged') {
      const { code, message } = diverged(recovery.statement);
      trouble(code, message);
    }
    if (standing === 'begins') {
      begun();
      this.announce();
    }
    return standing;
  }

  /** Tells the others what began the epoch: who was away may have gone on in the old one. */
  announce(): void {
    const recovery = this.parts.main.recovery ?? this.inForce();
    if (recovery) this.parts.send(recovery);
  }

  /** With the signatures that the epoch's first merge was certified with. */
  private inForce(): Recovery | null {
    const { store, main } = this.parts;
    const statement = readRecovery(main.state);
    const certificate = statement && store.certificate(statement.height + 1);
    return certificate ? (parseCertificate(certificate).recovery ?? null) : null;
  }
}

/** Why a node that was left behind merges no more. */
export const diverged = ({ epoch, height }: RecoveryStatement): TownError =>
  new TownError(
    'diverged',
    `The town went on in epoch ${epoch} from merge ${height}, and this node has merged more since then or otherwise: its main is not the ` +
      "town's any more. What it recorded on merges that the town has goes to the others and is merged again: leave it on until they have " +
      'it (town log --branches, there). Then let it join anew, with an empty data folder.',
  );
