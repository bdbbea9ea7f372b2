/**
 * Keys of sealed records travel: two nodes may have made one each for a subject and month while they were apart, and both stay.
 * `own`: made here; else another node gave it. `missing_keys`: what the ledger names and this node cannot open.
 */
export const sql = `
ALTER TABLE private_keys RENAME TO private_keys_before;
CREATE TABLE private_keys (
  handle TEXT PRIMARY KEY,
  subject TEXT NOT NULL,
  month TEXT NOT NULL,
  key BLOB NOT NULL,
  own INTEGER NOT NULL,
  sum BLOB NOT NULL
) STRICT;
INSERT INTO private_keys
  SELECT handle, subject, month, key, 1, row_sum(handle, subject, month, key, 1) FROM private_keys_before;
DROP TABLE private_keys_before;
CREATE INDEX private_keys_of ON private_keys (subject, month, handle);
CREATE INDEX private_keys_by_month ON private_keys (month, handle);

CREATE TABLE missing_keys (
  handle TEXT PRIMARY KEY,
  node TEXT NOT NULL,
  at INTEGER NOT NULL,
  sum BLOB NOT NULL
) WITHOUT ROWID, STRICT;
CREATE INDEX missing_keys_by_time ON missing_keys (at, handle);
`;
