/** The panel in a real browser, before a real daemon: what people do there, from the setup link to a merge explained. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import t from 'tap';
import { skipBrowser, TestBrowser } from './testing/browser.js';
import { faultsOf } from './testing/page-checks.js';
import { startTown, type RunningTown } from '../testing/running-town.js';

const passphrase = 'gravel lantern orbit mustard';

t.setTimeout(600_000);

t.test('the panel before a running town', { skip: skipBrowser, timeout: 600_000 }, async (t) => {
  const folder = t.testdir();
  let town: RunningTown = await startTown(folder, { arguments: ['--town-name', 'Harbour Makers'] });
  const browser = await TestBrowser.launch();
  t.teardown(async () => {
    await browser.close();
    await town.stop();
  });
  const person = (width?: number) => browser.person(width);
  const open = (page: Page, address: string) => page.goto(`${town.url}${address}`);
  const outbox = (page: Page) => page.getByRole('region', { name: 'What you just did' });

  const steward = await person();
  let badgeNumber = '';

  await t.test('the checks of pages see what is wrong with one', async (t) => {
    const page = await person();
    await page.setContent(
      '<body style="background:#fff"><p style="color:#999">pale</p><input><button style="width:9px">x</button><svg></svg>',
    );
    const faults = (await faultsOf(page)).join('\n');
    for (const fault of [
      /no language/,
      /one h1/,
      /no label/,
      /only \d+ × \d+: <button> x/,
      /contrast 2\.8\d: <p> pale/,
      /drawing/,
    ])
      t.match(faults, fault);
    await page.context().close();
  });

  await t.test('a wrong setup link is refused and says what to do', async (t) => {
    await open(steward, '/setup#not-the-token');
    await fillNewAccount(steward, 'Stella');
    await steward.getByRole('button', { name: 'Set up the town' }).click();
    await steward.getByText('A setup link works once').waitFor();
    await steward.getByRole('alert').filter({ hasText: 'code:' }).waitFor();
    t.same(await faultsOf(steward), []);
  });

  await t.test('the form tells what is missing before anything is sent', async () => {
    await steward.goto('about:blank');
    await steward.goto(town.setupLink ?? '');
    await steward.getByRole('button', { name: 'Set up the town' }).click();
    await steward.getByText('Say who you are').waitFor();
    await steward.getByText('Too short: 10 more characters.').first().waitFor();
    await fillNewAccount(steward, 'Stella');
    await steward.getByLabel('Passphrase again').fill('gravel lantern orbit custard');
    await steward.getByText('The two are not the same yet.').waitFor();
  });

  await t.test('the setup link makes the first steward, once', async (t) => {
    await steward.getByLabel('Passphrase again').fill(passphrase);
    await steward.getByRole('button', { name: 'Set up the town' }).click();
    await steward.getByRole('navigation', { name: 'Map of the town' }).waitFor();
    t.equal(steward.url(), `${town.url}/#/`, 'the used link is not left in the address');

    const late = await person();
    await late.goto(town.setupLink ?? '');
    await late.getByRole('heading', { name: 'This town is set up already' }).waitFor();
    await late.getByRole('link', { name: 'Sign in' }).click();
    await late.getByLabel('Name').fill('Stella');
    await late.getByLabel('Passphrase').fill('not the passphrase');
    await late.getByRole('button', { name: 'Sign in' }).click();
    await late.getByRole('alert').filter({ hasText: 'code: wrong-passphrase' }).waitFor();
    await late.context().close();
  });

  await t.test('every building of the map is a link that works by keyboard', async (t) => {
    const map = steward.getByRole('navigation', { name: 'Map of the town' });
    t.same(
      (await map.getByRole('link').allInnerTexts()).map((text) => text.split('\n')[0]),
      ['Registry office', 'Town hall', 'Bank', 'Gatehouse', 'Job board', 'Power house', 'Post office'],
    );
    await map.getByText('You have 500 credits').waitFor();
    await map.getByRole('link', { name: /Registry office/ }).focus();
    await steward.keyboard.press('Enter');
    await steward.getByRole('heading', { level: 1, name: 'Registry office' }).waitFor();
  });

  await t.test('a person is added, and a badge enrolled by holding it to the reader', async (t) => {
    await steward.getByLabel('Name', { exact: true }).fill('Ada Lindqvist');
    await steward.getByRole('button', { name: 'Add the person' }).click();
    await outbox(steward).getByText('Add Ada Lindqvist').waitFor();
    await steward.getByRole('button', { name: 'Enrol a badge for Ada Lindqvist' }).click();
    await steward.getByRole('button', { name: 'Start listening' }).click();
    const dialog = steward.getByRole('dialog', { name: 'Badge for Ada Lindqvist' });
    await dialog.getByText('Hold the badge to the reader').waitFor();
    t.match(await dialog.getByText(/s left/).innerText(), /^(60|59|58) s left$/);
    t.same(await faultsOf(steward), []);
    badgeNumber = await dialog.getByLabel('Badge number (simulated)').inputValue();
    await dialog.getByRole('button', { name: /Tap a badge/ }).click();
    await dialog.getByText('This badge is now Ada Lindqvist’s.').waitFor();
    await dialog.getByRole('button', { name: 'Close' }).last().click();
    const ada = steward.getByRole('listitem', { name: 'Ada Lindqvist' });
    await ada.getByText('Opens every door.').waitFor();
    await ada.getByText('pending').first().waitFor({ state: 'detached' });
  });

  await t.test('a tap is seen live, and the strike moves', async () => {
    const watcher = await steward.context().newPage();
    watcher.setDefaultTimeout(60_000);
    await open(watcher, '/#/doors');
    await watcher.getByText('Strike closed').waitFor();
    await open(steward, '/#/doors');
    await tap(steward, badgeNumber);
    await steward.getByText('Ada Lindqvist: granted, the badge is good here.').waitFor();
    const line = watcher.getByRole('listitem').filter({ hasText: 'Ada Lindqvist at Front door' });
    await line.getByText('granted').waitFor();
    await watcher.getByText('Strike open: push the door').waitFor();
    await watcher.getByText('Strike closed').waitFor();
    await watcher.close();
  });

  await t.test('a revoked badge is refused with the reason', async () => {
    await open(steward, '/#/people');
    await steward.getByRole('button', { name: /^Revoke badge/ }).click();
    await steward.getByLabel('Reason').fill('lost on the tram');
    await steward.getByRole('button', { name: 'Revoke the badge' }).click();
    await steward.getByText('Revoked: lost on the tram').waitFor();
    await open(steward, '/#/doors');
    await tap(steward, badgeNumber);
    await steward.getByText('Ada Lindqvist: refused, this badge was revoked: lost on the tram.').waitFor();
  });

  await t.test('a merge is asked for, and explained as git knows it', async (t) => {
    await open(steward, '/#/ledger');
    await steward.getByRole('button', { name: 'Merge now' }).click();
    await steward.getByText(/Merged: height \d+\.|There was nothing to merge\./).waitFor();
    await steward.getByText('nothing pending').waitFor();
    await steward.getByRole('link', { name: /^Height 0 the founding of the town/ }).waitFor();
    await steward.getByRole('link', { name: 'Entries' }).click();
    await steward
      .getByRole('link', { name: /Ada Lindqvist was refused/ })
      .first()
      .click();
    await steward.getByRole('heading', { name: 'What became of it' }).waitFor();
    await steward.getByRole('link', { name: /^merge \d+/ }).click();
    await steward.getByRole('heading', { name: 'What proves it' }).waitFor();
    const explained = steward.getByRole('article').filter({ hasText: 'Ada Lindqvist was refused' });
    await explained.getByText('accepted', { exact: true }).waitFor();
    await explained.getByText('door-access.event').waitFor();
    const proof = await steward.locator('dl.proof').innerText();
    t.match(proof, /membership@[\d.]+\s+door-access@[\d.]+\s+gigs@/);
    const [oid = ''] = /\b[0-9a-f]{40}\b/.exec(proof) ?? [];
    const [content = ''] = /\b[0-9a-f]{64}\b/.exec(proof) ?? [];
    await t.test('git', { skip: gitIsThere() ? false : 'there is no git here' }, async (t) => {
      const raw = execFileSync('git', ['-C', join(folder, 'ledger.git'), 'cat-file', 'commit', oid], {
        encoding: 'utf8',
      });
      t.match(raw, `Content-SHA256: ${content}`);
    });
  });

  await t.test('an entry that a merge rejects tells why, by which rule', async (t) => {
    // A suspension is judged before everything else of its merge, and an older word does not lift a newer one.
    // On a slow machine a merge may come between the two: then it is tried again.
    const entry = await steward.evaluate(async () => {
      const call = async (path: string, body?: object) => {
        const headers = { 'content-type': 'application/json', 'x-town-csrf': '1' };
        const sent = body === undefined ? {} : { method: 'POST', headers, body: JSON.stringify(body) };
        return (await fetch(`/api${path}`, sent)).json();
      };
      const people = (await call('/people')) as { id: string; name: string }[];
      const person = people.find(({ name }) => name === 'Ada Lindqvist')?.id ?? '';
      const suspend = () => call(`/people/${person}/suspend`, { reason: 'tools not given back' });
      await suspend();
      for (let tries = 0; ; tries += 1) {
        const { entry: lifted } = (await call(`/people/${person}/reinstate`, {})) as { entry: string };
        await suspend();
        for (let state = 'pending'; state === 'pending';) {
          await new Promise((resolve) => setTimeout(resolve, 200));
          ({ state } = (await call(`/ledger/show/${lifted}`)).entry);
          if (state === 'rejected' || (state !== 'pending' && tries === 5)) return lifted;
        }
      }
    });
    await open(steward, `/#/entry/${entry}`);
    await steward.getByText('Rejected, because').waitFor();
    t.match(await steward.getByText('Rejected, because').innerText(), /because .+ \(rule [a-z-]+\)/);
    t.same(await faultsOf(steward), []);
    await steward.getByRole('link', { name: /^merge \d+/ }).click();
    await steward.getByText('1 rejected').waitFor();
    await open(steward, '/#/people');
    const ada = steward.getByRole('listitem', { name: 'Ada Lindqvist' });
    await ada.getByText('suspended', { exact: true }).waitFor();
    await ada.getByRole('button', { name: 'Reinstate Ada Lindqvist' }).click();
    await ada.getByText('suspended', { exact: true }).waitFor({ state: 'detached' });
  });

  const bruno = await person(390);

  await t.test('an invitation makes a member with an account of their own', async (t) => {
    await open(steward, '/#/bank');
    await steward.getByText('Invite a member').click();
    await steward.getByLabel('Their name').fill('Bruno Okafor');
    await steward.getByRole('button', { name: 'Make an invitation' }).click();
    const link = await steward.getByLabel('Invitation link').inputValue();
    t.match(link, /\/join#[\w-]+$/);
    await bruno.goto(link);
    await bruno.getByLabel('Passphrase', { exact: true }).fill(passphrase);
    await bruno.getByLabel('Passphrase again').fill(passphrase);
    await bruno.getByRole('button', { name: 'Join' }).click();
    await bruno.getByText('500 credits', { exact: true }).waitFor();
    await bruno.getByText('Balances are shown to their owners and to stewards only.').waitFor();
    t.same(await faultsOf(bruno), []);
    await open(bruno, '/#/people');
    await bruno.getByText('only stewards read it').waitFor();
    t.same(await faultsOf(bruno), []);
  });

  await t.test('a gig is worked through by two people, and pays by its rating', async (t) => {
    await open(steward, '/#/gigs');
    await steward.getByLabel('Title').fill('Mend the lens holder');
    await steward.getByLabel('What is to be done').fill('Glue, screws and patience.');
    await steward.getByLabel('Price in credits').fill('50');
    await steward.getByRole('button', { name: 'Put it on the board' }).click();
    const asked = steward.getByRole('article', { name: 'Mend the lens holder' });
    const offered = bruno.getByRole('article', { name: 'Mend the lens holder' });
    await open(bruno, '/#/gigs');
    await offered.getByRole('button', { name: /^Take this gig/ }).click();
    await asked.getByRole('button', { name: /^Accept the taker/ }).click();
    await offered.getByRole('button', { name: /^Hand in the work/ }).click();
    await asked.getByLabel('4 stars').check({ force: true });
    t.same(await faultsOf(steward), []);
    await asked.getByRole('button', { name: 'Rate and complete' }).click();
    await offered.getByRole('button', { name: /^Accept the rating/ }).click();
    await offered.getByText('completed').waitFor();
    await open(bruno, '/#/bank');
    await bruno.getByText('540 credits', { exact: true }).waitFor();
    await open(steward, '/#/bank');
    await steward.getByText('450 credits', { exact: true }).waitFor();
  });

  await t.test('what the ledger rejects is told with the reason', async () => {
    const give = steward.getByRole('region', { name: 'Give credits' });
    await give.getByLabel('To').selectOption({ label: 'Bruno Okafor' });
    await give.getByLabel('Amount').fill('999999');
    await give.getByRole('button', { name: 'Give' }).click();
    await steward
      .getByText(/Rejected, because|code: /)
      .first()
      .waitFor();
  });

  await t.test('every page is in order on a phone and on a desk, by day and by night', async (t) => {
    const places = [
      '',
      'doors',
      'people',
      'gigs',
      'bank',
      'ledger',
      'ledger/graph',
      'ledger/entries',
      'ledger/branches',
      'nodes',
      'town-hall',
      'you',
    ];
    for (const [width, scheme] of [
      [320, 'light'],
      [1280, 'dark'],
    ] as const) {
      await steward.setViewportSize({ width, height: 800 });
      await steward.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' });
      for (const place of places) {
        await open(steward, `/#/${place}`);
        await steward.getByRole('heading', { level: 1 }).waitFor();
        // What it loads comes from the same machine; the live stream never lets the network be idle.
        await steward.waitForTimeout(300);
        t.same(await faultsOf(steward), [], `${place || 'the map'} at ${width}, ${scheme}`);
      }
    }
  });

  await t.test('the records of a person are erased once that was confirmed', async (t) => {
    await steward.setViewportSize({ width: 390, height: 800 });
    await open(steward, '/#/people');
    await steward.getByLabel('Name', { exact: true }).fill('Ines Vorbei');
    await steward.getByRole('button', { name: 'Add the person' }).click();
    const ines = steward.getByRole('listitem', { name: 'Ines Vorbei' });
    // What is not there yet has nothing pending either.
    await ines.waitFor();
    await ines.getByText('pending').first().waitFor({ state: 'detached' });
    await ines.getByRole('button', { name: 'Erase… the records of Ines Vorbei' }).click();
    const dialog = steward.getByRole('dialog', { name: 'Erase the records of Ines Vorbei?' });
    await dialog.getByText('unreadable at every board, for good').waitFor();
    t.same(await faultsOf(steward), []);
    await dialog.getByRole('button', { name: 'Erase for good' }).click();
    // While it cannot be done the dialog stays, and says why.
    await dialog.waitFor({ state: 'detached' }).catch(async (error: unknown) => {
      throw new Error(`It was not erased: ${await dialog.innerText()}`, { cause: error });
    });
    await steward.getByRole('heading', { name: 'Erased person' }).waitFor();
    await steward.getByText('Whoever comes back is added anew.').waitFor();
    await ines.waitFor({ state: 'detached' });
    t.same(await faultsOf(steward), []);
  });

  await t.test('a lost connection is said; when the town is back, the panel is too', async () => {
    await open(steward, '/#/doors');
    await steward.getByText('Live · height').waitFor();
    const port = Number(new URL(town.url).port);
    await town.stop();
    await steward.getByText('Connection lost.').waitFor();
    town = await startTown(folder, { port });
    // Keys are unlocked in the daemon's memory only: after a restart everyone signs in again.
    await steward.getByRole('heading', { name: 'Sign in' }).waitFor({ timeout: 120_000 });
    await steward.getByLabel('Name').fill('Stella');
    await steward.getByLabel('Passphrase').fill(passphrase);
    await steward.getByRole('button', { name: 'Sign in' }).click();
    await steward.getByText('Ada Lindqvist at Front door').first().waitFor();
  });

  t.same(browser.complaints, [], 'no script failed and nothing broke the content security policy');
});

async function fillNewAccount(page: Page, name: string): Promise<void> {
  await page.getByLabel('Your name').fill(name);
  await page.getByLabel('Passphrase', { exact: true }).fill(passphrase);
  await page.getByLabel('Passphrase again').fill(passphrase);
}

async function tap(page: Page, badgeNumber: string): Promise<void> {
  const door = page.getByRole('article', { name: 'Front door' });
  await door.getByLabel('Badge number').fill(badgeNumber);
  await door.getByRole('button', { name: /^Tap/ }).click();
}

function gitIsThere(): boolean {
  try {
    execFileSync('git', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
