/** One of two ends of a fresh board: somebody sets up the town that it has founded, or it goes into another one. Never both. */
import { TownError } from '../ledger/ids.js';

export class SetupLock {
  private readonly underway = new Set<Promise<unknown>>();
  private isJoining = false;

  /** Runs the setup, or a try of it. @throws TownError `joining` while another town is being put in the place of this one */
  async whileSettingUp<T>(task: () => Promise<T>): Promise<T> {
    if (this.isJoining)
      throw new TownError(
        'joining',
        'This board is going into another town just now.',
        'Wait until it has started again.',
      );
    const setup = task();
    this.underway.add(setup);
    try {
      return await setup;
    } finally {
      this.underway.delete(setup);
    }
  }

  /** Keeps setups out from now on; resolves when none is under way. @returns lets them in again */
  async takeForJoining(): Promise<() => void> {
    this.isJoining = true;
    await Promise.allSettled(this.underway);
    return () => void (this.isJoining = false);
  }
}
