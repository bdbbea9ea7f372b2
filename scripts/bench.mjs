#!/usr/bin/env node
/** `npm run bench`: installs and builds what changed, then measures, each figure beside its baseline. */
import { join } from 'node:path';
import { checkNode, ensureBuilt, ensureInstalled, root, runMain, runWithTerminal } from './steps.mjs';

await runMain(async () => {
  checkNode();
  await ensureInstalled();
  await ensureBuilt();
  return runWithTerminal(process.execPath, [
    join(root, 'dist', 'scripts', 'bench', 'run.js'),
    ...process.argv.slice(2),
  ]);
});
