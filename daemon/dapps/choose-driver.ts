/** Containers where there is an engine, child processes elsewhere; said plainly. */
import { TownError } from '../ledger/ids.js';
import { ContainerDriver } from './container-driver.js';
import type { ContractDriver, DriverOptions } from './driver.js';
import { findEngine } from './engine.js';
import { ProcessDriver } from './process-driver.js';

/**
 * @param prefer what the config asks for; without it, containers if an engine answers within 2 s
 * @returns the driver, not started, and a plain warning where it does not isolate
 * @throws TownError `no-engine` if containers are asked for and no engine answers
 */
export async function chooseDriver(
  options: DriverOptions & { readonly prefer?: 'container' | 'process' | undefined },
): Promise<{ readonly driver: ContractDriver; readonly warning: string | null }> {
  if (options.prefer === 'process')
    return {
      driver: new ProcessDriver(options),
      warning: 'Dapps run as child processes, as asked for: they are not isolated from this machine.',
    };
  try {
    return { driver: new ContainerDriver(options, await findEngine()), warning: null };
  } catch (error) {
    if (options.prefer === 'container' || !(error instanceof TownError)) throw error;
    return {
      driver: new ProcessDriver(options),
      warning: `${error.message} Dapps run as child processes and are not isolated from this machine. ${error.advice}`,
    };
  }
}
