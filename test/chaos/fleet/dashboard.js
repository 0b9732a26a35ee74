import { WebSocket } from 'ws';

/** Full jitter: a random wait up to this, doubled per failed attempt, in ms. */
const RECONNECT_BASE_MS = 1_000;
const RECONNECT_MAX_MS = 10_000;
/** What a wait that the server named is stretched by at most, at random. */
const RETRY_JITTER = 0.1;
/** Time for the upgrade and the first `subscribed`, in ms. */
const OPEN_TIMEOUT_MS = 15_000;
/** Silence (the server's pings included) after which a connection is given up, in ms. */
const SILENCE_MS = 65_000;

/**
 * A dashboard written from the protocol document alone: subscribes to what its token names, follows positions, and after
 * a loss comes back with jitter, resumes with `since`, and does not let the server subscribe it meanwhile.
 */
export class Dashboard {
  /** @type {Map<string, import('./position-feed.js').PositionFeed>} */
  feeds = new Map();
  /** Since the last {@link mark}. */
  closes = [];
  refusals = 0;
  retryAfterMs = [];
  upstream = [];
  errors = [];
  subscribed = false;
  /** Local port of the connection now, or of the last one: which instance it went to is known to the balancer. */
  localPort = 0;
  firstSubscribedAt = 0;
  lastSubscribedAt = 0;
  #socket;
  #timer;
  #attempts = 0;
  #resuming = false;
  #answerDue = false;
  #ended = false;

  /**
   * @param {{ urls: string[], token: string, deviceIds: string[], ledger: import('./ledger.js').Ledger,
   *   Feed: typeof import('./position-feed.js').PositionFeed, onLive?: (ageMs: number) => void }} options
   */
  constructor({ urls, token, deviceIds, ledger, Feed, onLive }) {
    this.urls = urls;
    this.token = token;
    this.onLive = onLive;
    for (const id of deviceIds) {
      this.feeds.set(id, new Feed(id, ledger));
    }
  }

  mark() {
    // Nothing was known when it subscribed, so that no snapshot came: the next one is no answer.
    this.#answerDue = false;
    this.closes = [];
    this.refusals = 0;
    this.retryAfterMs = [];
    this.upstream = [];
    for (const feed of this.feeds.values()) {
      feed.mark();
      feed.resetsBefore = feed.resets;
    }
  }

  open() {
    this.#resuming = this.firstSubscribedAt > 0;
    const query = this.#resuming ? '?subscribe=none' : '';
    const url = this.urls[Math.floor(Math.random() * this.urls.length)];
    const socket = new WebSocket(`${url}${query}`, ['sluice.v1', `bearer.${this.token}`], {
      perMessageDeflate: false,
      handshakeTimeout: OPEN_TIMEOUT_MS,
    });
    this.#socket = socket;
    let refusedForMs;
    socket.on('upgrade', (response) => {
      this.localPort = response.socket.localPort;
      response.socket.setNoDelay(true);
      response.socket.setTimeout(SILENCE_MS, () => response.socket.destroy());
    });
    socket.on('unexpected-response', (request, response) => {
      const seconds = Number(response.headers['retry-after']);
      refusedForMs = Number.isFinite(seconds) ? seconds * 1000 : undefined;
      request.destroy();
    });
    socket.on('error', () => undefined); // 'close' follows
    socket.on('message', (data) => this.#take(JSON.parse(data)));
    socket.on('close', (code, reason) => {
      if (this.#ended) {
        return;
      }
      if (this.localPort === 0 || !this.#answered) {
        this.refusals += 1;
      } else {
        this.closes.push(code);
      }
      this.subscribed = false;
      this.#answered = false;
      this.#reconnect(refusedForMs ?? this.#waitNamedIn(reason.toString('utf8')));
    });
    this.#openTimer = setTimeout(() => {
      if (!this.subscribed) {
        socket.terminate();
      }
    }, OPEN_TIMEOUT_MS);
  }

  /** As if the network went: no close frame. */
  cut() {
    this.#socket?.terminate();
  }

  end() {
    this.#ended = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#openTimer);
    this.#socket?.terminate();
  }

  #answered = false;
  #openTimer;

  #reconnect(namedMs) {
    clearTimeout(this.#openTimer);
    const ceiling = Math.min(RECONNECT_MAX_MS, RECONNECT_BASE_MS * 2 ** this.#attempts);
    const waitMs =
      namedMs === undefined ? Math.random() * ceiling : namedMs * (1 + Math.random() * RETRY_JITTER);
    this.#attempts += 1;
    this.#timer = setTimeout(() => this.open(), waitMs);
  }

  #waitNamedIn(reason) {
    try {
      const { retryAfterMs } = JSON.parse(reason);
      if (typeof retryAfterMs === 'number') {
        this.retryAfterMs.push(retryAfterMs);
        return retryAfterMs;
      }
    } catch {
      // no reason, or one in words
    }
    return undefined;
  }

  #take(message) {
    const now = performance.now();
    switch (message.type) {
      case 'telemetry':
        if (this.feeds.get(message.deviceId).telemetry(message, now) && message.payload.t !== undefined) {
          this.onLive?.(now - message.payload.t);
        }
        break;
      case 'connected':
        this.#answered = true;
        if (this.#resuming) {
          this.#resume();
        }
        break;
      case 'subscribed':
        this.#answerDue = true;
        this.subscribed = true;
        this.#attempts = 0;
        this.lastSubscribedAt = now;
        this.firstSubscribedAt ||= now;
        for (const room of message.rooms) {
          this.feeds.get(room.deviceId).subscribed(room);
        }
        if (message.denied.length > 0) {
          this.errors.push(`denied ${message.denied.length}`);
        }
        break;
      case 'snapshot':
        for (const device of message.devices) {
          this.feeds.get(device.deviceId).snapshot(device, this.#answerDue);
        }
        this.#answerDue &&= message.more === true;
        break;
      case 'upstream':
        this.upstream.push(message.mqtt);
        break;
      case 'error':
        this.errors.push(`${message.code}: ${message.error}`);
        break;
      default: // the contract: ignore what you do not know
    }
  }

  #resume() {
    const since = {};
    for (const [id, { position }] of this.feeds) {
      if (position !== null) {
        since[id] = position;
      }
    }
    this.#socket.send(JSON.stringify({ type: 'subscribe', deviceIds: [...this.feeds.keys()], since }));
  }
}
