/** The small files of a data folder under verification: whose signatures count, keys, settings, the gate's table. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseRights } from '../gate/parse.js';
import { parseCharter } from '../ledger/charter.js';
import { TownError } from '../ledger/ids.js';
import { sealingKeyOf } from '../ledger/sealing.js';
import { readConfig } from './config.js';
import { verifyKeyFiles } from './key-check.js';
import { readNodeKeys } from './key-files.js';
import { readRestored } from './restored.js';
import { SIGNERS_META } from './signers.js';
import type { OpenedDatabase } from './opened-database.js';
import type { Findings } from './verify-report.js';

/** Each file by what can be known of it: against the database and the charter, else its form. */
export async function verifyFiles(
  folder: string,
  database: OpenedDatabase | null,
  findings: Findings,
): Promise<void> {
  await signers(folder, database, findings);
  await nodeKeys(folder, database, findings);
  await form('config.json', () => readConfig(folder), findings);
  await form('gate/rights.json', () => gateTable(folder), findings);
}

const textOf = (...path: string[]): Promise<string | null> =>
  readFile(join(...path), 'utf8').catch(() => null);

async function form(where: string, read: () => Promise<unknown>, findings: Findings): Promise<void> {
  try {
    await read();
    findings.checked.files += 1;
  } catch (error) {
    const what =
      error instanceof TownError ? error.message : `It cannot be read: ${(error as Error).message}.`;
    findings.problem(
      'files',
      where,
      what,
      'Put back a good copy of the file; the daemon names the place of a mistake.',
    );
  }
}

async function gateTable(folder: string): Promise<void> {
  const text = await textOf(folder, 'gate', 'rights.json');
  if (text !== null) parseRights(JSON.parse(text));
}

async function signers(folder: string, database: OpenedDatabase | null, findings: Findings): Promise<void> {
  const found = await textOf(folder, 'allowed_signers');
  const kept = database?.read(() => database.store.meta(SIGNERS_META)) ?? null;
  if (kept === null || found === null) return; // written when the daemon first starts
  findings.checked.files += 1;
  try {
    const expected = (JSON.parse(kept) as string[]).map((line) => `${line}\n`).join('');
    if (found === expected) return;
  } catch {
    return; // the row is damaged: told with the rows
  }
  findings.problem(
    'files',
    'allowed_signers',
    'It does not name the keys of the nodes, as the database has them.',
  );
}

async function nodeKeys(folder: string, database: OpenedDatabase | null, findings: Findings): Promise<void> {
  findings.checked.files += await verifyKeyFiles(folder, findings);
  try {
    const keys = await readNodeKeys(folder);
    const text = database?.read(() => database.store.stateValue('kernel', 'charter', 'charter')) ?? null;
    // A node that was restored observes with a key of its own; one that joins is not in the charter yet.
    if (text === null || (await readRestored(folder).catch(() => null)) !== null) return;
    const { nodes } = parseCharter(JSON.parse(text));
    const own = nodes[keys.id];
    const branch = database?.read(() => database.store.lastBlock(keys.id, 'main')) ?? null;
    if (own === undefined && branch === null && database?.read(() => database.store.meta('welcome')) === null)
      findings.problem('keys', 'keys/node.key', 'The key is that of no node of the town.');
    if (own?.sealing !== undefined && own.sealing !== sealingKeyOf(keys.sealingSecret))
      findings.problem(
        'keys',
        'keys/sealing.key',
        'The key is not the one that the charter names for this node.',
      );
  } catch (error) {
    // A file of a key is told by its name; a charter's row that is damaged with the rows.
    if (error instanceof TownError && !findings.has('keys'))
      findings.problem('keys', 'keys', error.message, error.advice);
  }
}
