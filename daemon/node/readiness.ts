/** How far the start has come: whether the dapps answer, and whether the view holds again what was not merged. */
import type { ContractDriver } from '../dapps/driver.js';
import { TownError } from '../ledger/ids.js';
import type { Clock } from './clock.js';

/** How long a claim waits for dapps that are still starting. */
const DAPPS_WAIT_MS = 60_000;

/** Something that is waited for, by many and each for a bounded time. */
class Awaited<T> {
  readonly promise: Promise<T>;
  resolve: (value: T) => void = () => undefined;

  constructor() {
    this.promise = new Promise((resolve) => (this.resolve = resolve));
  }
}

export class Readiness {
  private readonly answering = new Awaited<ContractDriver>();
  private readonly settling = new Awaited<void>();
  private current: ContractDriver | null = null;
  private answers = false;

  /** @param isSettled nothing waits for a merge, so that the view is `main` */
  constructor(
    private readonly clock: Clock,
    private isSettled: boolean,
  ) {}

  /** The driver of this start, once one was chosen. */
  get driver(): ContractDriver | null {
    return this.current;
  }

  /** Whether the contracts answer. */
  get isReady(): boolean {
    return this.answers;
  }

  chosen(driver: ContractDriver): void {
    this.current = driver;
  }

  contractsAnswer(driver: ContractDriver): void {
    this.answers = true;
    this.answering.resolve(driver);
  }

  viewSettled(): void {
    this.isSettled = true;
    this.settling.resolve();
  }

  /** @throws TownError `starting` */
  contracts(): Promise<ContractDriver> {
    return this.answers && this.current ? Promise.resolve(this.current) : this.inTime(this.answering.promise);
  }

  /** Resolves once the view is as it was before the start: at once, unless entries wait for the contracts. @throws TownError `starting` */
  async settled(): Promise<void> {
    if (!this.isSettled) await this.inTime(this.settling.promise);
  }

  private inTime<T>(start: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      const cancel = this.clock.after(DAPPS_WAIT_MS, () =>
        reject(
          new TownError(
            'starting',
            'The dapps are still starting.',
            'Try again in a moment; `town status` tells how they are.',
          ),
        ),
      );
      start.then((value) => {
        cancel();
        resolve(value);
      }, reject);
    });
  }
}
