/** The writes themselves, each inside a transaction that its caller holds. */
import { hash } from 'node:crypto';
import type { Database } from 'better-sqlite3';
import { type EntryId, invariant, type MemberId, type Oid, type Sha256, TownError } from '../ledger/ids.js';
import type { GitObject } from '../ledger/git-object.js';
import { eraseRecords, noteMissing, putRecordKeys } from './record-rows.js';
import { unpackEntries, unpackState, unpackVerdicts } from './packed-rows.js';
import type { NewBlock, NewEntry, NewNotice, Ref } from './rows.js';
import { replaced, Tables } from './tables.js';
import { followFromLast, noteCut } from './arrivals.js';
import { archiveOldest, isGateRecordSeen } from './archiving.js';
import {
  entriesPerBlockMax,
  entryBytesMax,
  noticesPerMemberMax,
  type AppendBatch,
  type AppendResult,
  type CutBatch,
  type OperationName,
  type Operations,
  type PackedAdoption,
  type PackedBlock,
} from './writer-protocol.js';

type Handlers = { [Name in OperationName]: (takes: Operations[Name]['takes']) => Operations[Name]['gives'] };

interface EntryPlace {
  readonly block: Sha256 | null;
  readonly idx: number | null;
}

const sha256 = (bytes: Uint8Array): string => hash('sha256', bytes);

/** Prepares every statement once. The handlers throw TownError for what may be refused and change nothing then
 *  that the caller's rollback does not undo. */
export function makeWrites(db: Database): Handlers {
  const tables = new Tables(db);
  return {
    append: (batch) => append(batch, tables),
    putBlock: (batch) => putBlock(batch, tables),
    adopt: (batch) => adopt(batch, tables),
    cutBranch: (batch) => cutBranch(batch, tables),
    putRefs: (batch) => putRefs(batch, tables),
    logConsensus(records) {
      for (const record of records) tables.put('consensus_log', { ...record });
    },
    forgetConsensus(belowHeight) {
      tables.run('DELETE FROM consensus_log WHERE height < ?', belowHeight);
    },
    setMeta: ({ key, value }) => void putMeta(key, value, tables),
    putPrivateKey(row) {
      putRecordKeys([row], true, tables);
    },
    takeRecordKeys(rows) {
      putRecordKeys(rows, false, tables);
    },
    followRecords({ upTo, missing }) {
      noteMissing(missing, tables);
      putMeta(upTo.key, upTo.value, tables);
    },
    eraseRecords(erasure) {
      eraseRecords(erasure, db, tables);
    },
    putInvitation({ hash, text, expires }) {
      const added = tables.put('invitations', { hash, text, expires, used: null }, 'ON CONFLICT DO NOTHING');
      invariant(added === 1, 'an invitation code is random and never made twice');
    },
    useInvitation({ hash, at }) {
      const where = 'hash = @hash AND used IS NULL AND expires > @used';
      return tables.change('invitations', ['used'], where, { hash, used: at }) === 1;
    },
    putNodeInvitation({ id, text }) {
      tables.put('node_invitations', { id, text }, replaced('id', 'text'));
    },
    forgetNodeInvitation(id) {
      tables.run('DELETE FROM node_invitations WHERE id = ?', id);
    },
    dropStaged(upTo) {
      tables.run('DELETE FROM objects WHERE seq <= ?', upTo);
    },
    readNotices({ member, upTo }) {
      const where = 'member = @member AND id <= @upTo AND read = 0';
      tables.change('notices', ['read'], where, { member, upTo, read: 1 });
    },
    archive: (limits) => archiveOldest(limits, tables),
  };
}

function putMeta(key: string, value: string, tables: Tables): void {
  tables.put('meta', { key, value }, replaced('key', 'value'));
}

function putRefs(batch: { objects: readonly GitObject[]; refs: readonly Ref[] }, tables: Tables): void {
  const sql = 'INSERT INTO objects (oid, type, data) VALUES (?, ?, ?) ON CONFLICT (oid) DO NOTHING';
  for (const { oid, type, data } of batch.objects) tables.run(sql, oid, type, data);
  for (const { name, oid } of batch.refs) {
    requireRef(name, oid);
    tables.put('refs', { name, oid }, replaced('name', 'oid'));
  }
}

/** @param place in a block, where it comes with one */
function putEntry(entry: NewEntry, tables: Tables, place: EntryPlace = { block: null, idx: null }): void {
  requireEntry(entry);
  const { id, node, line, n, type, kind, by, member, at, bytes } = entry;
  const known = tables.one('SELECT archived FROM branches WHERE node = ? AND line = ?', node, line) as
    number | undefined;
  if (known === undefined) tables.put('branches', { node, line, blocked: -1, merged: -1, archived: -1 });
  // What is in the archive is not looked for by its id: an entry of the same id has the same number.
  else if (n <= known) throw numberTaken(entry);
  // One literal, so that its shape is one for every entry: this is the busiest place of the writer.
  const fresh = {
    id,
    node,
    line,
    n,
    type,
    kind,
    by,
    member,
    at,
    bytes,
    state: 'pending',
    block: place.block,
    idx: place.idx,
    height: null,
    verdict: null,
    code: null,
    reason: null,
    other: null,
    writes: null,
  };
  if (tables.put('entries', fresh, 'ON CONFLICT DO NOTHING') !== 1) throw duplicateEntry(entry, tables);
}

function append(batch: AppendBatch, tables: Tables): AppendResult {
  const skipped: string[] = [];
  const skippedEntries = new Set<EntryId>();
  const fresh = (batch.gateRecords ?? []).filter((record) => {
    if (!isGateRecordKnown(record.id, tables)) return true;
    skipped.push(record.id);
    skippedEntries.add(record.entry);
    return false;
  });
  for (const entry of batch.entries) if (!skippedEntries.has(entry.id)) putEntry(entry, tables);
  for (const { id, entry, door, at } of fresh) {
    const added = tables.put('gate_records', { id, entry, door, at }, 'ON CONFLICT DO NOTHING');
    invariant(added === 1, `gate record ${id} stands once in its batch`);
  }
  putRecordKeys(batch.privateKeys ?? [], true, tables);
  return { skipped };
}

const isGateRecordKnown = (id: string, tables: Tables): boolean =>
  tables.one('SELECT 1 FROM gate_records WHERE id = ?', id) !== undefined || isGateRecordSeen(id, tables);

function duplicateEntry(entry: NewEntry, tables: Tables): TownError {
  const sql = 'SELECT id FROM entries WHERE node = ? AND line = ? AND n = ?';
  if (tables.one(sql, entry.node, entry.line, entry.n) !== entry.id) return numberTaken(entry);
  return new TownError(
    'duplicate-entry',
    `Entry ${entry.id} is in the ledger already: an entry applies once.`,
  );
}

const numberTaken = (entry: NewEntry): TownError =>
  new TownError(
    'duplicate-entry',
    `Node ${entry.node} has an entry with number ${entry.n} on ${entry.line} already.`,
    'Sign it again with the next number.',
  );

function putBlock(batch: PackedBlock, tables: Tables): void {
  const { block, entryIds, objects, refs } = batch;
  invariant(sha256(block.raw) === block.id, 'a block is named by the SHA-256 of its bytes');
  invariant(block.entries === entryIds.length, 'a block counts the entries it holds');
  if (entryIds.length === 0 || entryIds.length > entriesPerBlockMax) {
    throw new TownError(
      'block-size',
      `A block holds 1 to ${entriesPerBlockMax} entries; this one holds ${entryIds.length}.`,
    );
  }
  if (tables.put('blocks', { ...block, height: null }, 'ON CONFLICT DO NOTHING') !== 1) {
    throw new TownError('duplicate-block', `Block ${block.id} is in the ledger already.`);
  }
  const { id, node, line } = block;
  const newEntries = unpackEntries(batch.newEntries);
  requireGrowing(block, newEntries, tables);
  const placed = putInPlace(batch, newEntries, tables);
  const free = freeRows(
    block,
    entryIds.filter((entry) => !placed.has(entry)),
    tables,
  );
  entryIds.forEach((entry, idx) => {
    if (placed.get(entry) === idx) return;
    const row = free.get(entry);
    const place = { row: row ?? null, block: id, idx };
    if (tables.change('entries', ['block', 'idx'], 'row = @row AND block IS NULL', place) === 1) return;
    throw new TownError(
      'entry-not-free',
      `Entry ${entry} is not here, stands in a block already, or is not of ${node} on ${line}.`,
    );
  });
  const mark = {
    node,
    line,
    blocked: tables.one('SELECT max(n) FROM entries WHERE block = ?', id) as number,
  };
  tables.change('branches', ['blocked'], 'node = @node AND line = @line AND blocked < @blocked', mark);
  putRefs({ objects, refs }, tables);
}

/**
 * The numbers of a branch grow from block to block. Held against the blocks that are here, whether their entries are in
 * the archive or not: every node refuses the same. And what comes from others stands on its predecessor, also where several blocks
 * are on their way at once and one of them is refused.
 */
function requireGrowing(block: NewBlock, newEntries: readonly NewEntry[], tables: Tables): void {
  const [first] = newEntries;
  if (first === undefined) return;
  const { node, line, prev } = block;
  if (prev !== null && tables.one('SELECT 1 FROM blocks WHERE id = ?', prev) === undefined)
    throw new TownError('no-predecessor', `The block before ${block.id} is not in the ledger.`);
  const sql = 'SELECT blocked FROM branches WHERE node = ? AND line = ?';
  const last = (tables.one(sql, node, line) ?? -1) as number;
  if (first.n <= last) throw numberTaken(first);
}

/** Puts the entries that came with a block where they stand in it. Those that are of another branch wait outside, to be refused. */
function putInPlace(
  { block, entryIds }: PackedBlock,
  entries: readonly NewEntry[],
  tables: Tables,
): ReadonlyMap<EntryId, number> {
  const placed = new Map<EntryId, number>();
  if (entries.length === 0) return placed;
  const places = new Map(entryIds.map((entry, idx) => [entry, idx]));
  for (const entry of entries) {
    const isOfBranch = entry.node === block.node && entry.line === block.line;
    const idx = isOfBranch ? places.get(entry.id) : undefined;
    if (idx !== undefined) placed.set(entry.id, idx);
    putEntry(entry, tables, idx === undefined ? undefined : { block: block.id, idx });
  }
  return placed;
}

/** The rows of these entries as long as they stand in no block: the lowest of their branch, or nearly. */
function freeRows(
  { node, line }: NewBlock,
  entries: readonly EntryId[],
  tables: Tables,
): Map<EntryId, number> {
  const wanted = new Set(entries);
  const rows = new Map<EntryId, number>();
  if (wanted.size === 0) return rows;
  const sql =
    'SELECT row, id, n FROM entries WHERE node = ? AND line = ? AND n > ? AND block IS NULL ORDER BY n LIMIT ?';
  const blocked = tables.one('SELECT blocked FROM branches WHERE node = ? AND line = ?', node, line);
  for (let after = (blocked ?? -1) as number; ;) {
    const page = tables.all(sql, node, line, after, entriesPerBlockMax) as Free[];
    for (const { row, id } of page) if (wanted.has(id)) rows.set(id, row);
    const last = page[entriesPerBlockMax - 1];
    if (rows.size === wanted.size || last === undefined) return rows;
    after = last.n;
  }
}

interface Free {
  readonly row: number;
  readonly id: EntryId;
  readonly n: number;
}

function adopt(batch: PackedAdoption, tables: Tables): void {
  const { merge } = batch;
  invariant(sha256(merge.raw) === merge.id, 'a merge is named by the SHA-256 of its bytes');
  const next = (tables.one('SELECT coalesce(max(height), -1) + 1 FROM merges') as number) ?? 0;
  if (merge.height !== next) {
    throw new TownError('wrong-height', `The next merge has height ${next}; this one has ${merge.height}.`);
  }
  const { height } = merge;
  tables.put('merges', { ...merge, counts: JSON.stringify(merge.counts) });
  tables.put('certificates', { height, text: batch.certificate });
  for (const id of batch.blocks) {
    const folded = tables.change('blocks', ['height'], 'id = @id AND height IS NULL', { id, height });
    invariant(folded === 1, `block ${id} is here and no earlier merge has it`);
    const mark = {
      block: id,
      merged: tables.one('SELECT max(n) FROM entries WHERE block = ?', id) as number,
    };
    const where = '(node, line) = (SELECT node, line FROM blocks WHERE id = @block) AND merged < @merged';
    tables.change('branches', ['merged'], where, mark);
  }
  const judged = ['state', 'verdict', 'code', 'reason', 'other', 'writes', 'height'];
  const which = "id = @id AND block IS NOT NULL AND state = 'pending'";
  for (const verdict of unpackVerdicts(batch)) {
    const row = { ...verdict, height };
    const count = tables.change('entries', judged, which, row);
    invariant(count === 1, `entry ${verdict.id} is here and no earlier merge has judged it`);
  }
  for (const { dapp, collection, key, value } of unpackState(batch)) {
    if (value === null) {
      tables.run('DELETE FROM state WHERE dapp = ? AND collection = ? AND key = ?', dapp, collection, key);
    } else {
      tables.put('state', { dapp, collection, key, value }, replaced('dapp, collection, key', 'value'));
    }
  }
  putNotices(batch.notices ?? [], tables);
  putRefs(batch, tables);
}

/**
 * Takes void blocks out of a branch, with their entries; git keeps them, by the refs that come along. How many blocks.
 * Each member whose entries these were is told once.
 */
function cutBranch({ node, line, from, next, refs, notice }: CutBatch, tables: Tables): number {
  const which = 'node = ? AND line = ? AND height IS NULL AND seq >= ? AND seq < ?';
  const inThem = `block IN (SELECT id FROM blocks WHERE ${which})`;
  const place = [node, line, from, next];
  const members = tables.all(
    `SELECT DISTINCT member FROM entries WHERE member IS NOT NULL AND ${inThem}`,
    ...place,
  ) as { readonly member: MemberId }[];
  const rows = tables.all(`SELECT row FROM entries WHERE ${inThem}`, ...place) as { readonly row: number }[];
  noteCut(
    rows.map(({ row }) => row),
    tables,
  );
  tables.run(`DELETE FROM entries WHERE ${inThem}`, ...place);
  followFromLast(tables);
  const cut = tables.run(`DELETE FROM blocks WHERE ${which}`, ...place);
  const sql = 'SELECT max(n) FROM entries WHERE node = ? AND line = ? AND block IS NOT NULL';
  const known = tables.one(
    'SELECT max(merged, archived) FROM branches WHERE node = ? AND line = ?',
    node,
    line,
  );
  const blocked = Math.max((tables.one(sql, node, line) ?? -1) as number, (known ?? -1) as number);
  tables.change('branches', ['blocked'], 'node = @node AND line = @line', { node, line, blocked });
  putNotices(
    members.map(({ member }) => ({ member, entry: null, ...notice })),
    tables,
  );
  putRefs({ objects: [], refs }, tables);
  return cut;
}

/** Of each member who is told something, the newest stay: what was read goes first, then the oldest. */
function putNotices(notices: readonly NewNotice[], tables: Tables): void {
  for (const { member, entry, at, text } of notices)
    tables.put('notices', { member, entry, at, text, read: 0 });
  for (const member of new Set(notices.map((notice) => notice.member))) {
    const count = tables.one('SELECT count(*) FROM notices WHERE member = ?', member) as number;
    if (count <= noticesPerMemberMax) continue;
    const sql =
      'DELETE FROM notices WHERE id IN (SELECT id FROM notices WHERE member = ? ORDER BY read DESC, id LIMIT ?)';
    tables.run(sql, member, count - noticesPerMemberMax);
  }
}

function requireEntry({ id, bytes }: NewEntry): void {
  if (bytes.byteLength > entryBytesMax) {
    throw new TownError(
      'entry-too-large',
      `An entry has at most ${entryBytesMax} bytes; this one has ${bytes.byteLength}.`,
      'Say less in it, or put large content into a blob and name it here.',
    );
  }
  invariant(sha256(bytes) === id, 'an entry is named by the SHA-256 of its canonical bytes');
}

/** Refs become file names: nothing that leaves `refs/`, nothing git would not take (git-check-ref-format). */
function requireRef(name: string, oid: Oid): void {
  const parts = name.split('/');
  const sound =
    name.length <= 200 &&
    parts.length >= 2 &&
    parts[0] === 'refs' &&
    parts.every((part) => /^[a-z0-9][a-z0-9._-]*$/.test(part) && !/\.\.|\.$|\.lock$/.test(part));
  invariant(sound, `${name} is a name for a ref`);
  invariant(/^[0-9a-f]{40}$/.test(oid), `${name} points to a git object`);
}
