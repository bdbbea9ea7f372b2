/**
 * The first tables. Ids are text, so that a person with `sqlite3` can follow them.
 * The partial indexes hold only what is still on its way, so they stay small for ever.
 */
export const sql = `
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID, STRICT;

CREATE TABLE entries (
  row INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
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
  UNIQUE (node, line, n)
) STRICT;
CREATE INDEX entries_pending ON entries (line, node, n) WHERE state = 'pending';
CREATE INDEX entries_unblocked ON entries (node, line, n) WHERE block IS NULL;
CREATE UNIQUE INDEX entries_in_block ON entries (block, idx) WHERE block IS NOT NULL;
CREATE INDEX entries_in_merge ON entries (height, row) WHERE height IS NOT NULL;

CREATE TABLE blocks (
  id TEXT PRIMARY KEY,
  oid TEXT NOT NULL UNIQUE,
  node TEXT NOT NULL,
  line TEXT NOT NULL,
  seq INTEGER NOT NULL,
  prev TEXT,
  base TEXT NOT NULL,
  raw BLOB NOT NULL,
  entries INTEGER NOT NULL,
  height INTEGER REFERENCES merges (height)
) STRICT;
-- Not unique: two blocks with one number are evidence of equivocation, and both stay.
CREATE INDEX blocks_by_seq ON blocks (node, line, seq);
CREATE INDEX blocks_unmerged ON blocks (node, line, seq) WHERE height IS NULL;

CREATE TABLE merges (
  height INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  oid TEXT NOT NULL UNIQUE,
  content TEXT NOT NULL,
  time INTEGER NOT NULL,
  node TEXT NOT NULL,
  raw BLOB NOT NULL,
  counts TEXT NOT NULL
) STRICT;

CREATE TABLE certificates (
  height INTEGER PRIMARY KEY REFERENCES merges (height),
  text TEXT NOT NULL
) STRICT;

CREATE TABLE consensus_log (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  height INTEGER NOT NULL,
  round INTEGER NOT NULL,
  step TEXT NOT NULL,
  kind TEXT NOT NULL,
  text TEXT NOT NULL,
  bytes BLOB
) STRICT;
CREATE INDEX consensus_log_by_height ON consensus_log (height, seq);

CREATE TABLE refs (name TEXT PRIMARY KEY, oid TEXT NOT NULL) WITHOUT ROWID, STRICT;

-- Git objects that are not in the repository yet. seq never comes twice: a flush deletes up to the one it saw.
CREATE TABLE objects (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  oid TEXT NOT NULL UNIQUE,
  type TEXT NOT NULL CHECK (type IN ('blob', 'tree', 'commit')),
  data BLOB NOT NULL
) STRICT;

CREATE TABLE state (
  dapp TEXT NOT NULL,
  collection TEXT NOT NULL,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (dapp, collection, key)
) WITHOUT ROWID, STRICT;

CREATE TABLE private_keys (
  handle TEXT PRIMARY KEY,
  subject TEXT NOT NULL,
  month TEXT NOT NULL,
  key BLOB NOT NULL,
  UNIQUE (subject, month)
) STRICT;

CREATE TABLE gate_records (
  id TEXT PRIMARY KEY,
  entry TEXT NOT NULL REFERENCES entries (id),
  door TEXT NOT NULL,
  at INTEGER NOT NULL
) WITHOUT ROWID, STRICT;
CREATE INDEX gate_records_by_door ON gate_records (door, at);
CREATE INDEX gate_records_by_time ON gate_records (at);

CREATE TABLE invitations (
  hash TEXT PRIMARY KEY,
  text TEXT NOT NULL,
  expires INTEGER NOT NULL,
  used INTEGER
) WITHOUT ROWID, STRICT;

CREATE TABLE notices (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  member TEXT NOT NULL,
  entry TEXT,
  at INTEGER NOT NULL,
  text TEXT NOT NULL,
  read INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX notices_of_member ON notices (member, id);
`;
