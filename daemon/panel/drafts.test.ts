/** Drafts in the panel: made in the town hall, worked on with a banner that says so, shown, and brought home. */
import t from 'tap';
import { setUp, startTown, type RunningTown } from '../testing/running-town.js';
import { skipBrowser, TestBrowser } from './testing/browser.js';
import { faultsOf } from './testing/page-checks.js';

t.setTimeout(600_000);

t.test('a draft in the panel', { skip: skipBrowser, timeout: 600_000 }, async (t) => {
  const town: RunningTown = await startTown(t.testdir());
  const browser = await TestBrowser.launch();
  t.teardown(async () => {
    await browser.close();
    await town.stop();
  });
  const { token, api } = await setUp(town);
  const page = await browser.person();
  await page
    .context()
    .addCookies([{ name: 'town_session', value: token, url: town.url, httpOnly: true, sameSite: 'Strict' }]);

  await t.test('it is made in the town hall', async (t) => {
    await api('POST', '/api/ledger/merge');
    await page.goto(`${town.url}/#/town-hall`);
    await page.getByLabel('Name of a new draft').fill('budget');
    await page.getByRole('button', { name: 'Make a draft' }).click();
    await page.getByRole('heading', { name: /budget/ }).waitFor();
    t.same(await faultsOf(page), []);
  });

  await t.test('who works on it is told so on every page, and main has nothing of it', async (t) => {
    await page.getByRole('button', { name: 'Work on budget' }).click();
    const banner = page.getByRole('complementary', { name: 'Draft' });
    await banner.getByText('You work on the draft budget.').waitFor();
    await page.goto(`${town.url}/#/gigs`);
    await banner.getByText('You work on the draft budget.').waitFor();
    await page.goto(`${town.url}/#/people`);
    await page.getByLabel('Name', { exact: true }).fill('Only Here');
    await page.getByRole('button', { name: 'Add the person' }).click();
    await page.getByRole('listitem', { name: 'Only Here' }).waitFor();
    t.same(await faultsOf(page), []);
    const { body } = await api('GET', '/api/people');
    t.notOk((body as { name: string }[]).some(({ name }) => name === 'Only Here'));
    await banner.getByRole('button', { name: 'Back to main' }).click();
    await banner.waitFor({ state: 'detached' });
  });

  await t.test('the town hall shows what it holds, at 390 pixels too', async (t) => {
    await page.setViewportSize({ width: 390, height: 900 });
    await page.goto(`${town.url}/#/town-hall`);
    await page.getByText('What it holds').click();
    await page.getByText('What it would change on main').waitFor();
    await page.getByText('on main now: accepted').first().waitFor();
    t.same(await faultsOf(page), []);
    const picture = process.env['PICTURE'];
    if (picture !== undefined) await page.screenshot({ path: picture, fullPage: true });
  });

  await t.test('it is brought home', async (t) => {
    await page.getByRole('button', { name: 'Bring budget home…' }).click();
    const dialog = page.getByRole('dialog', { name: /Bring the draft budget home/ });
    await dialog.getByRole('button', { name: 'Another steward signs too' }).click();
    t.same(await faultsOf(page), []);
    await dialog.getByRole('button', { name: 'Cancel' }).click();
    await page.getByRole('button', { name: 'Bring budget home…' }).click();
    await dialog.getByRole('button', { name: 'Bring it home' }).click();
    await dialog.waitFor({ state: 'detached' });
    await page.getByText('came home').waitFor({ timeout: 60_000 });
  });

  t.same(browser.complaints, []);
});
