/** What both drivers have in common: a session for each dapp, started, replaced and stopped together. */
import { TownError } from '../ledger/ids.js';
import { ContractSession } from './contract-session.js';
import { START_MS_DEFAULT, type ContractDriver, type DappStatus, type DriverOptions } from './driver.js';
import type { DappPackage } from './package.js';
import type { FromContract, ToContract } from './protocol.js';
import type { LaunchContract } from './running-contract.js';

interface Running {
  readonly dapp: DappPackage;
  readonly session: ContractSession;
}

export abstract class SessionDriver implements ContractDriver {
  abstract readonly kind: 'container' | 'process';
  abstract readonly isolated: boolean;
  private readonly running = new Map<string, Running>();
  /** Starts happen one after another. */
  private starting: Promise<void> = Promise.resolve();
  private stopped = false;

  constructor(protected readonly options: DriverOptions) {}

  /** What is to be done once before contracts can be started, e.g. the making of their images. */
  protected abstract prepare(packages: readonly DappPackage[]): Promise<void>;
  protected abstract launcher(dapp: DappPackage): LaunchContract;
  /** After all sessions have ended. */
  protected abstract cleanUp(): Promise<void>;

  start(packages: readonly DappPackage[]): Promise<void> {
    const start = this.starting.then(() => this.startNow(packages));
    this.starting = start.catch(() => undefined);
    return start;
  }

  private assertNotStopped(): void {
    if (this.stopped) throw new TownError('driver-stopped', 'The dapps are being stopped.');
  }

  private async startNow(packages: readonly DappPackage[]): Promise<void> {
    this.assertNotStopped();
    await this.prepare(packages);
    this.assertNotStopped();
    const wanted = new Map(packages.map((dapp) => [dapp.manifest.name, dapp]));
    for (const [name, { dapp, session }] of [...this.running]) {
      if (wanted.get(name)?.digest === dapp.digest) continue;
      this.running.delete(name);
      await session.stop();
    }
    for (const dapp of packages) {
      const { name, limits } = dapp.manifest;
      if (this.running.has(name)) continue;
      const session = new ContractSession({
        dapp: name,
        callMs: Math.max(limits.callMs, this.options.callMsMin ?? 0),
        startMs: this.options.startMs ?? START_MS_DEFAULT,
        launch: this.launcher(dapp),
        onFault: (text) => this.options.log({ level: 'warn', dapp: name, text }),
      });
      await session.warm();
      if (this.stopped) await session.stop();
      this.assertNotStopped();
      this.running.set(name, { dapp, session });
    }
  }

  exchange(dapp: string, message: ToContract): Promise<FromContract> {
    const running = this.running.get(dapp);
    if (!running)
      return Promise.reject(
        new TownError('dapp-not-running', `The dapp "${dapp}" is not running on this node.`),
      );
    return running.session.exchange(message);
  }

  async restart(dapp: string): Promise<void> {
    await this.running.get(dapp)?.session.restart();
  }

  async stop(): Promise<void> {
    this.stopped = true;
    const all = [...this.running.values()];
    this.running.clear();
    await Promise.all(all.map(({ session }) => session.stop()));
    await this.starting;
    await this.cleanUp();
  }

  status(): readonly DappStatus[] {
    return [...this.running.values()].map(({ dapp, session }) => ({
      dapp: dapp.manifest.name,
      version: dapp.manifest.version,
      digest: dapp.digest,
      ...session.status(),
    }));
  }
}
