/** The dapps that this build brings, held against what the charter pins. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Charter } from '../ledger/charter.js';
import type { DappManifest } from '../ledger/contract-protocol.js';
import { TownError } from '../ledger/ids.js';
import { readPackage, type DappPackage } from '../dapps/package.js';

/** Order of the charter of a new town: who is read by others comes first. */
const BUNDLED_ORDER = ['membership', 'door-access', 'gigs'];

/** Every built dapp in a folder of packages. @throws TownError `no-package` */
export async function readPackages(folder: string): Promise<readonly DappPackage[]> {
  const names = await readdir(folder).catch(() => {
    throw new TownError('no-package', `There are no built dapps in ${folder}.`, 'Build them: npm run build.');
  });
  // Other names are no dapps: what an interrupted build left, say.
  const dapps = names.filter((name) => /^[a-z][a-z0-9-]*$/.test(name)).sort();
  const packages = await Promise.all(dapps.map((name) => readPackage(join(folder, name))));
  const rank = (name: string): number => BUNDLED_ORDER.indexOf(name) + 1 || BUNDLED_ORDER.length + 1;
  return packages.sort((a, b) => rank(a.manifest.name) - rank(b.manifest.name));
}

/**
 * The packages that the charter lists, in its order. A dapp that is listed and not enabled is among them where this
 * build has it: enabling it again takes effect in the very merge that says so.
 * @throws TownError `dapp-missing`, `dapp-differs`: a node whose build differs is refused by name
 */
export function packagesOf(charter: Charter, packages: readonly DappPackage[]): readonly DappPackage[] {
  return charter.dapps.flatMap(({ name, version, digest, enabled }) => {
    const found = packages.find(({ manifest }) => manifest.name === name);
    if (!enabled && found?.digest !== digest) return [];
    if (!found)
      throw new TownError(
        'dapp-missing',
        `The charter enables the dapp ${name}@${version}, which is not in this build.`,
        'Install the build that the town uses.',
      );
    if (found.digest !== digest)
      throw new TownError(
        'dapp-differs',
        `The dapp ${name} of this build (${found.manifest.version}, ${found.digest.slice(0, 12)}…) is not the one the charter pins (${version}, ${digest.slice(0, 12)}…).`,
        `Run the build that the town uses, or pin this one by a change of the charter.`,
      );
    return [found];
  });
}

export const manifestsOf = (packages: readonly DappPackage[]): ReadonlyMap<string, DappManifest> =>
  new Map(packages.map(({ manifest }) => [manifest.name, manifest]));
