/** A real browser for tests of the panel: one Chromium, a context of its own for each person. */
import { existsSync } from 'node:fs';
import { chromium, type Browser, type Page } from 'playwright-core';

const answerWithinMs = 60_000;
const binary = [process.env['CHROMIUM'] ?? '', '/usr/bin/chromium', '/usr/bin/chromium-browser'].find(
  (path) => path !== '' && existsSync(path),
);
const flags = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** Why the tests in a browser are skipped; false: they are not. In CI the lack of a browser is a failure. */
export const skipBrowser =
  binary === undefined && process.env['CI'] !== 'true' ? 'there is no Chromium here' : false;

export class TestBrowser {
  /** What the pages complained of: scripts that failed, a content security policy that was broken. */
  readonly complaints: string[] = [];

  private constructor(private readonly browser: Browser) {}

  static async launch(): Promise<TestBrowser> {
    if (binary === undefined) throw new Error('There is no Chromium.');
    return new TestBrowser(await chromium.launch({ executablePath: binary, args: flags }));
  }

  /** A person with cookies of their own, at a window `width` wide. */
  async person(width = 1280): Promise<Page> {
    const context = await this.browser.newContext({ viewport: { width, height: 900 } });
    const page = await context.newPage();
    page.setDefaultTimeout(answerWithinMs);
    page.on('pageerror', (error) => this.complaints.push(error.message));
    page.on('console', (message) => {
      // The browser itself notes every refusal (401 before signing in, say); those are looked at where they belong.
      const ofNetwork = /Failed to load resource|ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED/.test(
        message.text(),
      );
      if (message.type() === 'error' && !ofNetwork) this.complaints.push(message.text());
    });
    return page;
  }

  close(): Promise<void> {
    return this.browser.close();
  }
}
