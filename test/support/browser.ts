import {
  type Browser,
  type BrowserContext,
  type BrowserContextOptions,
  chromium,
  type Page,
} from 'playwright-core';

const CHROMIUM = process.env['CHROMIUM_PATH'] ?? '/usr/bin/chromium';

/** No sandbox (tests may run as root), and nothing that talks to the world by itself. */
const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** A page of a real Chromium, with what went wrong on it. */
export interface WatchedPage {
  page: Page;
  /** Texts of console errors and uncaught exceptions. */
  problems: string[];
  /** Addresses of all requests. */
  requests: string[];
}

/** A browser for several tests; each page has a profile of its own. */
export class TestBrowser {
  private profile: Promise<BrowserContext> | undefined;

  private constructor(readonly browser: Browser) {}

  static async start(): Promise<TestBrowser> {
    return new TestBrowser(await chromium.launch({ executablePath: CHROMIUM, args: FLAGS }));
  }

  /** A tab of the profile that all tabs share, which costs less: a session of the dashboard is that of its tab. */
  async tab(): Promise<WatchedPage> {
    this.profile ??= this.browser.newContext({ viewport: { width: 1280, height: 800 } });
    const page = await (await this.profile).newPage();
    return { page, ...watch(page) };
  }

  async open(options: BrowserContextOptions = {}): Promise<WatchedPage> {
    const context = await this.browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
    const page = await context.newPage();
    return { page, ...watch(page) };
  }

  async stop(): Promise<void> {
    await this.browser.close();
  }
}

/** Runs `use` with a fresh browser, and ends the browser whatever happens. */
export async function withBrowser<T>(
  use: (watched: WatchedPage, browser: Browser) => Promise<T>,
  viewport = { width: 1280, height: 800 },
): Promise<T> {
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: FLAGS });
  try {
    const page = await browser.newPage({ viewport });
    return await use({ page, ...watch(page) }, browser);
  } finally {
    await browser.close();
  }
}

function watch(page: Page): { problems: string[]; requests: string[] } {
  const problems: string[] = [];
  const requests: string[] = [];
  page.on('pageerror', (error) => problems.push(error.message));
  page.on('console', (message) => {
    if (message.type() === 'error') {
      problems.push(message.text());
    }
  });
  page.on('request', (request) => requests.push(request.url()));
  return { problems, requests };
}
