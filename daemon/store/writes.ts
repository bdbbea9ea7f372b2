/** The writes themselves, each inside a transaction that its caller holds. */
import { createHash } from 'node:crypto';
import type { Database, Statement } from 'better-sqlite3';
import { type EntryId, invariant, type Oid, TownError } from '../ledger/ids.js';
import type { GitObject } from '../ledger/git-object.js';
import type { NewEntry, NewNotice, Ref } from './rows.js';
import {
  entriesPerBlockMax,
  entryBytesMax,
  noticesPerMemberMax,
  type AdoptBatch,
  type AppendBatch,
  type AppendResult,
  type BlockBatch,
  type OperationName,
  type Operations,
} from './writer-protocol.js';

type Handlers = { [Name in OperationName]: (takes: Operations[Name]['takes']) => Operations[Name]['gives'] };

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** Prepares every statement once. The handlers throw TownError for what may be refused and change nothing then
 *  that the caller's rollback does not undo. */
export function makeWrites(db: Database): Handlers {
  const prepared = new Map<string, Statement<unknown[]>>();
  const run = (sql: string, ...values: unknown[]): number => {
    let statement = prepared.get(sql);
    if (statement === undefined) prepared.set(sql, (statement = db.prepare(sql)));
    return statement.run(...values).changes;
  };
  const one = (sql: string, ...values: unknown[]): unknown => {
    let statement = prepared.get(sql);
    if (statement === undefined)
      prepared.set(sql, (statement = db.prepare(sql).pluck() as Statement<unknown[]>));
    return statement.get(...values);
  };

  const putRefs = ({ objects, refs }: { objects: readonly GitObject[]; refs: readonly Ref[] }): void => {
    for (const { oid, type, data } of objects) {
      run(
        'INSERT INTO objects (oid, type, data) VALUES (?, ?, ?) ON CONFLICT (oid) DO NOTHING',
        oid,
        type,
        data,
      );
    }
    for (const { name, oid } of refs) {
      requireRef(name, oid);
      run('INSERT INTO refs VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET oid = excluded.oid', name, oid);
    }
  };

  return {
    append: (batch) => append(batch, run, one),
    putBlock: (batch) => putBlock(batch, run, one, putRefs),
    adopt: (batch) => adopt(batch, run, one, putRefs),
    putRefs,
    logConsensus(records) {
      for (const { height, round, step, kind, text, bytes } of records) {
        run(
          'INSERT INTO consensus_log (height, round, step, kind, text, bytes) VALUES (?, ?, ?, ?, ?, ?)',
          ...[height, round, step, kind, text, bytes],
        );
      }
    },
    forgetConsensus(belowHeight) {
      run('DELETE FROM consensus_log WHERE height < ?', belowHeight);
    },
    setMeta({ key, value }) {
      run(
        'INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value',
        key,
        value,
      );
    },
    putPrivateKey(row) {
      putPrivateKeys([row], run);
    },
    putInvitation({ hash, text, expires }) {
      const added = run(
        'INSERT INTO invitations VALUES (?, ?, ?, NULL) ON CONFLICT DO NOTHING',
        hash,
        text,
        expires,
      );
      invariant(added === 1, 'an invitation code is random and never made twice');
    },
    useInvitation({ hash, at }) {
      const sql = 'UPDATE invitations SET used = ? WHERE hash = ? AND used IS NULL AND expires > ?';
      return run(sql, at, hash, at) === 1;
    },
    putNodeInvitation({ id, text }) {
      run(
        'INSERT INTO node_invitations VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET text = excluded.text',
        id,
        text,
      );
    },
    forgetNodeInvitation(id) {
      run('DELETE FROM node_invitations WHERE id = ?', id);
    },
    dropStaged(upTo) {
      run('DELETE FROM objects WHERE seq <= ?', upTo);
    },
    readNotices({ member, upTo }) {
      run('UPDATE notices SET read = 1 WHERE member = ? AND id <= ? AND read = 0', member, upTo);
    },
  };
}

type Run = (sql: string, ...values: unknown[]) => number;
type One = (sql: string, ...values: unknown[]) => unknown;

const insertEntry =
  'INSERT INTO entries (id, node, line, n, type, kind, by, member, at, bytes) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ' +
  'ON CONFLICT DO NOTHING';

function putEntry(entry: NewEntry, run: Run, one: One): void {
  requireEntry(entry);
  const { id, node, line, n, type, kind, by, member, at, bytes } = entry;
  if (run(insertEntry, id, node, line, n, type, kind, by, member, at, bytes) !== 1)
    throw duplicateEntry(entry, one);
}

function append(batch: AppendBatch, run: Run, one: One): AppendResult {
  const skipped: string[] = [];
  const skippedEntries = new Set<EntryId>();
  const fresh = (batch.gateRecords ?? []).filter((record) => {
    if (one('SELECT 1 FROM gate_records WHERE id = ?', record.id) === undefined) return true;
    skipped.push(record.id);
    skippedEntries.add(record.entry);
    return false;
  });
  for (const entry of batch.entries) if (!skippedEntries.has(entry.id)) putEntry(entry, run, one);
  for (const { id, entry, door, at } of fresh) {
    const added = run(
      'INSERT INTO gate_records VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING',
      id,
      entry,
      door,
      at,
    );
    invariant(added === 1, `gate record ${id} stands once in its batch`);
  }
  putPrivateKeys(batch.privateKeys ?? [], run);
  return { skipped };
}

function duplicateEntry(entry: NewEntry, one: One): TownError {
  if (one('SELECT 1 FROM entries WHERE id = ?', entry.id) !== undefined) {
    return new TownError(
      'duplicate-entry',
      `Entry ${entry.id} is in the ledger already: an entry applies once.`,
    );
  }
  return new TownError(
    'duplicate-entry',
    `Node ${entry.node} has an entry with number ${entry.n} on ${entry.line} already.`,
    'Sign it again with the next number.',
  );
}

function putPrivateKeys(
  rows: readonly { handle: string; subject: string; month: string; key: Uint8Array }[],
  run: Run,
): void {
  for (const { handle, subject, month, key } of rows) {
    invariant(key.byteLength === 32, 'a private key has 32 bytes');
    if (
      run(
        'INSERT INTO private_keys VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING',
        handle,
        subject,
        month,
        key,
      ) !== 1
    ) {
      throw new TownError(
        'duplicate-key',
        `There is a key of ${subject} for ${month} already, or one named ${handle}.`,
        'Use the key that is there.',
      );
    }
  }
}

function putBlock(batch: BlockBatch, run: Run, one: One, putRefs: Handlers['putRefs']): void {
  const { block, entryIds, objects, refs } = batch;
  invariant(sha256(block.raw) === block.id, 'a block is named by the SHA-256 of its bytes');
  invariant(block.entries === entryIds.length, 'a block counts the entries it holds');
  if (entryIds.length === 0 || entryIds.length > entriesPerBlockMax) {
    throw new TownError(
      'block-size',
      `A block holds 1 to ${entriesPerBlockMax} entries; this one holds ${entryIds.length}.`,
    );
  }
  const sql =
    'INSERT INTO blocks (id, oid, node, line, seq, prev, base, raw, entries) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ' +
    'ON CONFLICT DO NOTHING';
  const { id, oid, node, line, seq, prev, base, raw, entries } = block;
  if (run(sql, id, oid, node, line, seq, prev, base, raw, entries) !== 1) {
    throw new TownError('duplicate-block', `Block ${id} is in the ledger already.`);
  }
  for (const entry of batch.newEntries ?? []) putEntry(entry, run, one);
  const place =
    'UPDATE entries SET block = ?, idx = ? WHERE id = ? AND block IS NULL AND node = ? AND line = ?';
  entryIds.forEach((entry, index) => {
    if (run(place, id, index, entry, node, line) === 1) return;
    throw new TownError(
      'entry-not-free',
      `Entry ${entry} is not here, stands in a block already, or is not of ${node} on ${line}.`,
    );
  });
  putRefs({ objects, refs });
}

function adopt(batch: AdoptBatch, run: Run, one: One, putRefs: Handlers['putRefs']): void {
  const { merge } = batch;
  invariant(sha256(merge.raw) === merge.id, 'a merge is named by the SHA-256 of its bytes');
  const next = (one('SELECT coalesce(max(height), -1) + 1 FROM merges') as number) ?? 0;
  if (merge.height !== next) {
    throw new TownError('wrong-height', `The next merge has height ${next}; this one has ${merge.height}.`);
  }
  const { height, id, oid, content, time, node, raw, counts } = merge;
  run(
    'INSERT INTO merges (height, id, oid, content, time, node, raw, counts) VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
    ...[height, id, oid, content, time, node, raw, JSON.stringify(counts)],
  );
  run('INSERT INTO certificates VALUES (?, ?)', height, batch.certificate);
  for (const block of batch.blocks) {
    const folded = run('UPDATE blocks SET height = ? WHERE id = ? AND height IS NULL', height, block);
    invariant(folded === 1, `block ${block} is here and no earlier merge has it`);
  }
  for (const verdict of batch.verdicts) {
    const sql =
      'UPDATE entries SET state = ?, verdict = ?, code = ?, reason = ?, other = ?, writes = ?, height = ? ' +
      "WHERE id = ? AND state = 'pending'";
    const { state, code, reason, other, writes } = verdict;
    const judged = run(sql, state, verdict.verdict, code, reason, other, writes, height, verdict.id);
    invariant(judged === 1, `entry ${verdict.id} is here and no earlier merge has judged it`);
  }
  for (const { dapp, collection, key, value } of batch.state) {
    if (value === null) {
      run('DELETE FROM state WHERE dapp = ? AND collection = ? AND key = ?', dapp, collection, key);
    } else {
      run(
        'INSERT INTO state VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value',
        ...[dapp, collection, key, value],
      );
    }
  }
  putNotices(batch.notices ?? [], run, one);
  putRefs(batch);
}

/** Of each member who is told something, the newest stay: what was read goes first, then the oldest. */
function putNotices(notices: readonly NewNotice[], run: Run, one: One): void {
  for (const { member, entry, at, text } of notices)
    run('INSERT INTO notices (member, entry, at, text) VALUES (?, ?, ?, ?)', member, entry, at, text);
  for (const member of new Set(notices.map((notice) => notice.member))) {
    const count = one('SELECT count(*) FROM notices WHERE member = ?', member) as number;
    if (count <= noticesPerMemberMax) continue;
    const sql =
      'DELETE FROM notices WHERE id IN (SELECT id FROM notices WHERE member = ? ORDER BY read DESC, id LIMIT ?)';
    run(sql, member, count - noticesPerMemberMax);
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
