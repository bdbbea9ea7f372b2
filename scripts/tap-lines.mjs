/**
 * Reads tap's output as it comes: which files ran, which tests passed, failed or were skipped.
 * A test here is a named block without named blocks inside it; a check outside of any block counts as one too.
 */

/** @typedef {{passed: number, failed: {name: string, said: string[]}[], skipped: {name: string, why: string}[]}} FileResult */

const linesOfFailureMax = 60;

export class TapReader {
  /** @param {(file: string, result: FileResult, seconds: number) => void} onFile */
  constructor(onFile) {
    this.onFile = onFile;
    this.total = { passed: 0, failed: 0, skipped: [] };
    this.open = [];
    this.rest = '';
    this.inYaml = null;
    this.lastFailure = null;
  }

  /** @param {string} chunk */
  push(chunk) {
    const lines = (this.rest + chunk).split('\n');
    this.rest = lines.pop() ?? '';
    for (const line of lines) this.line(line);
  }

  line(line) {
    const depth = Math.floor((line.length - line.trimStart().length) / 4);
    const text = line.trim();
    if (this.inYaml !== null) {
      if (text === '...' && line.indexOf('...') === this.inYaml) this.inYaml = null;
      else if (this.lastFailure && this.lastFailure.said.length < linesOfFailureMax)
        this.lastFailure.said.push(line);
      return;
    }
    if (text === '---') {
      this.inYaml = line.indexOf('---');
      return;
    }
    const block = /^# Subtest: (.*)$/.exec(text);
    if (block) {
      this.open[depth] = {
        name: block[1],
        hasBlocks: false,
        points: 0,
        skips: [],
        failures: [],
        result: emptyResult(),
      };
      this.open.length = depth + 1;
      if (depth > 0 && this.open[depth - 1]) this.open[depth - 1].hasBlocks = true;
      return;
    }
    const point = /^(not )?ok \d+(?: - (.*?))?(?: # (SKIP|TODO|time=\S+)(.*))?$/.exec(text);
    if (point) this.point(depth, !point[1], point[2] ?? '', point[3] ?? '', (point[4] ?? '').trim());
  }

  /** A check, or the end of a block. */
  point(depth, ok, name, directive, why) {
    const ended = this.open[depth];
    this.open.length = Math.min(this.open.length, depth);
    const isBlock = ended !== undefined && ended.name === name;
    if (depth === 0) return this.endFile(name, ok, ended, directive);
    const file = this.open[0];
    if (!file) return;
    const path = [...this.open.slice(1), { name }].map((part) => part.name).join(' > ');
    this.lastFailure = null;
    if (isBlock && ended.hasBlocks) return;
    const parent = this.open[depth - 1];
    if (isBlock) this.endTest(file.result, path, ok, ended);
    else if (depth === 1) {
      if (directive === 'SKIP' || directive === 'TODO') file.result.skipped.push({ name: path, why });
      else if (ok) file.result.passed += 1;
      else file.result.failed.push((this.lastFailure = { name: path, said: [] }));
    } else {
      parent.points += 1;
      if (directive === 'SKIP' || directive === 'TODO') parent.skips.push(why || name);
      else if (!ok) parent.failures.push((this.lastFailure = { name: path, said: [] }));
      // Checks between the blocks of a block would otherwise be lost when they fail.
      if (!ok && !directive.startsWith('TODO') && parent.hasBlocks) file.result.failed.push(this.lastFailure);
    }
  }

  endTest(result, path, ok, test) {
    if (!ok)
      result.failed.push({
        name: path,
        said: test.failures.flatMap((failure) => [`  ${failure.name}`, ...failure.said]),
      });
    else if (test.points > 0 && test.skips.length === test.points)
      result.skipped.push({ name: path, why: test.skips[0] });
    else result.passed += 1;
  }

  endFile(name, ok, file, directive) {
    const result = file?.result ?? emptyResult();
    if (!ok && result.failed.length === 0) {
      result.failed.push(
        (this.lastFailure = { name: 'the file itself (it crashed, timed out or had no tests)', said: [] }),
      );
    } else this.lastFailure = null;
    if (directive === 'SKIP') result.skipped.push({ name, why: '' });
    this.total.passed += result.passed;
    this.total.failed += result.failed.length;
    this.total.skipped.push(...result.skipped.map((skip) => ({ ...skip, file: name })));
    this.onFile(name, result);
  }
}

/** @returns {FileResult} */
const emptyResult = () => ({ passed: 0, failed: [], skipped: [] });
