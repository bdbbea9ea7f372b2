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
  const chosen = names.length > 0 ? names : Object.keys(checks);
  if (chosen.includes('imports')) await ensureBuilt();
  let failed = 0;
  const waiting = [...chosen];
  const work = async () => {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
      const { ok, ms, output } = await ran(name);
      if (!ok) failed += 1;
      const lines = json
        ? [JSON.stringify({ check: name, ok, ms, output })]
        : [...(output ? [output] : []), `${ok ? '✓' : '✗'} ${name} ${(ms / 1000).toFixed(1)} s`];
      process.stdout.write(`${lines.join('\n')}\n`);
    }
  };
  // Each computes on one core, and takes some hundred megabytes.
  await Promise.all([work(), work()]);
  return failed === 0 ? 0 : 1;
});

/** Runs one check; `output`: what it has to say against the code. */
async function ran(name) {
  const began = Date.now();
  const output = await runQuietly(process.execPath, checks[name]).then(
    () => null,
    (error) => error.message,
  );
  return { ok: output === null, ms: Date.now() - began, output: output ?? '' };
}
