#!/usr/bin/env node
/** `npm run build`: the daemon, the dapps' packages and the panel into `dist`; fails on type errors. */
import { build, checkNode, ensureInstalled, runMain } from './steps.mjs';

await runMain(async () => {
  if (process.argv.includes('--help')) {
    process.stdout.write('npm run build     compiles daemon, dapps and panel into dist/\n');
    return 0;
  }
  checkNode();
  await ensureInstalled();
  await build();
  return 0;
});
