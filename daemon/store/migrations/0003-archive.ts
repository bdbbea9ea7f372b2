/**
 * What makes the database small: entries whose merge is old move to `archived`, which only says where in git they are.
 * And what makes a flipped bit show: a `sum` on each row that no hash names (row-sums.ts).
 */
export const sql = `
ALTER TABLE meta ADD COLUMN sum BLOB NOT NULL DEFAULT x'';
ALTER TABLE merges ADD COLUMN sum BLOB NOT NULL DEFAULT x'';
ALTER TABLE certificates ADD COLUMN sum BLOB NOT NULL DEFAULT x'';
ALTER TABLE consensus_log ADD COLUMN sum BLOB NOT NULL DEFAULT x'';
ALTER TABLE refs ADD COLUMN sum BLOB NOT NULL DEFAULT x'';
ALTER TABLE state ADD COLUMN sum BLOB NOT NULL DEFAULT x'';
ALTER TABLE private_keys ADD COLUMN sum BLOB NOT NULL DEFAULT x'';
ALTER TABLE invitations ADD COLUMN sum BLOB NOT NULL DEFAULT x'';
ALTER TABLE node_invitations ADD COLUMN sum BLOB NOT NULL DEFAULT x'';
ALTER TABLE notices ADD COLUMN sum BLOB NOT NULL DEFAULT x'';
UPDATE meta SET sum = row_sum(key, value);
UPDATE merges SET sum = row_sum(height, id, oid, content, time, node, counts);
UPDATE certificates SET sum = row_sum(height, text);
UPDATE consensus_log SET sum = row_sum(height, round, step, kind, text, bytes);
UPDATE refs SET sum = row_sum(name, oid);
UPDATE state SET sum = row_sum(dapp, collection, key, value);
UPDATE private_keys SET sum = row_sum(handle, subject, month, key);
UPDATE invitations SET sum = row_sum(hash, text, expires, used);
UPDATE node_invitations SET sum = row_sum(id, text);
UPDATE notices SET sum = row_sum(member, entry, at, text, read);

-- How far each branch stands in blocks, is judged, and is in the archive: running numbers; -1: not at all.
-- What is pending, or in no block, is found above them: no index of its own has to be written with each entry.
CREATE TABLE branches (
  node TEXT NOT NULL,
  line TEXT NOT NULL,
  blocked INTEGER NOT NULL,
  merged INTEGER NOT NULL,
  archived INTEGER NOT NULL,
  sum BLOB NOT NULL,
  PRIMARY KEY (node, line)
) WITHOUT ROWID, STRICT;
INSERT INTO branches
  SELECT node, line, blocked, merged, -1, row_sum(node, line, blocked, merged, -1) FROM (
    SELECT node, line, coalesce(max(CASE WHEN block IS NOT NULL THEN n END), -1) AS blocked,
      coalesce(max(CASE WHEN state <> 'pending' THEN n END), -1) AS merged
    FROM entries GROUP BY node, line);

DROP INDEX entries_pending;
DROP INDEX entries_unblocked;
ALTER TABLE entries ADD COLUMN sum BLOB NOT NULL DEFAULT x'';
UPDATE entries SET sum = row_sum(id, node, line, n, type, kind, by, member, at, state, block, idx, height,
  verdict, code, reason, other, writes);

-- As before, with a number of its own that the archive can name: a rowid that no VACUUM changes.
CREATE TABLE new_blocks (
  row INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  oid TEXT NOT NULL UNIQUE,
  node TEXT NOT NULL,
  line TEXT NOT NULL,
  seq INTEGER NOT NULL,
  prev TEXT,
  base TEXT NOT NULL,
  raw BLOB NOT NULL,
  entries INTEGER NOT NULL,
  height INTEGER REFERENCES merges (height),
  sum BLOB NOT NULL
) STRICT;
INSERT INTO new_blocks
  SELECT rowid, id, oid, node, line, seq, prev, base, raw, entries, height,
    row_sum(id, oid, node, line, seq, prev, base, entries, height) FROM blocks ORDER BY rowid;
DROP TABLE blocks;
ALTER TABLE new_blocks RENAME TO blocks;
-- Not unique: two blocks with one number are evidence of equivocation, and both stay.
CREATE INDEX blocks_by_seq ON blocks (node, line, seq);
CREATE INDEX blocks_unmerged ON blocks (node, line, seq) WHERE height IS NULL;
CREATE INDEX blocks_of_merge ON blocks (height, node, seq) WHERE height IS NOT NULL;

-- Entries that only git still has. Where: the first 8 bytes of the id (as a signed big-endian number) and the row of the
-- block. A segment is closed after some thousand, so that what is written stays together; who looks asks each of them.
CREATE TABLE archived (
  segment INTEGER NOT NULL,
  id INTEGER NOT NULL,
  block INTEGER NOT NULL,
  PRIMARY KEY (segment, id, block)
) WITHOUT ROWID, STRICT;
-- Their blocks, numbered as they went there. arrivals: the numbers of arrival of its entries, in their order, as runs
-- ("7,9+2": 7, 9, 10, 11); facts: the indexes of those that are facts, likewise. ids: a check over what "archived" says.
CREATE TABLE archived_blocks (
  number INTEGER PRIMARY KEY,
  block INTEGER NOT NULL UNIQUE REFERENCES blocks (row),
  arrivals TEXT NOT NULL,
  facts TEXT NOT NULL,
  ids INTEGER NOT NULL,
  sum BLOB NOT NULL
) STRICT;

-- The newest records of each door. Its entry may be in the archive.
CREATE TABLE new_gate_records (
  id TEXT PRIMARY KEY,
  entry TEXT NOT NULL,
  door TEXT NOT NULL,
  at INTEGER NOT NULL,
  sum BLOB NOT NULL
) WITHOUT ROWID, STRICT;
INSERT INTO new_gate_records SELECT id, entry, door, at, row_sum(id, entry, door, at) FROM gate_records;
DROP TABLE gate_records;
ALTER TABLE new_gate_records RENAME TO gate_records;
CREATE INDEX gate_records_by_door ON gate_records (door, at, id);

-- Of older ones only which they were, as ranges: what a gate's journal may bring again is refused for ever.
CREATE TABLE gate_seen (
  gate TEXT NOT NULL,
  first INTEGER NOT NULL,
  last INTEGER NOT NULL,
  sum BLOB NOT NULL,
  PRIMARY KEY (gate, first)
) WITHOUT ROWID, STRICT;
`;
