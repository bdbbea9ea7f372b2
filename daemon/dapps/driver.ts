/** What runs contracts, in containers or as child processes: the same calls, the same verdicts. */
import type { DappPackage } from './package.js';
import type { FromContract, ToContract } from './protocol.js';

/** Where the contracts of a driver belong: names and labels of what it makes. */
export interface DriverOptions {
  /** The town's and the node's id. */
  readonly town: string;
  readonly node: string;
  /** Told in plain words what goes wrong with a dapp, and what takes long. */
  readonly log: (event: {
    readonly level: 'info' | 'warn';
    readonly dapp?: string;
    readonly text: string;
  }) => void;
  /** What starting a contract may take on top of its first answer, ms; default 15 000. */
  readonly startMs?: number;
  /** What a call may take at least, ms, where the manifests allow less: for who judges again what others judged in time. */
  readonly callMsMin?: number;
}

export const START_MS_DEFAULT = 15_000;

export interface DappStatus {
  readonly dapp: string;
  readonly version: string;
  readonly digest: string;
  readonly running: boolean;
  /** How often it ended in a call and was started again. */
  readonly restarts: number;
  /** The end of what it wrote to stderr. */
  readonly diagnostics: string;
}

export interface ContractDriver {
  readonly kind: 'container' | 'process';
  /** Whether a contract is kept from the machine and the network. */
  readonly isolated: boolean;
  /**
   * Starts these dapps; those it runs already stay, others of an earlier `start` are stopped.
   * @throws TownError naming the dapp that does not start
   */
  start(packages: readonly DappPackage[]): Promise<void>;
  /**
   * One message to a dapp's contract, the next one from it; see `ContractSession.exchange`.
   * @throws TownError `dapp-not-running`, and what the session throws
   */
  exchange(dapp: string, message: ToContract): Promise<FromContract>;
  /** Ends a dapp's running contract; the next message starts another. */
  restart(dapp: string): Promise<void>;
  /** Ends all and removes what was made for them. */
  stop(): Promise<void>;
  status(): readonly DappStatus[];
}
