import { cleanToken } from './token.js';

/** What the server says about the page: `/page.json`. */
export interface PageSettings {
  /** Where the operator's own login gives tokens (DASHBOARD_TOKEN_URL). */
  readonly tokenUrl: string | null;
}

const ANSWER_MS = 10_000;

/** There is no token: the operator's login wants somebody to sign in there first. */
export class LoginNeeded extends Error {
  /** @param url where to sign in, if the login says so */
  constructor(readonly url: string | undefined) {
    super('Sign in first');
  }
}

/**
 * The operator's own login, where there is one: `GET` of its address, with the cookies of that site, answers with a token as text or as
 * `{"token":"…"}`; 401 or 403, perhaps with `{"loginUrl":"…"}`, says that somebody has to sign in.
 */
export class TokenSource {
  lastError: unknown;

  constructor(private readonly tokenUrl: string | null) {}

  static async load(): Promise<TokenSource> {
    try {
      const response = await fetch('/page.json');
      const { tokenUrl } = (await response.json()) as PageSettings;
      return new TokenSource(tokenUrl);
    } catch {
      return new TokenSource(null);
    }
  }

  get canRenew(): boolean {
    return this.tokenUrl !== null;
  }

  async ask(): Promise<string> {
    const response = await fetch(this.tokenUrl ?? '', {
      credentials: 'include',
      headers: { accept: 'application/json, text/plain' },
      signal: AbortSignal.timeout(ANSWER_MS),
    });
    const text = await response.text();
    const answer = membersOf(text);
    if (response.status === 401 || response.status === 403) {
      throw new LoginNeeded(this.addressOf(answer['loginUrl']));
    }
    const token = cleanToken(typeof answer['token'] === 'string' ? answer['token'] : text);
    if (!response.ok || token.split('.').length !== 3) {
      throw new Error(`${this.tokenUrl} answered ${response.status} without a token`);
    }
    this.lastError = undefined;
    return token;
  }

  failed(error: unknown): void {
    this.lastError = error;
  }

  /** Only what a link may lead to. */
  private addressOf(url: unknown): string | undefined {
    if (typeof url !== 'string') {
      return undefined;
    }
    try {
      const address = new URL(url, new URL(this.tokenUrl ?? '', location.href));
      return address.protocol === 'https:' || address.protocol === 'http:' ? address.href : undefined;
    } catch {
      return undefined;
    }
  }
}

function membersOf(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}
