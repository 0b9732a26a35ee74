import { connect } from 'node:net';

import { FrameReader } from './frame-reader.js';
import { encodeClientFrame, upgradeRequest } from './websocket-client.js';

const OPCODE_CLOSE = 8;
const OPCODE_PING = 9;
const OPCODE_PONG = 10;

/**
 * One read buffer for every socket: a read and its callback are one synchronous step, so nothing is
 * allocated per read.
 */
const READ_BUFFER = Buffer.allocUnsafeSlow(256 * 1024);

/**
 * A WebSocket client that counts what it receives and keeps nothing of it.
 *
 * @typedef {object} DashboardOptions
 * @property {number} index
 * @property {number} port
 * @property {string} localAddress
 * @property {string} path
 * @property {string} token
 * @property {number[]} devices
 * @property {import('./dialects.js').Dialect} dialect
 * @property {import('./delivery-sink.js').DeliverySink} sink
 * @property {(dashboard: Dashboard) => void} onReady
 * @property {(dashboard: Dashboard, wasReady: boolean) => void} onGone
 */
export class Dashboard {
  #options;
  #reader = new FrameReader();
  #socket;
  #state = 'connecting';
  #closeCode = '';

  /** @param {DashboardOptions} options */
  constructor(options) {
    this.#options = options;
    this.classify = options.dialect.classify;
    this.#socket = connect({
      host: '127.0.0.1',
      port: options.port,
      localAddress: options.localAddress,
      noDelay: true,
      onread: { buffer: READ_BUFFER, callback: (length) => this.#read(length) },
    });
    this.#socket.on('connect', () => this.#socket.write(upgradeRequest(this.#request())));
    this.#socket.on('error', (error) => (this.#closeCode ||= error.code ?? 'error'));
    this.#socket.on('close', () => this.#gone());
  }

  get sink() {
    return this.#options.sink;
  }

  get index() {
    return this.#options.index;
  }

  get port() {
    return this.#options.port;
  }

  get devices() {
    return this.#options.devices;
  }

  get isReady() {
    return this.#state === 'ready';
  }

  /** Called by the dialect when the connection has its rooms. */
  ready() {
    if (this.#state === 'open') {
      this.#state = 'ready';
      this.#options.onReady(this);
    }
  }

  /** @param {Buffer} bytes */
  write(bytes) {
    this.#socket.write(bytes);
  }

  /** Stops reading, as a tab in a sleeping phone does. */
  pause() {
    this.#socket.pause();
  }

  resume() {
    this.#socket.resume();
  }

  /** Ends without a closing handshake. */
  drop() {
    this.#closeCode ||= 'dropped';
    this.#socket.resetAndDestroy();
  }

  onControl(opcode, buffer, start, end) {
    if (opcode < OPCODE_CLOSE) {
      this.#options.dialect.onData(this, buffer, start, end);
    } else if (opcode === OPCODE_PING) {
      this.sink.pings++;
      this.write(encodeClientFrame(OPCODE_PONG, Buffer.from(buffer.subarray(start, end))));
    } else if (opcode === OPCODE_CLOSE) {
      this.#closeCode ||= end - start >= 2 ? String(buffer.readUInt16BE(start)) : '1005';
      this.#socket.destroy();
    }
  }

  #request() {
    const { port, path, token, dialect } = this.#options;
    return { host: `127.0.0.1:${port}`, path, token, headers: dialect.headers };
  }

  #read(length) {
    if (this.#state === 'connecting') {
      this.#readUpgrade(length);
    } else {
      this.#reader.push(READ_BUFFER, length, this);
    }
    return true;
  }

  #readUpgrade(length) {
    const end = READ_BUFFER.indexOf('\r\n\r\n');
    if (end < 0 || end >= length || !READ_BUFFER.toString('latin1', 0, 12).endsWith(' 101')) {
      this.#closeCode ||= `http ${READ_BUFFER.toString('latin1', 9, 12)}`;
      this.#socket.destroy();
      return;
    }
    this.#state = 'open';
    this.#options.dialect.onUpgrade?.(this);
    const rest = end + 4;
    if (rest < length) {
      this.#reader.push(READ_BUFFER.subarray(rest, length), length - rest, this);
    }
  }

  #gone() {
    const wasReady = this.isReady;
    this.#state = 'closed';
    this.sink.countClose(this.#closeCode || 'end');
    this.#options.onGone(this, wasReady);
  }
}
