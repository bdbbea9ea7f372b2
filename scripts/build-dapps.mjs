/**
 * Builds the bundled dapps: dapps/<name> → dist/packages/<name>/{dapp.json, contract.mjs, Dockerfile}.
 * A package is self-contained and the same bytes wherever it is built: no paths, no source maps, nothing but the source counts.
 * Use: node scripts/build-dapps.mjs, or import { buildDapps }.
 */
import { copyFile, mkdir, readdir, rename, rm } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = dirname(dirname(fileURLToPath(import.meta.url)));

/**
 * @param {string} [out] folder for the packages; default dist/packages
 * @returns {Promise<string[]>} names of the dapps built
 */
export async function buildDapps(out = join(root, 'dist/packages')) {
  const source = join(root, 'dapps');
  const names = (await readdir(source))
    .filter((name) => existsSync(join(source, name, 'contract.ts')))
    .sort();
  for (const name of names) {
    const target = join(out, name);
    const fresh = `${target}.${process.pid}.new`;
    await rm(fresh, { recursive: true, force: true });
    await mkdir(fresh, { recursive: true });
    await build({
      entryPoints: ['contract.ts'],
      absWorkingDir: join(source, name),
      outfile: join(fresh, 'contract.mjs'),
      bundle: true,
      platform: 'node',
      format: 'esm',
      target: 'node20',
      charset: 'utf8',
      sourcemap: false,
      legalComments: 'none',
      logLevel: 'warning',
      tsconfigRaw: '{"compilerOptions": {"target": "ES2023", "verbatimModuleSyntax": true}}',
    });
    for (const file of ['dapp.json', 'Dockerfile'])
      await copyFile(join(source, name, file), join(fresh, file));
    await rm(target, { recursive: true, force: true });
    await rename(fresh, target);
  }
  return names;
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  const names = await buildDapps();
  console.log(`Built ${names.length} dapps: ${names.join(', ')}.`);
}
