/** The head of a git bundle (gitformat-bundle(5), version 2): what it needs, what it brings; a pack follows. Pure. */
import type { Oid } from '../ledger/ids.js';
import { TownError } from '../ledger/ids.js';
import type { Ref } from '../store/rows.js';

export const BUNDLE_SIGNATURE = '# v2 git bundle\n';
/** Bytes of a head: a town has at most some thousands of branches. */
export const BUNDLE_HEAD_BYTES_MAX = 4 * 1024 * 1024;
const LINES_MAX = 20_000;

/** A commit that whoever takes the bundle must have, with all before it. */
export interface Prerequisite {
  readonly oid: Oid;
  /** For people. */
  readonly comment: string;
}

export interface BundleHead {
  readonly prerequisites: readonly Prerequisite[];
  readonly refs: readonly Ref[];
}

/** The head's bytes, to the last before the pack. */
export const bundleHead = ({ prerequisites, refs }: BundleHead): Buffer =>
  Buffer.from(
    [
      BUNDLE_SIGNATURE,
      ...prerequisites.map(({ oid, comment }) => `-${oid} ${comment}\n`),
      ...refs.map(({ name, oid }) => `${oid} ${name}\n`),
      '\n',
    ].join(''),
  );

/**
 * Reads the head.
 * @param bytes the file's first ones, `BUNDLE_HEAD_BYTES_MAX` of them or all
 * @returns the head, and its length: where the pack begins
 * @throws TownError `bundle-damaged`
 */
export function readBundleHead(bytes: Buffer): BundleHead & { readonly length: number } {
  if (!bytes.subarray(0, BUNDLE_SIGNATURE.length).equals(Buffer.from(BUNDLE_SIGNATURE)))
    throw damaged('it does not begin as a bundle of version 2');
  // The empty line that ends the head may follow the signature at once.
  const end = bytes.indexOf('\n\n', BUNDLE_SIGNATURE.length - 1);
  if (end < 0 || end + 2 > BUNDLE_HEAD_BYTES_MAX) throw damaged('its head has no end');
  const text = bytes.toString('utf8', BUNDLE_SIGNATURE.length, end + 1);
  const lines = text === '' ? [] : text.slice(0, -1).split('\n', LINES_MAX + 1);
  if (lines.length > LINES_MAX) throw damaged(`its head has more than ${LINES_MAX} lines`);
  const prerequisites: Prerequisite[] = [];
  const refs: Ref[] = [];
  for (const line of lines) {
    const [, minus, oid, rest = ''] = /^(-?)([0-9a-f]{40})(?: (.*))?$/.exec(line) ?? [];
    if (oid === undefined) throw damaged('a line of its head is neither a ref nor a prerequisite');
    if (minus === '-') prerequisites.push({ oid: oid as Oid, comment: rest });
    else if (/^(HEAD|refs\/[!-~]+)$/.test(rest)) refs.push({ name: rest, oid: oid as Oid });
    else throw damaged('a ref in its head has no name');
  }
  return { prerequisites, refs, length: end + 2 };
}

export const damaged = (what: string): TownError =>
  new TownError(
    'bundle-damaged',
    `This is no whole bundle: ${what}.`,
    'Make it anew with `town bundle create`, and copy it again.',
  );
