import { route } from '../core/route.js';
import { Store } from '../core/store.js';
import { Session } from './session.js';
import { claimsOf, storedToken, takeTokenFromAddress } from './token.js';
import { LoginNeeded, TokenSource } from './token-source.js';

/** Why somebody is asked to sign in. */
export type SignInReason = 'first' | 'refused' | 'expired' | 'signedOut' | 'login' | 'loginFailed';

/** Who is signed in, and what is asked of the person: the page as a whole. */
class AppState extends Store {
  session: Session | undefined;
  signIn: { reason: SignInReason; loginUrl?: string | undefined } | undefined;
  /** A link brought a token while a session is open: the answer is to what was read, so later links are ignored. */
  offered: { token: string; user: string | undefined; current: string | undefined } | undefined;
  private source = new TokenSource(null);
  isStarting = true;

  async start(): Promise<void> {
    const fromAddress = takeTokenFromAddress();
    const stored = storedToken.read();
    route.start();
    addEventListener('hashchange', () => this.offer(takeTokenFromAddress()));
    this.source = await TokenSource.load();
    this.isStarting = false;
    if (stored !== undefined) {
      this.open(stored);
      this.offer(fromAddress);
    } else if (fromAddress !== undefined && fromAddress !== '') {
      this.open(fromAddress);
    } else if (this.source.canRenew) {
      await this.openBySource();
    } else {
      this.askFor('first');
    }
  }

  get hasLogin(): boolean {
    return this.source.canRenew;
  }

  open(token: string): void {
    this.session?.end();
    this.offered = undefined;
    this.signIn = undefined;
    storedToken.write(token);
    const session = new Session(token, this.source);
    this.session = session;
    session.onChange(() => this.hear(session));
    this.changed();
  }

  async openBySource(): Promise<void> {
    try {
      this.open(await this.source.ask());
    } catch (error) {
      if (error instanceof LoginNeeded) {
        this.askFor('login', error.url);
      } else {
        this.source.failed(error);
        this.askFor('loginFailed');
      }
    }
  }

  signOut(): void {
    this.session?.fleet.watched.clear();
    this.leave();
    this.askFor('signedOut');
  }

  answerOffer(accepted: boolean): void {
    const { offered } = this;
    this.offered = undefined;
    if (accepted && offered !== undefined) {
      this.open(offered.token);
    } else {
      this.changed();
    }
  }

  private offer(token: string | undefined): void {
    const current = storedToken.read();
    if (token === undefined || token === '' || token === current || this.offered !== undefined) {
      return;
    }
    if (this.session === undefined || current === undefined) {
      this.open(token);
    } else {
      this.offered = { token, user: claimsOf(token).user, current: claimsOf(current).user };
      this.changed();
    }
  }

  private hear(session: Session): void {
    const wanted = session.needsToken;
    if (session === this.session && wanted !== undefined && session.fleet.devices.size === 0) {
      this.leave();
      this.askFor(wanted);
    }
  }

  private leave(): void {
    this.session?.end();
    this.session = undefined;
    storedToken.forget();
  }

  private askFor(reason: SignInReason, loginUrl?: string): void {
    this.signIn = { reason, loginUrl };
    this.changed();
  }
}

export const app = new AppState();
