/**
 * Reads what one test file prints, as it comes (TAP): which tests passed, failed or were skipped.
 * A test here is a named block without named blocks inside it; a check outside of any block counts as one too.
 */

/** @typedef {{passed: number, failed: {name: string, said: string[]}[], skipped: {name: string, why: string}[]}} FileResult */

const linesOfFailureMax = 60;

export class TapReader {
  constructor() {
    /** @type {FileResult} */
    this.result = { passed: 0, failed: [], skipped: [] };
    /** Whether the file said how many checks it had: some, or none and why. */
    this.ended = false;
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
      this.open[depth] = { name: block[1], hasBlocks: false, points: 0, skips: [], failures: [] };
      this.open.length = depth + 1;
      if (depth > 0 && this.open[depth - 1]) this.open[depth - 1].hasBlocks = true;
      return;
    }
    const point = /^(not )?ok \d+(?: - (.*?))?(?: # (SKIP|TODO|time=\S+)(.*))?$/.exec(text);
    if (point) this.point(depth, !point[1], point[2] ?? '', point[3] ?? '', (point[4] ?? '').trim());
    const plan = depth === 0 ? /^1\.\.(\d+)(?: # (?:SKIP )?(.*))?$/.exec(text) : null;
    if (!plan) return;
    this.ended = plan[1] !== '0' || plan[2] !== undefined;
    if (plan[1] === '0' && plan[2] !== undefined)
      this.result.skipped.push({ name: 'the whole file', why: plan[2] });
  }

  /** A check, or the end of a block. */
  point(depth, ok, name, directive, why) {
    const ended = this.open[depth];
    this.open.length = Math.min(this.open.length, depth);
    const isBlock = ended !== undefined && ended.name === name;
    const path = [...this.open, { name }].map((part) => part.name).join(' > ');
    const isSkip = directive === 'SKIP' || directive === 'TODO';
    this.lastFailure = null;
    if (isBlock && ended.hasBlocks) return;
    const parent = this.open[depth - 1];
    if (isBlock) this.endTest(path, ok, ended);
    else if (parent === undefined) {
      if (isSkip) this.result.skipped.push({ name: path, why });
      else if (ok) this.result.passed += 1;
      else this.result.failed.push((this.lastFailure = { name: path, said: [] }));
    } else {
      parent.points += 1;
      if (isSkip) parent.skips.push(why || name);
      else if (!ok) parent.failures.push((this.lastFailure = { name: path, said: [] }));
      // Checks between the blocks of a block would otherwise be lost when they fail.
      if (!ok && directive !== 'TODO' && parent.hasBlocks) this.result.failed.push(this.lastFailure);
    }
  }

  endTest(path, ok, test) {
    if (!ok)
      this.result.failed.push({
        name: path,
        said: test.failures.flatMap((failure) => [`  ${failure.name}`, ...failure.said]),
      });
    else if (test.points > 0 && test.skips.length === test.points)
      this.result.skipped.push({ name: path, why: test.skips[0] });
    else this.result.passed += 1;
  }
}
