/**
 * Erasing the records of a person in a town of two real daemons: before it the keys are found in the files of every board, and the
 * plain texts nowhere but where people sign in; after it neither is in any byte of any file, and history stands as it did.
 */
import { execFile } from 'node:child_process';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import Database from 'better-sqlite3';
import t from 'tap';
import type { Recorded } from './node/recorded.js';
import type { EntryView, PersonView } from './node/use-cases.js';
import { eventually } from './testing/eventually.js';
import { PASSPHRASE } from './testing/running-town.js';
import { STEWARD_NAME as ADA, TownOfNodes, type Board } from './testing/town-of-nodes.js';

t.setTimeout(600_000);

const cli = fileURLToPath(new URL('./cli/town.js', import.meta.url));
const NAME = 'Zyxanthe Quorrelby';
const CONTACT = 'zyxanthe@quorrelby.example';
const REASON = 'plinthward and thrice late';
const MEMO = 'for the vermilion anvil';
const TEXTS = [NAME, 'Quorrelby', CONTACT, REASON, MEMO];

/** Where in the files of a data folder the bytes are found: paths, each once. */
async function filesWith(folder: string, wanted: readonly (string | Buffer)[]): Promise<readonly string[]> {
  const found: string[] = [];
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    // Files come and go while the daemon works.
    const bytes = await readFile(path).catch(() => Buffer.alloc(0));
    if (wanted.some((text) => bytes.includes(text))) found.push(relative(folder, path));
  }
  return found.sort();
}

interface KeyRow {
  readonly subject: string;
  readonly key: Buffer;
}

/** The keys of records of these people that a board has. */
function keysAt({ folder }: Board, owners: readonly string[]): readonly Buffer[] {
  const db = new Database(join(folder, 'town.db'), { readonly: true });
  try {
    return db
      .prepare<[], KeyRow>('SELECT subject, key FROM private_keys')
      .all()
      .filter(({ subject }) => owners.includes(subject.split(' ', 1)[0] as string))
      .map(({ key }) => key);
  } finally {
    db.close();
  }
}

const personAt = async (board: Board, id: string): Promise<PersonView> => {
  const person = (await board.get<PersonView[]>('/api/people')).find((each) => each.id === id);
  if (!person) throw new Error(`${board.key} does not know ${id}.`);
  return person;
};

t.test('after erasure no byte of the records or of their keys is in any file of any board', async (t) => {
  const town = await TownOfNodes.open({ folder: t.testdir(), names: ['House', 'Workshop'] });
  t.teardown(() => town.close());
  const [house, workshop] = town.boards as readonly [Board, Board];

  const added = await house.post<Recorded & { person: string }>(ADA, '/api/people', {
    name: NAME,
    contact: CONTACT,
  });
  const { person } = added;
  const badgeNumber = '40302010';
  const { badge } = await house.post<Recorded & { badge: string }>(ADA, '/api/badges', {
    person,
    badgeNumber,
  });
  const spare = { person, badgeNumber: '40302011' };
  await house.post(ADA, '/api/badges', spare);
  const { id: door } = await house.door();
  const tap = (): Promise<{ code: string }> => house.post(ADA, `/api/doors/${door}/tap`, { badgeNumber });
  await eventually('the badge opens', async () => (await tap()).code === 'granted');
  await house.post(ADA, `/api/badges/${badge}/revoke`, { reason: REASON });
  await eventually('the badge is refused', async () => (await tap()).code === 'badge-revoked');
  const member = await town.founder.post<{ code: string }>(ADA, '/api/members/invitations', { name: NAME });
  const joined = await house.api('POST', '/api/members/join', { code: member.code, passphrase: PASSPHRASE });
  t.equal(joined.status, 200);
  const session = joined.body as { member: string; token: string; entry: string };
  house.remember(NAME, session.token);
  await town.converged();
  const ada = (await house.get<{ member: string }>('/api/session')).member;
  await house.post(NAME, '/api/credits/transfer', { to: ada, amount: 5, memo: MEMO });
  await town.converged();
  t.equal((await personAt(house, person)).member, session.member);

  await eventually(
    'the other board shows the name',
    async () => (await personAt(workshop, person)).name === NAME,
  );
  await eventually('and has every key', async () => {
    const owners = [person, session.member];
    return keysAt(workshop, owners).length === keysAt(house, owners).length;
  });
  const keys = keysAt(house, [person, session.member]);
  t.ok(keys.length >= 4, 'profile, reasons, doors, notes');
  for (const board of town.boards) {
    t.ok(
      (await filesWith(board.folder, keys)).some((path) => path.startsWith('town.db')),
      'the search finds keys',
    );
    await writeFile(join(board.folder, 'town.db.before-3'), keys[0] as Buffer);
    await mkdir(join(board.folder, 'damaged'));
    await writeFile(join(board.folder, 'damaged', '1700000000000-town.db'), keys[0] as Buffer);
    await writeFile(join(board.folder, 'gate', 'journal.bad-1700000000000'), REASON);
    const aside = join(board.folder, 'set-aside-2026-01-01T00-00-00-000Z');
    await mkdir(join(aside, 'keys', 'members'), { recursive: true });
    await writeFile(join(aside, 'town.db'), keys[1] as Buffer);
    await writeFile(join(aside, 'keys', 'members', `${session.member}.json`), NAME);
    await writeFile(join(board.folder, 'keys', 'members', `${'0'.repeat(64)}.json.unused`), NAME);
  }
  t.ok(
    (await filesWith(house.folder, [NAME])).some((path) => path.startsWith('keys/members/')),
    'and texts',
  );
  t.same(await filesWith(house.folder, [CONTACT, MEMO]), [], 'what is sealed is in no file in plain');

  const erased = await house.post<Recorded & { badges: number }>(ADA, `/api/people/${person}/erase`);
  t.equal(erased.badges, 1, 'the badge that was not revoked yet');
  await town.converged();
  await house.post(ADA, '/api/people', { name: 'Somebody else' });
  await town.converged();
  for (const board of town.boards) {
    await eventually(
      `no file of ${board.key} has a key or a text`,
      async () => (await filesWith(board.folder, [...keys, ...TEXTS])).length === 0,
      { withinMs: 180_000, last: () => filesWith(board.folder, [...keys, ...TEXTS]) },
    );
    t.match(await personAt(board, person), { name: null, contact: null, record: 'erased', status: 'active' });
    const { entry } = await board.get<{ entry: EntryView }>(`/api/ledger/show/${added.entry}`);
    t.match(entry.body, { profile: '(erased)' });
    t.notMatch(board.town.said(), NAME, 'nor has it said the name');
    t.notMatch(JSON.stringify(await board.get('/api/doors/events?limit=100')), REASON);
  }
  const named = await house.api('POST', '/api/session', { name: NAME, passphrase: PASSPHRASE });
  t.equal(named.status, 401);
  const byId = await house.api('POST', '/api/session', { name: session.member, passphrase: PASSPHRASE });
  t.equal(byId.status, 200, 'the member signs in by their id from now on');
  t.equal((await tap()).code, 'badge-revoked', 'a badge that is tapped afterwards is refused as before');
  const anew = [...keysAt(house, [person, session.member]), ...keysAt(workshop, [person, session.member])];
  t.same(anew, [], 'and recorded without the person');
  const again = await (await house.as(ADA))('POST', `/api/people/${person}/suspend`, { reason: 'again' });
  t.match(again.body, { error: { code: 'record-erased' } });
  t.same(await town.gitProblems(), []);

  for (const board of [...town.boards].reverse()) await board.stop();
  for (const board of town.boards) {
    t.same(await filesWith(board.folder, [...keys, ...TEXTS]), [], `${board.key}, stopped`);
    const { stdout } = await promisify(execFile)(process.execPath, [cli, 'verify', '--data', board.folder]);
    t.match(stdout, /All of it holds/, `town verify of ${board.key}`);
  }
});
