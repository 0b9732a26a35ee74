import { randomBytes } from 'node:crypto';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';

import { freePort, startPinned, stop, waitForPort, waitUntil } from './child-processes.js';
import { tokenSigner } from '../load/token.js';
import { LoadGenerator } from './load-generator.js';
import { startMosquitto, startNats, startRabbit, startRedis } from './services.js';
import { sluiceSettings } from './sluice-settings.js';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const START_TIMEOUT_MS = 20_000;
const SERVER_CORE = 0;
/** What is not a Node.js server, by its name. */
const BROKERS = { mosquitto: startMosquitto, nats: startNats, rabbitmq: startRabbit };
const LOAD_CORE = availableParallelism() > 1 ? 1 : 0;

/**
 * One measured run: fresh processes of one peer, with a generator of its own. Servers share a core, so that three instances
 * have no more of it than one; the generator, and Redis where one is used, have the other.
 */
export class Trial {
  #stops = [];
  #secret = randomBytes(32).toString('hex');
  #loads = [];
  #servers = [];
  ports = [];
  pids = [];
  redisPid = null;

  /**
   * @param {import('../peers/index.js').Peer} peer
   * @param {{instances?: number, generators?: number, env?: Record<string, string>, product?: string, nodeArguments?: string[]}} [options]
   */
  constructor(peer, { instances = 1, generators = 1, env = {}, product = ROOT, nodeArguments = [] } = {}) {
    this.peer = peer;
    this.instances = instances;
    this.generators = generators;
    this.env = env;
    this.nodeArguments = [...(peer.nodeArguments ?? []), ...nodeArguments];
    this.directory = peer.isSluice ? product : ROOT;
  }

  async start() {
    for (let index = 0; index < this.generators; index++) {
      const load = new LoadGenerator(LOAD_CORE, index > 0);
      this.#loads.push(load);
      this.#stops.push(() => load.stop());
    }
    if (this.peer.program !== undefined) {
      await this.#startBroker(BROKERS[this.peer.program]);
      return;
    }
    const redis = this.peer.usesRedis ? await startRedis(LOAD_CORE) : null;
    if (redis !== null) {
      this.#stops.push(() => redis.stop());
      this.redisPid = redis.pid;
    }
    const brokerPort = await this.load.call('listen');
    const servers = await Promise.all(
      Array.from({ length: this.instances }, () => this.#startServer(brokerPort, redis?.url)),
    );
    await this.load.call('waitForSubscriber', { timeoutMs: START_TIMEOUT_MS });
    await Promise.all(servers.map((server) => this.#waitUntilReady(server)));
  }

  /** The generator that plays the broker. */
  get load() {
    return this.#loads[0];
  }

  get allLoads() {
    return this.#loads;
  }

  /** Ends the dashboards first, so that a server that takes leave of its clients has none. */
  async stop() {
    while (this.#stops.length > 0) {
      await this.#stops.shift()();
    }
  }

  /**
   * @param {object} options see DashboardGroup and Commands.openDashboards
   * @param {import('./load-generator.js').LoadGenerator} [load]
   */
  async openDashboards(options, load = this.load) {
    const opened = await load.call('openDashboards', {
      name: 'all',
      ports: this.ports,
      dialect: this.peer.dialect,
      query: this.peer.query,
      secret: this.#secret,
      concurrency: 50,
      timeoutMs: 60_000,
      ...options,
    });
    if (opened.failed > 0) {
      const counts = JSON.stringify(await load.call('counts'));
      throw new Error(`${opened.failed} dashboards did not get their rooms: ${counts}`);
    }
    return opened;
  }

  /** Of somebody beside the dashboards. */
  token(claims) {
    const now = Math.floor(Date.now() / 1000);
    return tokenSigner(this.#secret)({ iat: now, exp: now + 3600, ...claims });
  }

  /** @throws with what a server said last, if one has ended by itself */
  assertAlive() {
    for (const { exitCode, signalCode, output } of this.#servers) {
      if (exitCode !== null || signalCode !== null) {
        throw new Error(`the server has ended: ${output}`);
      }
    }
  }

  async #startServer(brokerPort, redisUrl) {
    const port = await freePort();
    const child = startPinned(SERVER_CORE, [process.execPath, ...this.nodeArguments, this.peer.script], {
      cwd: this.directory,
      env: {
        PATH: process.env.PATH,
        HOST: '127.0.0.1',
        PORT: String(port),
        MQTT_URL: `mqtt://127.0.0.1:${brokerPort}`,
        JWT_SECRET: this.#secret,
        WS_NO_BUFFER_UTIL: '1',
        ...(redisUrl === undefined ? {} : { REDIS_URL: redisUrl }),
        ...(this.peer.isSluice ? sluiceSettings : {}),
        ...this.peer.env,
        ...this.env,
      },
    });
    this.#stops.push(() => stop(child));
    this.#servers.push(child);
    await waitForPort(port, child, START_TIMEOUT_MS);
    this.ports.push(port);
    this.pids.push(child.pid);
    return { child, port };
  }

  async #waitUntilReady({ child, port }) {
    if (!this.peer.isSluice) {
      return;
    }
    const isReady = async () => {
      const response = await fetch(`http://127.0.0.1:${port}/health/ready`).catch(() => null);
      return response?.ok === true;
    };
    await waitUntil(isReady, child, START_TIMEOUT_MS, 'readiness');
  }

  /** Devices and dashboards are connected to the same server. */
  async #startBroker(start) {
    const broker = await start(SERVER_CORE);
    this.#stops.push(() => broker.stop());
    this.ports.push(broker.port);
    this.pids.push(broker.pid);
    await this.load.call('connectPublisher', { port: broker.mqttPort });
  }
}
