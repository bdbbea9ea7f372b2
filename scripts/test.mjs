#!/usr/bin/env node
/** `npm test`: installs and builds what changed, runs the tests, and ends with one line of counts. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { checkNode, ensureBuilt, ensureInstalled, root, runMain, StepError } from './steps.mjs';
import { stopTestFiles, runTestFiles } from './test-files.mjs';

const help = `npm test [-- FILTER…]     all tests, or those whose path contains one of the words

JOBS=N runs N files at once; normally two for each core.
What a test needs and this machine lacks (docker, chromium, …) is skipped by name; with CI=true it fails.
The last line is: N passed, N failed, N skipped
`;

await runMain(async () => {
  const words = process.argv.slice(2);
  if (words.includes('--help')) {
    process.stdout.write(help);
    return 0;
  }
  checkNode();
  await ensureInstalled();
  await ensureBuilt();
  const files = testFiles('dist').filter(
    (file) => words.length === 0 || words.some((word) => file.includes(word)),
  );
  if (files.length === 0)
    throw new StepError(`No test's path contains ${words.join(' or ')}.`, 'See: npm test -- --help');
  return run(files);
});

/** Compiled tests below a folder, without those of the packages. */
function testFiles(folder) {
  const found = [];
  for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory() && path !== 'dist/packages') found.push(...testFiles(path));
    else if (entry.isFile() && entry.name.endsWith('.test.js')) found.push(path);
  }
  return found.sort();
}

async function run(files) {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'])
    process.once(signal, () => void stopTestFiles().then(() => process.exit(130)));
  const total = { passed: 0, failed: [], skipped: [] };
  const began = Date.now();
  await runTestFiles(files, (file, result, seconds) => {
    const name = file.replace(/^dist\//, '').replace(/\.js$/, '');
    const counts = [`${result.passed} passed`];
    if (result.failed.length > 0) counts.push(`${result.failed.length} failed`);
    if (result.skipped.length > 0) counts.push(`${result.skipped.length} skipped`);
    const mark = result.failed.length > 0 ? '✗' : '✓';
    process.stdout.write(`${mark} ${name}: ${counts.join(', ')}; ${seconds.toFixed(1)} s\n`);
    for (const { name: test, said } of result.failed) {
      total.failed.push(`${name}: ${test}`);
      process.stdout.write(`  ✗ ${test}\n${said.map((line) => `    ${line}\n`).join('')}`);
    }
    total.passed += result.passed;
    for (const { name: test, why } of result.skipped)
      total.skipped.push(`${name}: ${test}${why ? ` (${why})` : ''}`);
  });
  for (const skip of total.skipped) process.stdout.write(`skipped: ${skip}\n`);
  for (const failure of total.failed) process.stdout.write(`failed: ${failure}\n`);
  process.stdout.write(`${((Date.now() - began) / 1000).toFixed(0)} s\n`);
  process.stdout.write(
    `${total.passed} passed, ${total.failed.length} failed, ${total.skipped.length} skipped\n`,
  );
  return total.failed.length === 0 ? 0 : 1;
}
