/**
 * Entries are named by id in an index from the moment on that they stand in a block. Before, their number holds them apart: an id is
 * the hash of bytes that hold the number too. So what is recorded writes one page less, each time a different one.
 */
export const sql = `
CREATE TABLE new_entries (
  row INTEGER PRIMARY KEY,
  id TEXT NOT NULL,
  node TEXT NOT NULL,
  line TEXT NOT NULL,
  n INTEGER NOT NULL,
  type TEXT NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('claim', 'fact')),
  by TEXT NOT NULL,
  member TEXT,
  at INTEGER NOT NULL,
  bytes BLOB NOT NULL,
  state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'merged', 'rejected')),
  block TEXT REFERENCES blocks (id),
  idx INTEGER,
  height INTEGER REFERENCES merges (height),
  verdict TEXT CHECK (verdict IN ('accepted', 'rejected', 'irregular')),
  code TEXT,
  reason TEXT,
  other TEXT,
  writes TEXT,
  sum BLOB NOT NULL,
  UNIQUE (node, line, n)
) STRICT;
INSERT INTO new_entries
  SELECT row, id, node, line, n, type, kind, by, member, at, bytes, state, block, idx, height, verdict, code, reason,
    other, writes, sum FROM entries ORDER BY row;
DROP TABLE entries;
ALTER TABLE new_entries RENAME TO entries;
CREATE UNIQUE INDEX entries_by_id ON entries (id) WHERE block IS NOT NULL;
CREATE UNIQUE INDEX entries_in_block ON entries (block, idx) WHERE block IS NOT NULL;
CREATE INDEX entries_in_merge ON entries (height, row) WHERE height IS NOT NULL;
`;
