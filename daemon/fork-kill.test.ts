/** What was acknowledged on a draft is there after the daemon was killed, wherever it was killed. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import t from 'tap';
import { setUp, signIn, startTown, type Api, type RunningTown } from './testing/running-town.js';

t.setTimeout(600_000);

/** Calls the API for a draft. */
const onDraft =
  (town: RunningTown, token: string, draft: string): Api =>
  async (method, path, body) => {
    const response = await fetch(town.url + path, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        'x-town-line': draft,
        ...(body ? { 'content-type': 'application/json' } : {}),
      },
      ...(body ? { body: JSON.stringify(body) } : {}),
    });
    const text = await response.text();
    return { status: response.status, body: text === '' ? null : JSON.parse(text) };
  };

t.test('a daemon that is killed loses nothing of a draft', async (t) => {
  const folder = t.testdir();
  let town = await startTown(folder);
  t.teardown(() => town.kill());
  let { api, token } = await setUp(town);
  await api('POST', '/api/ledger/merge');
  t.equal((await api('POST', '/api/forks', { name: 'plan' })).status, 200);
  const gigs: string[] = [];
  for (let round = 0; round < 4; round += 1) {
    const draft = onDraft(town, token, 'plan');
    // Acknowledged, in a merge of the draft or not yet.
    for (let i = 0; i < 3; i += 1) {
      const gig = { title: `Gig ${round}-${i}`, description: '', price: 1 };
      const { status, body } = await draft('POST', '/api/gigs', gig);
      t.equal(status, 200, JSON.stringify(body));
      gigs.push(body.gig);
      if (i === round - 1) t.equal((await draft('POST', '/api/ledger/merge')).status, 200);
    }
    await town.kill();
    town = await startTown(folder);
    const session = await fetch(`${town.url}/api/session`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ name: 'Ada', passphrase: 'four plain words here' }),
    });
    ({ token } = (await session.json()) as { token: string });
    api = await signIn(town, 'Ada');
    const { body: found } = await onDraft(town, token, 'plan')('GET', '/api/gigs');
    const ids = (found as { id: string }[]).map(({ id }) => id);
    t.same([...ids].sort(), [...gigs].sort(), `round ${round}: each is there, once`);
  }
  t.equal((await onDraft(town, token, 'plan')('POST', '/api/ledger/merge')).status, 200);
  t.equal((await api('POST', '/api/forks/plan/adopt', { cosigners: [] })).status, 200);
  await api('POST', '/api/ledger/merge');
  const { body: onMain } = await api('GET', '/api/gigs');
  t.equal((onMain as unknown[]).length, gigs.length, 'all of it comes home');
  const fsck = execFileSync('git', ['-C', join(folder, 'ledger.git'), 'fsck', '--strict', '--full'], {
    encoding: 'utf8',
    stdio: 'pipe',
  });
  t.equal(fsck.trim(), '');
});
