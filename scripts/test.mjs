#!/usr/bin/env node
/** `npm test`: installs and builds what changed, runs the tests with tap, and ends with one line of counts. */
import { spawn } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { checkNode, ensureBuilt, ensureInstalled, root, runMain, StepError } from './steps.mjs';
import { TapReader } from './tap-lines.mjs';

const help = `npm test [-- FILTER…]     all tests, or those whose path contains one of the words

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
  return runTap(files);
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

async function runTap(files) {
  const failures = [];
  const reader = new TapReader((file, result) => {
    const name = file.replace(/^dist\//, '').replace(/\.js$/, '');
    const counts = [`${result.passed} passed`];
    if (result.failed.length > 0) counts.push(`${result.failed.length} failed`);
    if (result.skipped.length > 0) counts.push(`${result.skipped.length} skipped`);
    process.stdout.write(`${result.failed.length > 0 ? '✗' : '✓'} ${name}: ${counts.join(', ')}\n`);
    for (const failure of result.failed) {
      failures.push(`${name}: ${failure.name}`);
      process.stdout.write(`  ✗ ${failure.name}\n${failure.said.map((line) => `    ${line}\n`).join('')}`);
    }
  });
  const began = Date.now();
  const code = await new Promise((resolve, reject) => {
    const tap = join(root, 'node_modules', 'tap', 'dist', 'esm', 'run.mjs');
    const child = spawn(process.execPath, [tap, 'run', '--reporter=tap', ...files], {
      cwd: root,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal));
    child.stdout.setEncoding('utf8').on('data', (chunk) => reader.push(chunk));
    child.once('error', reject);
    child.once('close', (exit) => resolve(exit ?? 1));
  });
  const { passed, skipped } = reader.total;
  let failed = reader.total.failed;
  if (code !== 0 && failed === 0) {
    failed = 1;
    failures.push(`tap itself ended with ${code}`);
  }
  for (const skip of skipped)
    process.stdout.write(
      `skipped: ${skip.file.replace(/^dist\//, '').replace(/\.js$/, '')}: ${skip.name}${skip.why ? ` (${skip.why})` : ''}\n`,
    );
  for (const failure of failures) process.stdout.write(`failed: ${failure}\n`);
  process.stdout.write(`${((Date.now() - began) / 1000).toFixed(0)} s\n`);
  process.stdout.write(`${passed} passed, ${failed} failed, ${skipped.length} skipped\n`);
  return failed === 0 ? 0 : 1;
}
