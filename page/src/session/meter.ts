import { Store } from '../core/store.js';

const PING_EVERY_MS = 5_000;
const CONNECTED = '{"type":"connected"';
const KEPT = 24;

/** What the connection does: numbers for the person who looks, and the server's clock. */
export class Meter extends Store {
  /** Of the last round trips, in ms, the newest last. */
  readonly roundTripsMs: number[] = [];
  publications = 0;
  /** Publications that were merged into later ones, because the page shows the newest. */
  skipped = 0;
  /** Connections that went on where the one before stopped. */
  resumes = 0;
  /** Times that publications of a device were missing. */
  gaps = 0;
  /** Publications in each of the last seconds, the newest last. */
  readonly rates: number[] = [];
  /** The server's clock minus ours: ages are right on a phone whose clock is not. */
  clockOffsetMs = 0;
  private counted = 0;
  private sentAt = 0;
  /** Nobody can guess it, so that no device can pretend to be an answer. */
  private readonly pingId = `page-${crypto.getRandomValues(new Uint32Array(2)).join('-')}`;
  private readonly pong = new RegExp(`{"type":"pong","id":"${this.pingId}","serverTs":(\\d+)}`);

  /** Once a second. */
  count(): void {
    keep(this.rates, this.publications - this.counted);
    this.counted = this.publications;
    this.changed();
  }

  /** Mean of the last five seconds. */
  get perSecond(): number {
    const last = this.rates.slice(-5);
    return last.length === 0 ? 0 : last.reduce((sum, rate) => sum + rate, 0) / last.length;
  }

  get roundTripMs(): number | undefined {
    return this.roundTripsMs.at(-1);
  }

  serverNow(): number {
    return Date.now() + this.clockOffsetMs;
  }

  /** The WebSocket for the client: it measures round trips on the way. */
  get socket(): typeof WebSocket {
    // eslint-disable-next-line @typescript-eslint/no-this-alias -- the class below has a `this` of its own
    const meter = this;
    return class MeteredSocket extends WebSocket {
      constructor(url: string | URL, protocols?: string | string[]) {
        super(url, protocols);
        let timer: ReturnType<typeof setInterval> | undefined;
        this.addEventListener('message', ({ data }: MessageEvent<string>) => {
          // The answer may come in a batch, and while none is due there is nothing to look for.
          const answer = meter.sentAt === 0 ? null : meter.pong.exec(data);
          if (answer !== null) {
            meter.answered(Number(answer[1]));
          } else if (timer === undefined && data.startsWith(CONNECTED)) {
            const { serverTs } = JSON.parse(data) as { serverTs: number };
            meter.clockOffsetMs = serverTs - Date.now();
            meter.ping(this);
            timer = setInterval(() => meter.ping(this), PING_EVERY_MS);
          }
        });
        this.addEventListener('close', () => clearInterval(timer));
      }
    };
  }

  private ping(socket: WebSocket): void {
    if (socket.readyState === WebSocket.OPEN && document.visibilityState === 'visible') {
      this.sentAt = performance.now();
      socket.send(JSON.stringify({ type: 'ping', id: this.pingId }));
    }
  }

  private answered(serverTs: number): void {
    const tookMs = performance.now() - this.sentAt;
    this.clockOffsetMs = serverTs + tookMs / 2 - Date.now();
    this.sentAt = 0;
    keep(this.roundTripsMs, tookMs);
  }
}

function keep(list: number[], value: number): void {
  if (list.push(value) > KEPT) {
    list.shift();
  }
}
