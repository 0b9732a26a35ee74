import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { grantsCover, hostileToken } from './hostile-token.js';
import { deepText } from './payloads.js';

const BLOCK_BYTES = 64 * 1024;
const MAX_LEAKS = 5;

/**
 * One client session of a round, byte by byte over a plain socket: half frames, frames of a broken kind and two messages in one
 * write are things no WebSocket library sends. What comes is read as a client's author would, and held to the one rule that counts
 * for everybody: nothing of a device that the token in force does not grant.
 */
export class ClientSession {
  frames = 0;
  messages = 0;
  received = 0;
  /** @type {string[]} */
  leaks = [];
  /** What the server refused, by code: shows whether a round did anything at all. */
  answers = new Map();
  #socket;
  #rest = Buffer.alloc(0);
  #upgraded = false;
  #grants = [];
  /** Grants of each token that was sent, by the second at which it ends. */
  #tokens = new Map();
  #positions = new Map();
  #ended = false;

  /**
   * @param {object} spec of the generator
   * @param {{ port: number, secret: string, deadline: number, address: string }} surroundings
   */
  constructor(spec, surroundings) {
    this.spec = spec;
    this.surroundings = surroundings;
  }

  async run() {
    const { spec, surroundings } = this;
    const socket = connect({
      port: surroundings.port,
      host: '127.0.0.1',
      localAddress: surroundings.address,
    });
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on('error', () => undefined); // 'close' follows
    socket.on('close', () => (this.#ended = true));
    socket.on('data', (chunk) => this.#take(chunk));
    if (spec.reads === false) {
      socket.pause();
    }
    socket.write(this.#handshake());
    for (const step of spec.steps) {
      if (this.#isOver()) {
        break;
      }
      await this.#step(step);
    }
    if (spec.lingers) {
      while (!this.#isOver()) {
        await pause(20);
      }
    }
  }

  end() {
    this.#ended = true;
    this.#socket?.destroy();
  }

  #isOver() {
    return this.#ended || Date.now() > this.surroundings.deadline;
  }

  #handshake() {
    const { spec } = this;
    const query = new URLSearchParams(spec.query ?? {});
    const headers = [
      'host: test',
      'connection: Upgrade',
      'upgrade: websocket',
      `sec-websocket-key: ${randomBytes(16).toString('base64')}`,
      'sec-websocket-version: 13',
    ];
    if (spec.token !== undefined && spec.via !== 'message') {
      const { text, grants } = this.#token(spec.token);
      this.#grants = grants;
      if (spec.via === 'query') {
        query.set('token', text);
      } else if (spec.via === 'header') {
        headers.push(`authorization: Bearer ${text}`);
      } else {
        headers.push(`sec-websocket-protocol: sluice.v1, bearer.${text}`);
      }
    }
    const parameters = query.size > 0 ? `?${query}` : '';
    const request = `GET ${spec.path ?? '/ws'}${parameters} HTTP/1.1\r\n${headers.join('\r\n')}\r\n\r\n`;
    const pieces = [];
    switch (spec.opening) {
      case 'silent':
        break;
      case 'half':
        pieces.push(Buffer.from(request.slice(0, request.length / 2)));
        break;
      case 'after-http':
        pieces.push(Buffer.from('GET /health/live HTTP/1.1\r\nhost: test\r\n\r\n'), Buffer.from(request));
        break;
      case 'many-headers':
        pieces.push(Buffer.from(request.replace('host: test', `host: test${'\r\nx-a: b'.repeat(1_500)}`)));
        break;
      default:
        pieces.push(Buffer.from(request));
    }
    if (spec.token !== undefined && spec.via === 'message') {
      pieces.push(this.#frame({ op: 1, text: `{"type":"auth","token":"${this.#token(spec.token).text}"}` }));
    }
    return Buffer.concat(pieces);
  }

  #token(spec) {
    const token = hostileToken(spec, this.surroundings.secret);
    this.#tokens.set(token.expiresAt, token.grants);
    return token;
  }

  async #step(step) {
    switch (step.do) {
      case 'send':
        for (let time = 0; time < (step.times ?? 1) && !this.#isOver(); time += 1) {
          await this.#write(Buffer.concat(step.frames.map((frame) => this.#frame(frame))));
          if ((step.everyMs ?? 0) > 0) {
            await pause(step.everyMs);
          }
        }
        break;
      case 'flood': {
        const frame = this.#frame(step.frame);
        const perBlock = Math.max(1, Math.floor(BLOCK_BYTES / frame.length));
        const block = Buffer.alloc(perBlock * frame.length, frame);
        for (let sent = 0; sent < step.bytes && !this.#isOver(); sent += block.length) {
          this.frames += perBlock;
          await this.#write(block);
        }
        break;
      }
      case 'half': {
        const frame = this.#frame(step.frame);
        await this.#write(frame.subarray(0, Math.max(1, Math.floor(frame.length * step.part))));
        break;
      }
      case 'bytes':
        await this.#write(Buffer.from(step.hex, 'hex'));
        break;
      case 'pause':
        this.#socket.pause();
        break;
      case 'resume':
        this.#socket.resume();
        break;
      case 'wait':
        await pause(step.ms);
        break;
      case 'end':
        if (step.how === 'fin') {
          this.#socket.end();
        } else if (step.how === 'reset') {
          this.#socket.resetAndDestroy();
        } else {
          await this.#write(this.#frame({ op: 8, hex: step.how === 'close' ? '03e8' : '0000' }));
        }
        break;
      default:
        throw new Error(`no step ${step.do}`);
    }
  }

  /** Waits for the socket to take it, or for the end of the round. */
  #write(bytes) {
    if (this.#ended || this.#socket.write(bytes)) {
      return breathe();
    }
    return new Promise((resolve) => {
      const go = () => {
        clearTimeout(timer);
        this.#socket.off('drain', go);
        this.#socket.off('close', go);
        resolve();
      };
      const timer = setTimeout(go, Math.max(0, this.surroundings.deadline - Date.now()));
      this.#socket.once('drain', go);
      this.#socket.once('close', go);
    });
  }

  #frame({ op, text, hex, fill, fin = true, rsv = 0, masked = true }) {
    this.frames += 1;
    let payload = Buffer.alloc(fill ?? 0, 0x61);
    if (text !== undefined) {
      this.messages += 1;
      payload = Buffer.from(this.#filledIn(text));
    } else if (hex !== undefined) {
      payload = Buffer.from(hex, 'hex');
    }
    const { length } = payload;
    const header = length < 126 ? Buffer.alloc(2) : length < 65_536 ? Buffer.alloc(4) : Buffer.alloc(10);
    if (length < 126) {
      header[1] = length;
    } else if (length < 65_536) {
      header[1] = 126;
      header.writeUInt16BE(length, 2);
    } else {
      header[1] = 127;
      header.writeBigUInt64BE(BigInt(length), 2);
    }
    header[0] = (fin ? 0x80 : 0) | (rsv << 4) | op;
    header[1] |= masked ? 0x80 : 0;
    return Buffer.concat([header, masked ? Buffer.alloc(4) : Buffer.alloc(0), payload]);
  }

  /** Puts in what a round only names: ids by the thousand, depth, tokens, and positions that were told before. */
  #filledIn(text) {
    return text.replace(/"\$(\w+):([^"]*)"/g, (_, name, argument) => {
      const parts = argument.split(':');
      switch (name) {
        case 'ids': {
          const [prefix, from, count] = [parts[0], Number(parts[1]), Number(parts[2])];
          return Array.from({ length: count }, (__, index) => `"${prefix}${from + index}"`).join(',');
        }
        case 'dots':
          return Array.from({ length: Number(parts[0]) }, (__, index) =>
            JSON.stringify(`${'.'.repeat(Number(parts[1]))}${index}`),
          ).join(',');
        case 'deep':
          return deepText(Number(parts[0]), parts[1]);
        case 'since': {
          const { epoch, offset } = this.#positions.get(parts[0]) ?? { epoch: 'none', offset: 0 };
          return JSON.stringify({ epoch, offset: Math.max(0, offset + Number(parts[1])) });
        }
        case 'token':
          return `"${this.#token(JSON.parse(Buffer.from(argument, 'base64url').toString())).text}"`;
        case 'long':
          return `"${'x'.repeat(Number(parts[0]))}"`;
        default:
          return 'null';
      }
    });
  }

  #take(chunk) {
    this.#rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    if (!this.#upgraded) {
      const end = this.#rest.indexOf('\r\n\r\n');
      if (end < 0) {
        return;
      }
      const head = this.#rest.toString('latin1', 0, end);
      if (!head.startsWith('HTTP/1.1 101')) {
        // A refusal, or the answer to the request before the upgrade: what follows it is not looked at.
        this.#rest = this.spec.opening === 'after-http' ? afterBody(this.#rest, head, end) : Buffer.alloc(0);
        if (this.spec.opening === 'after-http' && this.#rest.length > 0) {
          this.#take(Buffer.alloc(0));
        }
        return;
      }
      this.#upgraded = true;
      this.#rest = this.#rest.subarray(end + 4);
    }
    for (;;) {
      const frame = frameAt(this.#rest);
      if (frame === null) {
        return;
      }
      this.#rest = this.#rest.subarray(frame.end);
      this.#receive(frame);
    }
  }

  #receive({ opcode, fin, payload }) {
    if (opcode === 9 && !this.#ended) {
      this.#socket.write(this.#frame({ op: 10, hex: payload.toString('hex') }));
    }
    if (opcode !== 1 || !fin) {
      return;
    }
    this.received += 1;
    let message;
    try {
      message = JSON.parse(payload.toString());
    } catch (error) {
      this.#leak(`a frame of ${payload.length} bytes is no JSON: ${error.message}`);
      return;
    }
    this.#judge(message);
  }

  #judge(message) {
    this.answers.set(message.code ?? message.type, (this.answers.get(message.code ?? message.type) ?? 0) + 1);
    switch (message.type) {
      case 'batch':
        message.messages.forEach((inner) => this.#judge(inner));
        break;
      case 'authenticated':
        this.#grants = this.#tokens.get(message.expiresAt) ?? [];
        break;
      case 'subscribed':
        for (const { deviceId, epoch, offset } of message.rooms) {
          this.#mayHear(deviceId, 'subscribed');
          this.#positions.set(deviceId, { epoch, offset });
        }
        break;
      case 'snapshot':
        message.devices.forEach(({ deviceId }) => this.#mayHear(deviceId, 'snapshot'));
        break;
      case 'telemetry':
        this.#positions.set(message.deviceId, { epoch: message.epoch, offset: message.offset });
        this.#mayHear(message.deviceId, 'telemetry');
        break;
      case 'device_status':
      case 'device_meta':
        this.#mayHear(message.deviceId, message.type);
        break;
      default:
    }
  }

  #mayHear(deviceId, what) {
    if (!grantsCover(this.#grants, deviceId)) {
      this.#leak(`${what} of ${JSON.stringify(deviceId)} with a token for ${JSON.stringify(this.#grants)}`);
    }
  }

  #leak(text) {
    if (this.leaks.length < MAX_LEAKS) {
      this.leaks.push(text);
    }
  }
}

/** @returns the first whole frame of a server, or null */
function frameAt(bytes) {
  if (bytes.length < 2) {
    return null;
  }
  let length = bytes[1] & 0x7f;
  let start = 2;
  if (length === 126) {
    start = 4;
    length = bytes.length < 4 ? Infinity : bytes.readUInt16BE(2);
  } else if (length === 127) {
    start = 10;
    length = bytes.length < 10 ? Infinity : Number(bytes.readBigUInt64BE(2));
  }
  const end = start + length;
  if (bytes.length < end) {
    return null;
  }
  return { opcode: bytes[0] & 0x0f, fin: (bytes[0] & 0x80) !== 0, payload: bytes.subarray(start, end), end };
}

function afterBody(bytes, head, headEnd) {
  const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
  return bytes.subarray(Math.min(bytes.length, headEnd + 4 + length));
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const breathe = () => new Promise((resolve) => setImmediate(resolve));
