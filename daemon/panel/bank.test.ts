/** The bank in two browsers, wide and narrow: credits at boards, and dues. */
import type { Page } from 'playwright-core';
import t from 'tap';
import { apiOf, PASSPHRASE, setUp, startTown, type RunningTown } from '../testing/running-town.js';
import { skipBrowser, TestBrowser } from './testing/browser.js';
import { faultsOf } from './testing/page-checks.js';

const mergedWithinMs = 180_000;
t.setTimeout(600_000);

async function openBank(page: Page, town: RunningTown, name: string): Promise<void> {
  await page.goto(town.url);
  await page.getByLabel('Name').fill(name);
  await page.getByLabel('Passphrase', { exact: true }).fill(PASSPHRASE);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('link', { name: /^Bank/ }).first().click();
  await page.getByRole('heading', { name: 'Bank', level: 1 }).waitFor();
}

/** Kept where a folder is named, for looking at. */
const look = async (page: Page, name: string): Promise<void> => {
  const folder = process.env['LOOK'];
  if (folder !== undefined) await page.screenshot({ path: `${folder}/${name}.png`, fullPage: true });
};

t.test('the bank', { skip: skipBrowser, timeout: 600_000 }, async (t) => {
  const town = await startTown(t.testdir());
  const browser = await TestBrowser.launch();
  t.teardown(async () => {
    await browser.close();
    await town.stop();
  });
  const { api: ada } = await setUp(town);
  const { code } = (await ada('POST', '/api/members/invitations', { name: 'Bob' })).body;
  await apiOf(town)('POST', '/api/members/join', { code, passphrase: PASSPHRASE });
  await ada('POST', '/api/ledger/merge');
  const wide = await browser.person();
  const narrow = await browser.person(390);
  const card = (page: Page) => page.getByRole('region', { name: 'Your credits at boards' });

  await t.test('credits are put at a board and can be paid there once merged', async (t) => {
    await openBank(wide, town, 'Bob');
    await wide.getByText('Put credits at a board').click();
    await wide.getByLabel('Amount to put there').fill('80');
    t.same(await faultsOf(wide), []);
    await look(wide, 'bank-put-wide');
    await wide.getByRole('button', { name: 'Put there' }).click();
    await card(wide).getByText('80 credits', { exact: false }).first().waitFor();
    await wide.getByText('Pay at this board').click({ timeout: mergedWithinMs });
    await wide.getByLabel('Pay to').selectOption({ label: 'Ada' });
    await wide.getByLabel('Amount to pay').fill('30');
    t.same(await faultsOf(wide), []);
    await look(wide, 'bank-pay-wide');
    await wide.getByRole('button', { name: 'Pay', exact: true }).click();
    await card(wide).getByText('50 credits', { exact: false }).first().waitFor();
    t.same(await faultsOf(wide), []);
  });

  await t.test('on a phone the same is there, and the rest is taken back', async (t) => {
    await openBank(narrow, town, 'Bob');
    await card(narrow).getByText('50 credits', { exact: false }).first().waitFor();
    await narrow.getByText('Pay at this board').click();
    await narrow.getByText('Put credits at a board').click();
    t.same(await faultsOf(narrow), []);
    await look(narrow, 'bank-narrow');
    // Apart from the note that says what becomes of it.
    const takeBack = card(narrow).getByRole('button', { name: 'Take back', exact: true });
    await takeBack.click();
    await takeBack.waitFor({ state: 'detached' });
  });

  await t.test('dues are told to who owes and to who is owed', async (t) => {
    const me = (await ada('GET', '/api/session')).body.member as string;
    const due = { memberName: 'Bob', amount: 12, entry: 'e'.repeat(64), since: Date.now() - 3_600_000 };
    const dues = [
      { ...due, id: 'e'.repeat(64), member: 'm0123456789abcdef', to: me, toName: 'Ada', can: ['waive'] },
      { ...due, id: 'd'.repeat(64), member: me, memberName: 'Ada', to: 'vault', toName: null, can: ['pay'] },
    ];
    // A board of good faith makes no dues: this page is given some.
    for (const [page, name] of [
      [await browser.person(), 'bank-dues-wide'],
      [await browser.person(390), 'bank-dues-narrow'],
    ] as const) {
      await page.route('**/api/dues', (route) => route.fulfill({ json: dues }));
      await openBank(page, town, 'Ada');
      const shown = page.getByRole('region', { name: 'Dues' });
      await shown.getByRole('button', { name: 'Pay it' }).waitFor();
      await shown.getByRole('button', { name: 'Waive it' }).waitFor();
      t.match(await shown.innerText(), /Bob owes you 12 credits[^]*You owe the town 12 credits/);
      t.same(await faultsOf(page), []);
      await look(page, name);
    }
  });
  t.same(browser.complaints, []);
});
