#!/usr/bin/env node
/** `npm run check`: types, lint, format and the import direction of the modules. */
import { join } from 'node:path';
import { checkNode, ensureBuilt, ensureInstalled, root, runMain, runQuietly, StepError } from './steps.mjs';

const help = `npm run check [-- NAME…] [-- --json]     reads the code without running it

  types      tsc --noEmit
  lint       eslint
  format     prettier --check (repair with: npx prettier --write .)
  imports    modules import only downward (daemon/imports.test.ts)

  --json     one line per check: {"check","ok","ms","output"}
`;

const bin = (...path) => join(root, 'node_modules', ...path);
const checks = {
  types: [bin('typescript', 'bin', 'tsc'), '--noEmit', '--pretty', '--project', root],
  lint: [
    bin('eslint', 'bin', 'eslint.js'),
    '--config',
    'scripts/eslint.config.mjs',
    '--max-warnings',
    '0',
    '.',
  ],
  format: [bin('prettier', 'bin', 'prettier.cjs'), '--check', '--log-level', 'warn', '.'],
  imports: [join(root, 'dist', 'daemon', 'imports.test.js')],
};

await runMain(async () => {
  const words = process.argv.slice(2);
  if (words.includes('--help')) {
    process.stdout.write(help);
    return 0;
  }
  const json = words.includes('--json');
  const names = words.filter((word) => !word.startsWith('-'));
  const unknown = names.find((name) => !(name in checks));
  if (unknown) {
    throw new StepError(`No check is called ${unknown}.`, `There are: ${Object.keys(checks).join(', ')}.`);
  }
  checkNode();
  await ensureInstalled();
  let failed = 0;
  for (const name of names.length > 0 ? names : Object.keys(checks)) {
    const began = Date.now();
    let output = '';
    let ok = true;
    try {
      if (name === 'imports') await ensureBuilt();
      await runQuietly(process.execPath, checks[name]);
    } catch (error) {
      ok = false;
      failed += 1;
      output = error.message;
    }
    const ms = Date.now() - began;
    if (json) process.stdout.write(`${JSON.stringify({ check: name, ok, ms, output })}\n`);
    else
      process.stdout.write(
        `${output ? `${output}\n` : ''}${ok ? '✓' : '✗'} ${name} ${(ms / 1000).toFixed(1)} s\n`,
      );
  }
  return failed === 0 ? 0 : 1;
});
