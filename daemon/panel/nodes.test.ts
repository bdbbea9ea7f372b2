/** Two boards in two browsers: one lets the other in, both agree on merges, and the panel tells what is going on. */
import { eventually } from '../testing/eventually.js';
import type { Page } from 'playwright-core';
import t from 'tap';
import { PASSPHRASE, setUp, startTown, type RunningTown } from '../testing/running-town.js';
import { skipBrowser, TestBrowser } from './testing/browser.js';
import { faultsOf } from './testing/page-checks.js';

/** A merge of two boards takes its time on a small machine. */
const agreeWithinMs = 180_000;

t.setTimeout(600_000);

t.test('a town of two boards', { skip: skipBrowser, timeout: 600_000 }, async (t) => {
  const folders = t.testdir({ first: {}, second: {} });
  const first = await startTown(`${folders}/first`, { arguments: ['--town-name', 'Harbour Makers'] });
  let second: RunningTown = await startTown(`${folders}/second`, { until: 'open' });
  const browser = await TestBrowser.launch();
  t.teardown(async () => {
    await browser.close();
    await Promise.all([first.stop(), second.stop()]);
  });
  const { api } = await setUp(first);
  const steward = await browser.person();
  const newcomer = await browser.person(390);
  const outbox = steward.getByRole('region', { name: 'What you just did' });
  const card = (name: string) => steward.getByRole('article', { name, exact: true });
  let code = '';

  await t.test('a steward makes an invitation for a board: a code, a link and a QR code', async (t) => {
    await signIn(steward, first);
    await steward.getByRole('link', { name: /^Power house/ }).click();
    await steward.getByText('One validator: it alone signs each merge.').waitFor();
    await steward.getByText('Invite a board').click();
    await steward.getByRole('button', { name: 'Make an invitation' }).click();
    code = await steward.getByLabel('Code', { exact: true }).inputValue();
    const link = await steward.getByLabel('Link', { exact: true }).inputValue();
    t.ok(code.length > 40 && link.endsWith(code));
    const drawn = steward.getByRole('img', { name: 'The link as a QR code' });
    t.ok(
      await drawn.evaluate((image) => (image as HTMLImageElement).naturalWidth > 20),
      'the QR code is drawn',
    );
    await steward.getByText('not used yet').waitFor();
    t.same(await faultsOf(steward), []);
  });

  await t.test('a fresh board asks from its setup page, and both screens show the same id', async (t) => {
    await newcomer.goto(second.setupLink ?? '');
    await newcomer.getByText('Join a town').click();
    await newcomer.getByRole('button', { name: 'Ask to join' }).click();
    await newcomer.getByText('Paste the code or the link').waitFor();
    await newcomer.getByLabel('Invitation code').fill('not a code');
    await newcomer.getByLabel('Name of this board').fill('Back door');
    await newcomer.getByRole('button', { name: 'Ask to join' }).click();
    await newcomer.getByRole('alert').filter({ hasText: 'code:' }).waitFor();
    t.same(await faultsOf(newcomer), []);
    await newcomer.getByLabel('Invitation code').fill(code);
    await newcomer.getByRole('button', { name: 'Ask to join' }).click();
    await newcomer.getByText('Now a steward has to approve it.').waitFor();
    t.same(await faultsOf(newcomer), []);
    const asks = steward.getByRole('region', { name: 'Back door asks to be let in' });
    const shown = await asks.locator('.id-large').innerText();
    t.match(shown, /^([0-9a-f]{4} ){3}[0-9a-f]{4}$/);
    t.equal(await newcomer.locator('.id-large').innerText(), shown);
    t.same(await faultsOf(steward), []);
  });

  await t.test('a board that is refused reads the reason on its own screen, and may ask again', async (t) => {
    const asks = steward.getByRole('region', { name: 'Back door asks to be let in' });
    await asks.getByRole('button', { name: 'Refuse Back door' }).click();
    await steward.getByLabel('Reason').fill('not on a Sunday');
    t.same(await faultsOf(steward), []);
    await steward.getByRole('button', { name: 'Refuse the board' }).click();
    await asks.waitFor({ state: 'detached' });
    await newcomer.getByText('not on a Sunday').waitFor();
    t.same(await faultsOf(newcomer), []);
    await steward.getByRole('button', { name: 'Make an invitation' }).click();
    await steward.getByText('not used yet').waitFor();
    await newcomer
      .getByLabel('Invitation code')
      .fill(await steward.getByLabel('Link', { exact: true }).inputValue());
    await newcomer.getByLabel('Name of this board').fill('Back door');
    await newcomer.getByRole('button', { name: 'Ask to join' }).click();
    await newcomer.getByText('Now a steward has to approve it.').waitFor();
    await asks.waitFor();
  });

  await t.test('the steward lets it in; its own page goes on to the town by itself', async (t) => {
    await steward.getByRole('button', { name: 'The ids are the same: let it in' }).click();
    await outbox.getByText('Let in the board Back door').waitFor();
    await newcomer.getByText('Welcome to Harbour Makers.').waitFor({ timeout: agreeWithinMs });
    t.equal(newcomer.url(), `${second.url}/#/`);
    await card('Back door').getByText('connected').waitFor({ timeout: agreeWithinMs });
    await card('Back door').getByText('has exactly what this board has').waitFor({ timeout: agreeWithinMs });
  });

  await t.test('a board that is off is not made a validator unless the steward insists', async () => {
    const port = Number(new URL(second.url).port);
    await second.stop();
    await card('Back door').getByText('not heard').waitFor();
    await card('Back door')
      .getByRole('button', { name: /Make a validator/ })
      .click();
    const dialog = steward.getByRole('dialog', { name: 'Make Back door a validator?' });
    await dialog.getByText('With two validators both must sign').waitFor();
    await dialog.getByRole('button', { name: 'Make it a validator' }).click();
    await dialog.getByText('code: node-not-heard').waitFor();
    await dialog.getByRole('button', { name: 'Do it anyway' }).waitFor();
    await dialog.getByRole('button', { name: 'Cancel' }).click();
    second = await startTown(`${folders}/second`, { port });
    await card('Back door').getByText('connected').waitFor({ timeout: agreeWithinMs });
  });

  await t.test('it becomes a validator, and from then on both sign', async () => {
    await card('Back door')
      .getByRole('button', { name: /Make a validator/ })
      .click();
    await steward.getByRole('button', { name: 'Make it a validator' }).click();
    await steward.getByText('2 validators, 2 of them must sign a merge.').waitFor({ timeout: agreeWithinMs });
    await steward.getByText('All 2 are heard just now: enough to merge.').waitFor();
    await api('POST', '/api/people', { name: 'Cleo' });
    await steward.goto(`${first.url}/#/ledger`);
    await steward.getByText('attested by 2 boards').first().waitFor({ timeout: agreeWithinMs });
  });

  await t.test('a member signs in at the second board with a key of their own there', async (t) => {
    await steward.getByRole('link', { name: 'Ada', exact: true }).click();
    const member = await steward.getByLabel('Your member id').inputValue();
    await newcomer.reload();
    await newcomer.getByRole('link', { name: 'Sign in from here for the first time' }).click();
    await newcomer.getByRole('button', { name: 'Make my key' }).click();
    await newcomer.getByText('An m and 16 digits or letters').waitFor();
    await newcomer.getByLabel('Your member id').fill(member);
    await newcomer.getByLabel('Your name').fill('Ada');
    await newcomer.getByLabel('Passphrase', { exact: true }).fill(PASSPHRASE);
    await newcomer.getByLabel('Passphrase again').fill(PASSPHRASE);
    t.same(await faultsOf(newcomer), []);
    await newcomer.getByRole('button', { name: 'Make my key' }).click();
    await newcomer.getByRole('heading', { name: 'Carry this code to your board' }).waitFor();
    t.same(await faultsOf(newcomer), []);
    await steward.getByLabel('Code').fill(await newcomer.getByLabel('Code').inputValue());
    await steward.getByRole('button', { name: 'Add the key' }).click();
    await outbox.getByText('Add a key of yours').waitFor();
    await steward.getByText(/^Kept by (another board|Back door)/).waitFor();
    await steward
      .locator('.invitations')
      .getByText('pending')
      .waitFor({ state: 'detached', timeout: agreeWithinMs });
    t.same(await faultsOf(steward), []);
    await newcomer.getByRole('link', { name: 'To the sign-in' }).click();
    await signIn(newcomer, second);
    await newcomer.getByText('2 of 2 boards here').waitFor();
  });

  await t.test('the graph shows both branches running into main, and opens what is clicked', async (t) => {
    await newcomer.goto(`${second.url}/#/people`);
    await newcomer.getByLabel('Name', { exact: true }).fill('Enid');
    await newcomer.getByRole('button', { name: 'Add the person' }).click();
    await newcomer.getByText('Accepted by a merge.').waitFor({ timeout: agreeWithinMs });
    await newcomer.goto(`${second.url}/#/ledger/graph`);
    const lanes = newcomer.getByRole('list', { name: 'Lanes, from left to right' });
    await lanes.getByText('Back door').waitFor();
    t.equal(await lanes.getByRole('listitem').count(), 3);
    await newcomer.getByRole('link', { name: /^Founding of the town/ }).waitFor();
    t.ok((await newcomer.locator('.graph-line.fold').count()) >= 3);
    t.same(await faultsOf(newcomer), []);
    await newcomer
      .getByRole('button', { name: /^Back door, block/ })
      .first()
      .click();
    const dialog = newcomer.getByRole('dialog', { name: /of Back door$/ });
    t.same(await faultsOf(newcomer), []);
    await dialog.getByRole('link', { name: /^merge \d+/ }).click();
    await newcomer.getByRole('heading', { name: 'What proves it' }).waitFor();
  });

  await t.test('what a merge rejects is told to its author until they have read it', async (t) => {
    // A suspension is judged before everything else of its merge, and an older word does not lift a newer one.
    // On a slow machine a merge may come between the two: then it is tried again.
    let state = 'pending';
    for (let tries = 0; tries < 5 && state !== 'rejected'; tries += 1) {
      const { body: dora } = await api('POST', '/api/people', { name: `Dora ${tries}` });
      const suspend = () =>
        api('POST', `/api/people/${dora.person}/suspend`, { reason: 'tools not given back' });
      await suspend();
      const { body: lifted } = await api('POST', `/api/people/${dora.person}/reinstate`);
      await suspend();
      const shown = async () => (await api('GET', `/api/ledger/show/${lifted.entry}`)).body.entry.state;
      await eventually('a verdict', async () => (state = await shown()) !== 'pending', {
        withinMs: agreeWithinMs,
      });
    }
    t.equal(state, 'rejected');
    await steward.goto(`${first.url}/#/`);
    const banner = steward.getByRole('region', { name: 'What you have not read yet' });
    await banner.getByRole('link', { name: 'See the entry' }).first().waitFor({ timeout: agreeWithinMs });
    await steward.getByRole('link', { name: /^Ada.*1 unread notice/ }).waitFor();
    t.same(await faultsOf(steward), []);
    await steward.goto(`${first.url}/#/bank`);
    await banner.getByRole('link', { name: 'See the entry' }).click();
    await steward.getByText('Rejected, because').waitFor();
    await steward.goto(`${first.url}/#/`);
    await banner.getByRole('button', { name: 'I have read it' }).click();
    await banner.waitFor({ state: 'detached' });
    await steward.getByRole('link', { name: 'Ada', exact: true }).waitFor();
  });

  await t.test('a revoked key signs in no more', async (t) => {
    await steward.getByRole('link', { name: 'Ada', exact: true }).click();
    const keys = steward.getByRole('region', { name: 'Your keys' });
    await keys
      .getByRole('listitem')
      .filter({ hasText: 'Kept by Back door' })
      .getByRole('button', { name: /^Revoke/ })
      .click();
    t.same(await faultsOf(steward), []);
    await steward.getByRole('button', { name: 'Revoke the key', exact: true }).click();
    await keys.getByText(/^revoked$/).waitFor();
    await keys.getByText('pending').waitFor({ state: 'detached', timeout: agreeWithinMs });
    await newcomer.goto(`${second.url}/#/`);
    await newcomer.reload();
    await newcomer.getByRole('heading', { name: 'Sign in' }).waitFor();
    await newcomer.getByLabel('Name').fill('Ada');
    await newcomer.getByLabel('Passphrase').fill(PASSPHRASE);
    await newcomer.getByRole('button', { name: 'Sign in' }).click();
    await newcomer.getByRole('alert').filter({ hasText: 'code:' }).waitFor();
  });

  await t.test('with one of two validators off, the panel says that nothing merges', async (t) => {
    await steward.goto(`${first.url}/#/nodes`);
    await card('Back door').getByText('connected').waitFor();
    await second.stop();
    await steward.getByText('Seen from this board, the town cannot merge.').waitFor();
    await steward.getByText('1 of 2 heard just now: 1 too few.').waitFor();
    t.same(await faultsOf(steward), []);
    await steward.goto(`${first.url}/#/`);
    await steward.getByText('Too few boards to merge').waitFor();
  });

  t.same(browser.complaints, [], 'no script failed and nothing broke the content security policy');
});

/** Signs Ada in, whatever page of the town is shown. */
async function signIn(page: Page, town: RunningTown): Promise<void> {
  await page.goto(`${town.url}/`);
  await page.getByLabel('Name').fill('Ada');
  await page.getByLabel('Passphrase').fill(PASSPHRASE);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('navigation', { name: 'Map of the town' }).waitFor();
}
