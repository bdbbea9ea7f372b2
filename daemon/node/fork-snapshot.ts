/**
 * A merge as git has it: the whole state after it, its receipt, and its content hash, which is held against what was read.
 * So a draft fork begins from any merge, and goes on where it was after a restart.
 */
import { parseCommit, parseTree, parseTrailers, type GitObject } from '../ledger/git-object.js';
import type { Oid } from '../ledger/ids.js';
import { TownError, invariant } from '../ledger/ids.js';
import { changeTree } from '../ledger/state-tree.js';
import type { StateWrite } from '../ledger/state.js';

export type ReadObject = (oid: Oid) => Promise<GitObject>;

/** Files at the root beside `charter.json` and the folder `state`. */
const ROOT_FILES = ['genesis.json', 'receipt.json'] as const;

const textOf = ({ data }: GitObject): string => Buffer.from(data).toString('utf8');

/**
 * The state after a merge, value by value.
 * @throws TownError `no-such-object`, `repository-corrupt`, `content-differs` where what is there is not what the merge says
 */
export async function readSnapshot(read: ReadObject, merge: Oid): Promise<readonly StateWrite[]> {
  const { fields } = parseCommit((await read(merge)).data);
  const root = parseTree((await read(fields.tree)).data);
  const rows: StateWrite[] = [];
  const files: { [name: string]: string } = {};
  for (const { name, oid } of root)
    if (name === 'state') for await (const row of readDapps(read, oid)) rows.push(row);
    else if (name === 'charter.json')
      rows.push({ dapp: 'kernel', collection: 'charter', key: 'charter', value: textOf(await read(oid)) });
    else if ((ROOT_FILES as readonly string[]).includes(name)) files[name] = textOf(await read(oid));
  const says = parseTrailers(fields.message).get('Content-SHA256')?.[0];
  const { tree } = changeTree(null, rows, files);
  if (tree.content !== says)
    throw new TownError(
      'content-differs',
      `The state of the merge ${merge} in ledger.git is not what the merge says it is.`,
      'Run `town verify`: it says what is damaged.',
    );
  return rows;
}

async function* readDapps(read: ReadObject, folder: Oid): AsyncGenerator<StateWrite> {
  for (const dapp of parseTree((await read(folder)).data))
    for (const collection of parseTree((await read(dapp.oid)).data))
      yield* readCollection(read, dapp.name, collection.name, collection.oid);
}

/** The values of a collection, which may be spread over folders. */
async function* readCollection(
  read: ReadObject,
  dapp: string,
  collection: string,
  folder: Oid,
): AsyncGenerator<StateWrite> {
  for (const { name, oid, kind } of parseTree((await read(folder)).data))
    if (kind === 'folder') yield* readCollection(read, dapp, collection, oid);
    else {
      invariant(name.endsWith('.json'), 'a value of the state is a JSON file');
      yield { dapp, collection, key: name.slice(0, -'.json'.length), value: textOf(await read(oid)) };
    }
}

/** The text of a file at the root of a merge. @throws TownError `no-such-object` */
export async function readRootFile(read: ReadObject, merge: Oid, name: string): Promise<string> {
  const { fields } = parseCommit((await read(merge)).data);
  const found = parseTree((await read(fields.tree)).data).find((entry) => entry.name === name);
  if (!found) throw new TownError('no-such-object', `The merge ${merge} has no ${name}.`);
  return textOf(await read(found.oid));
}
