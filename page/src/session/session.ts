import {
  type ClientState,
  SluiceClient,
  type SluiceError,
  type Upstream,
} from '../../../client/src/index.js';
import { Store } from '../core/store.js';
import { CommandsSent } from '../device/commands-sent.js';
import { Fleet } from '../fleet/fleet.js';
import type { Way } from '../fleet/freshness.js';
import { Meter } from './meter.js';
import { type Claims, claimsOf, storedToken } from './token.js';
import type { TokenSource } from './token-source.js';
import { Watched } from './watched.js';

/** Frames of this many ms: a page that draws sixty times a second needs no message alone. */
const BATCH_MS = 50;
/** The end of a token that nobody renews is announced so long before. */
const ANNOUNCE_MS = 5 * 60_000;

/** Everything that one token opens: the connection, the devices, and what is known of both. */
export class Session extends Store {
  readonly client: SluiceClient;
  readonly meter = new Meter();
  readonly fleet: Fleet;
  readonly commands = new CommandsSent();
  readonly openedAt = Date.now();
  claims: Claims;
  link: ClientState;
  upstream: Upstream | undefined;
  /** What the server said last that no request waits for. */
  complaint: SluiceError | undefined;
  /** Since when what is shown may be old, Unix ms of ours. */
  private lostAt: number | undefined;
  /** The token that the server saw last. */
  private shown: string | undefined;
  private readonly timer: ReturnType<typeof setInterval>;

  constructor(
    private token: string,
    private readonly source: TokenSource,
  ) {
    super();
    this.claims = claimsOf(token);
    this.client = new SluiceClient({
      url: '/ws',
      batchMs: BATCH_MS,
      WebSocket: this.meter.socket,
      // null: there is no other token, and the client waits for one.
      token: async (rejected) => (await this.newest(rejected)) as string,
    });
    this.link = this.client.state;
    this.client.on('state', (state) => this.linkIs(state));
    this.client.on('upstream', (upstream) => {
      this.upstream = upstream;
      this.changed();
    });
    this.client.on('error', (error) => {
      this.complaint = error;
      this.changed();
    });
    this.fleet = new Fleet(this.client, this.claims, new Watched(this.claims.user), this.meter);
    this.client.connect();
    this.timer = setInterval(() => this.meter.count(), 1_000);
  }

  /** What lies between the devices and the page; times are the server's. */
  get way(): Way {
    const { clockOffsetMs } = this.meter;
    return {
      lostAt: this.lostAt === undefined ? undefined : this.lostAt + clockOffsetMs,
      upstreamDownAt: this.upstream?.mqtt === 'down' ? this.upstream.changedAt : undefined,
    };
  }

  /** How late device messages come, where the server says that they are late. */
  get behindMs(): number | undefined {
    return this.upstream?.mqtt === 'up' ? this.upstream.behindMs : undefined;
  }

  get isStale(): boolean {
    return this.lostAt !== undefined || this.upstream?.mqtt === 'down';
  }

  /** The token was refused or has ended, and there is no other: somebody has to sign in. */
  get needsToken(): 'refused' | 'expired' | undefined {
    if (this.link.name !== 'closed' || (this.link.code !== 4001 && this.link.code !== 4002)) {
      return undefined;
    }
    const { expiresAt } = this.claims;
    return this.link.code === 4002 || (expiresAt !== undefined && expiresAt <= this.meter.serverNow())
      ? 'expired'
      : 'refused';
  }

  /** How long the token is still good, in ms, where its end is near and nobody renews it. */
  get endsInMs(): number | undefined {
    const { expiresAt } = this.claims;
    if (expiresAt === undefined || this.link.name === 'closed') {
      return undefined;
    }
    const leftMs = expiresAt - this.meter.serverNow();
    const announced = this.source.canRenew ? 20_000 : ANNOUNCE_MS;
    return leftMs <= announced ? Math.max(0, leftMs) : undefined;
  }

  get canRenew(): boolean {
    return this.source.canRenew;
  }

  /** Goes on with another token of the same user, on the open connection where there is one. */
  async renew(token: string): Promise<void> {
    const before = this.token;
    this.use(token);
    try {
      if (this.link.name === 'live' || this.link.name === 'resuming') {
        await this.client.refresh();
      } else {
        this.client.connect();
      }
    } catch (error) {
      this.use(before);
      throw error;
    }
  }

  /** Asks the operator's address for a newer token. */
  async renewBySource(): Promise<void> {
    await this.renew(await this.source.ask());
  }

  end(): void {
    clearInterval(this.timer);
    this.fleet.end();
    this.client.close();
  }

  private use(token: string): void {
    this.token = token;
    this.claims = claimsOf(token);
    storedToken.write(token);
    this.fleet.grant(this.claims);
    this.changed();
  }

  /** The client asks at each connect, and shortly before the token ends. */
  private async newest(rejected: boolean): Promise<string | null> {
    const { expiresAt } = this.claims;
    const isEnding = expiresAt !== undefined && expiresAt - this.meter.serverNow() < 60_000;
    if ((!rejected && !isEnding) || (rejected && this.token !== this.shown)) {
      this.shown = this.token;
      return this.token;
    }
    if (this.source.canRenew) {
      try {
        this.use(await this.source.ask());
        this.shown = this.token;
        return this.token;
      } catch (error) {
        this.source.failed(error);
      }
    }
    if (rejected && this.token === this.shown) {
      return null;
    }
    this.shown = this.token;
    return this.token;
  }

  private linkIs(state: ClientState): void {
    const before = this.link.name;
    this.link = state;
    if (state.name === 'live') {
      this.lostAt = undefined;
      this.complaint = undefined;
      if (before === 'resuming') {
        this.meter.resumes += 1;
      }
    } else if (before === 'live' || (before === 'connecting' && state.name !== 'resuming')) {
      this.lostAt ??= state.since;
    }
    if (state.name === 'connecting') {
      // What the server does not say again after connecting is up.
      this.upstream = undefined;
    }
    this.changed();
  }
}
