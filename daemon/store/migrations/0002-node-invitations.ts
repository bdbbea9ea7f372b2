/**
 * Invitations for nodes, as their host keeps them: `text` is the whole record, which holds the invitation's secret.
 * The daemon bounds how many there are.
 */
export const sql = `
CREATE TABLE node_invitations (id TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID, STRICT;
`;
