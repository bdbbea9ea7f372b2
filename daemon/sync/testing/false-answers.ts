/** For tests: what a node that lies sends in answer to what it was asked, each with the names by which it may be refused. */
import { deflateSync } from 'node:zlib';
import { entriesText, makeBlock, NO_BLOCK, type Block, type BlockPlace } from '../../ledger/block.js';
import { signEntry } from '../../ledger/entry.js';
import { sha256 } from '../../ledger/hash.js';
import type { Json, Millis, NodeId, Oid, Sha256 } from '../../ledger/ids.js';
import { publicKeyOf } from '../../ledger/signature.js';
import { INFLATED_BYTES_MAX, packBlocks, type RawBlock } from '../block-batch.js';
import type { Dice } from './dice.js';

export interface Signer {
  readonly id: NodeId;
  readonly secretKey: Uint8Array;
}

export interface FalseAnswerParts {
  readonly dice: Dice;
  readonly town: Sha256;
  /** Who is to be bothered. */
  readonly victim: NodeId;
  /** In the charter, and lies. */
  readonly liar: Signer;
  readonly now: () => number;
  /** Blocks of somebody honest, and the merge that the town stands on. */
  readonly blocks: () => readonly Block[];
  readonly main: () => { readonly height: number; readonly id: Sha256; readonly oid: Oid };
}

/** 64 MiB of zeros. */
export const BOMB = deflateSync(Buffer.alloc(64 * 1024 * 1024)).toString('base64');
const SLOW_BOMB = deflateSync(Buffer.alloc(INFLATED_BYTES_MAX * 2, '{}\n'), { level: 1 }).toString('base64');

/** In place of packed blocks or merges. @returns the pack, then the names */
export function wrongPack(
  parts: FalseAnswerParts,
  deep: () => string,
  junk: () => Json,
): readonly [string, ...string[]] {
  return parts.dice.pick<() => readonly [string, ...string[]]>([
    () => [BOMB.slice(0, 190_000), 'batch-too-large', 'bad-batch'],
    () => [SLOW_BOMB.slice(0, 190_000), 'batch-too-large', 'bad-batch'],
    () => [parts.dice.bytes(parts.dice.below(3_000)).toString('base64'), 'bad-batch'],
    () => ['!'.repeat(parts.dice.below(3_000)), 'bad-batch'],
    () => [deflateSync(Buffer.from(deep())).toString('base64'), 'bad-batch', 'batch-too-large'],
    () => [deflateSync(Buffer.from(`${JSON.stringify(junk())}\n`)).toString('base64'), 'bad-batch'],
    () => wrongBlocks(parts),
    () => wrongBlocks(parts),
    () => wrongBlocks(parts),
  ])();
}

/** Blocks that are not of the branch, or none. */
function wrongBlocks({
  dice,
  blocks,
  liar,
  victim,
  main,
  town,
  now,
}: FalseAnswerParts): readonly [string, ...string[]] {
  const raw = ({ raw, entries }: Block): RawBlock => ({ raw, entries: Buffer.from(entriesText(entries)) });
  const foreign = blocks().slice(-3);
  const made = (change: Partial<BlockPlace> = {}): RawBlock => {
    const { id, oid } = main();
    const at = now() as Millis;
    const place = { town, line: 'main', node: liar.id, seq: 1, prev: NO_BLOCK, base: id, ...change };
    const by = publicKeyOf(liar.secretKey);
    const about = { v: 1, town: place.town, line: place.line, base: place.base, node: place.node } as const;
    const content = { ...about, n: 1, type: 'notes.put', by, at, body: { key: 'lie', value: 1 } };
    const entries = [signEntry(content, liar.secretKey)];
    return raw(makeBlock(place, { prev: null, main: oid }, entries, at, liar.secretKey).block);
  };
  const [batch, ...ends] = dice.pick<() => [readonly RawBlock[], ...string[]]>([
    () => [foreign.map(raw), 'other-branch'],
    () => [[made({ line: 'elsewhere' })], 'other-branch'],
    () => [[made({ town: sha256('elsewhere') })], 'other-branch'],
    () => [[made({ node: victim })], 'other-branch'],
    () => [[made({ seq: 7, prev: sha256('none') })], 'gap'],
    () => [[made({ prev: sha256('none') })], 'other-predecessor', 'bad-block', 'bad-commit'],
    () => [[{ ...made(), entries: raw(foreign[0] as Block).entries }], 'bad-block'],
    () => {
      const block = made();
      const at = dice.below(block.raw.length);
      const bytes = Buffer.from(block.raw);
      bytes[at] = (bytes[at] as number) ^ (1 << dice.below(8));
      return [
        [{ ...block, raw: bytes }],
        'bad-block',
        'bad-commit',
        'bad-signature',
        'other-branch',
        'gap',
        'other-predecessor',
        'bad-entry',
      ];
    },
    () => [[{ raw: dice.bytes(300), entries: dice.bytes(100) }], 'bad-commit', 'bad-batch', 'bad-block'],
    // A base that nobody has is waited for, within a bound.
    () => [[made({ base: sha256(`${dice.next()}`) })], 'taken'],
  ])();
  return [packBlocks(batch).packed, ...ends];
}
