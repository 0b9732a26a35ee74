import { setTimeout as pause } from 'node:timers/promises';

import { Dashboard } from './dashboard.js';
import { DeliverySink } from './delivery-sink.js';
import { dialects } from './dialects.js';
import { deviceId } from './payload.js';
import { devicesOf } from './room-plan.js';
import { tokenSigner } from './token.js';

const TOKEN_LIFETIME_S = 3600;
const MAX_DEVICES = 100_000;

/**
 * Dashboards that are counted together, and how many of them watch each device.
 *
 * @typedef {object} GroupOptions
 * @property {string} name
 * @property {number[]} ports one per instance; dashboards take them in turn
 * @property {string} dialect
 * @property {string} [query] for example `batchMs=50`
 * @property {import('./room-plan.js').RoomPlan} plan
 * @property {string} secret
 * @property {boolean} [keepTokens] come back with the same token, as clients do that lost a connection
 */
export class DashboardGroup {
  #options;
  #sign;
  /** @type {Map<number, string>} */
  #tokens = new Map();
  /** @type {Set<Dashboard>} */
  #ready = new Set();
  sink = new DeliverySink();
  /** Receivers per device: what a publication is expected to lead to. */
  receivers = new Uint32Array(MAX_DEVICES);
  expected = 0;
  #nextIndex = 0;

  /** @param {GroupOptions} options */
  constructor(options) {
    this.#options = options;
    this.#sign = tokenSigner(options.secret);
  }

  get readyCount() {
    return this.#ready.size;
  }

  /**
   * Opens more dashboards, so many at a time.
   *
   * @param {number} count
   * @param {number} concurrency
   * @param {number} timeoutMs for all of them
   * @param {number} [retryMs] try again when refused, so much later
   * @returns {Promise<{opened: number, failed: number, ms: number}>}
   */
  async open(count, concurrency, timeoutMs, retryMs) {
    const startedAt = performance.now();
    const deadline = startedAt + timeoutMs;
    const last = this.#nextIndex + count;
    let failed = 0;
    const worker = async () => {
      while (this.#nextIndex < last && performance.now() < deadline) {
        const index = this.#nextIndex++;
        let isReady = await this.openOne(index);
        while (!isReady && retryMs > 0 && performance.now() < deadline) {
          await pause(retryMs);
          isReady = await this.openOne(index);
        }
        failed += isReady ? 0 : 1;
      }
    };
    await Promise.all(Array.from({ length: Math.min(concurrency, count) }, worker));
    const missing = last - this.#nextIndex;
    return { opened: count - failed - missing, failed: failed + missing, ms: performance.now() - startedAt };
  }

  /**
   * @param {number} index
   * @returns {Promise<boolean>} whether it became ready
   */
  openOne(index) {
    return new Promise((resolve) => {
      const devices = devicesOf(this.#options.plan, index);
      new Dashboard({
        ...this.#address(index),
        index,
        devices,
        token: this.#token(index, devices),
        sink: this.sink,
        onReady: (dashboard) => {
          this.#count(dashboard, 1);
          resolve(true);
        },
        onGone: (dashboard, wasReady) => {
          if (wasReady) {
            this.#count(dashboard, -1);
          }
          resolve(false);
        },
      });
    });
  }

  /** Forgets how many deliveries were due and how many came. */
  startCounting() {
    this.expected = 0;
    this.sink.deliveries = 0;
  }

  /** @param {boolean} isPaused */
  setPaused(isPaused) {
    for (const dashboard of this.#ready) {
      if (isPaused) {
        dashboard.pause();
      } else {
        dashboard.resume();
      }
    }
  }

  dropAll() {
    const dropped = [...this.#ready];
    for (const dashboard of dropped) {
      dashboard.drop();
    }
    return dropped.map((dashboard) => dashboard.index);
  }

  #address(index) {
    const { ports, dialect: name, query } = this.#options;
    const dialect = dialects[name];
    const separator = dialect.path.includes('?') ? '&' : '?';
    return {
      dialect,
      port: ports[index % ports.length],
      // Several source addresses, as from several households.
      localAddress: `127.0.${1 + (index % 8)}.${1 + (index % 250)}`,
      path: query ? `${dialect.path}${separator}${query}` : dialect.path,
    };
  }

  #token(index, devices) {
    const kept = this.#tokens.get(index);
    if (kept !== undefined) {
      return kept;
    }
    const iat = Math.floor(Date.now() / 1000);
    const token = this.#sign({
      userId: `${this.#options.name}-${index}`,
      deviceIds: devices.map(deviceId),
      iat,
      exp: iat + TOKEN_LIFETIME_S,
    });
    if (this.#options.keepTokens) {
      this.#tokens.set(index, token);
    }
    return token;
  }

  #count(dashboard, difference) {
    if (difference > 0) {
      this.#ready.add(dashboard);
    } else {
      this.#ready.delete(dashboard);
    }
    for (const device of dashboard.devices) {
      this.receivers[device] += difference;
    }
  }
}
