import { afterClose } from './reconnect.js';

/** A longer token may not fit into request headers: it goes as the first message. */
const MAX_HEADER_TOKEN = 8_000;
/** A connection that stood this long is good: the next wait starts small again. */
const STABLE_MS = 10_000;
const ANSWER_MS = 10_000;
const DEFAULT_HEARTBEAT_MS = 30_000;

/**
 * The WebSocket with everything around it: token, waiting, reconnecting, and noticing a connection that is dead without saying so.
 *
 * @typedef {{
 *   onState(state: 'connecting' | 'live' | 'waiting' | 'closed' | 'stopped', detail?: { until?: number, why?: string }): void,
 *   onConnected(message: object): void,
 *   onMessage(message: object): void,
 *   onSignIn(why: string): void,
 * }} Listener
 */
export class Connection {
  /** @param {Listener} listener */
  constructor(url, listener) {
    this.url = url;
    this.listener = listener;
    this.socket = undefined;
    this.attempt = 0;
    this.patient = false;
    this.timers = { retry: undefined, stable: undefined, ping: undefined, answer: undefined };
    // A phone that wakes up, or a network that is back, need not wait out the pause.
    addEventListener('online', () => this.hurry());
    document.addEventListener(
      'visibilitychange',
      () => document.visibilityState === 'visible' && this.hurry(),
    );
  }

  open(token) {
    this.close();
    this.token = token;
    this.attempt = 0;
    this.connect();
  }

  close() {
    this.abandon();
    clearTimeout(this.timers.retry);
    this.timers.retry = undefined;
    this.token = undefined;
    this.listener.onState('closed');
  }

  /** @returns false when there is no connection now */
  send(message) {
    return this.sendText(JSON.stringify(message));
  }

  /** @returns false when there is no connection now */
  sendText(text) {
    if (this.socket?.readyState !== WebSocket.OPEN) {
      return false;
    }
    this.socket.send(text);
    return true;
  }

  connect() {
    this.timers.retry = undefined;
    this.listener.onState('connecting');
    const inHeader = this.token.length <= MAX_HEADER_TOKEN && /^[\w.-]+$/.test(this.token);
    const protocols = inHeader ? ['sluice.v1', `bearer.${this.token}`] : ['sluice.v1'];
    const socket = new WebSocket(this.url, protocols);
    this.socket = socket;
    socket.onopen = () => {
      if (!inHeader) {
        this.send({ type: 'auth', token: this.token });
      }
    };
    socket.onmessage = ({ data }) => this.onData(data);
    socket.onclose = (event) => this.onClose(event);
  }

  onData(data) {
    clearTimeout(this.timers.answer);
    const message = JSON.parse(data);
    if (message.type === 'connected') {
      this.onConnected(message);
    } else if (message.type !== 'pong') {
      this.listener.onMessage(message);
    }
  }

  onConnected(message) {
    this.timers.stable = setTimeout(() => (this.attempt = 0), STABLE_MS);
    this.timers.ping = setInterval(() => this.ping(), message.heartbeatMs || DEFAULT_HEARTBEAT_MS);
    this.listener.onState('live');
    this.listener.onConnected(message);
  }

  /** A page cannot see the server's pings; its own tell it when nobody is there any more. */
  ping() {
    if (this.send({ type: 'ping' })) {
      clearTimeout(this.timers.answer);
      this.timers.answer = setTimeout(() => this.lost(), ANSWER_MS);
    }
  }

  lost() {
    this.abandon();
    this.onClose({ code: 1006, reason: '' });
  }

  onClose({ code, reason }) {
    this.abandon();
    const next = afterClose({ code, reason }, this.attempt);
    if (next.action === 'retry') {
      this.attempt++;
      this.patient = next.patient;
      this.listener.onState('waiting', { until: Date.now() + next.delayMs });
      this.timers.retry = setTimeout(() => this.connect(), next.delayMs);
    } else if (next.action === 'sign-in') {
      this.listener.onState('closed');
      this.listener.onSignIn(next.why);
    } else {
      this.listener.onState('stopped', { why: next.why });
    }
  }

  /** Ends the wait, but not one that the server has asked for. */
  hurry() {
    if (this.timers.retry !== undefined && !this.patient) {
      clearTimeout(this.timers.retry);
      this.timers.retry = setTimeout(() => this.connect(), Math.random() * 500);
    }
  }

  /** Leaves the socket at once: the closing handshake of a dead one takes minutes. */
  abandon() {
    const { socket } = this;
    clearTimeout(this.timers.stable);
    clearTimeout(this.timers.answer);
    clearInterval(this.timers.ping);
    if (socket !== undefined) {
      this.socket = undefined;
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
  }
}
