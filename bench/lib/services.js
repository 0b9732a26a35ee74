import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { freePort, startPinned, stop, waitForPort } from './child-processes.js';

const START_TIMEOUT_MS = 10_000;
/** An Erlang node on one core. */
const RABBIT_START_TIMEOUT_MS = 60_000;

function temporaryDirectory(name) {
  return mkdtempSync(join(tmpdir(), `sluice-bench-${name}-`));
}

/**
 * @param {number} core
 * @returns {Promise<{url: string, pid: number, stop: () => Promise<void>}>}
 */
export async function startRedis(core) {
  const port = await freePort();
  const directory = temporaryDirectory('redis');
  const settings = ['--bind', '127.0.0.1', '--port', String(port), '--dir', directory];
  const child = startPinned(core, ['redis-server', ...settings, '--save', '', '--appendonly', 'no']);
  await waitForPort(port, child, START_TIMEOUT_MS);
  return {
    url: `redis://127.0.0.1:${port}`,
    pid: child.pid,
    async stop() {
      await stop(child);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** A broker that is being started, once both its listeners answer. */
async function broker({ mqttPort, port, child, directory, timeoutMs = START_TIMEOUT_MS }) {
  await waitForPort(mqttPort, child, timeoutMs);
  await waitForPort(port, child, timeoutMs);
  return {
    mqttPort,
    port,
    pid: child.pid,
    async stop() {
      await stop(child);
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/**
 * Mosquitto with a listener for devices and one for browsers, and no limit that would make it drop.
 *
 * @param {number} core
 * @returns {Promise<{mqttPort: number, port: number, pid: number, stop: () => Promise<void>}>}
 */
export async function startMosquitto(core) {
  const [mqttPort, port] = [await freePort(), await freePort()];
  const directory = temporaryDirectory('mosquitto');
  const configuration = [
    `listener ${mqttPort} 127.0.0.1`,
    `listener ${port} 127.0.0.1`,
    'protocol websockets',
    'allow_anonymous true',
    'persistence false',
    'max_queued_messages 0',
    'max_inflight_messages 0',
    'set_tcp_nodelay true',
    'log_dest none',
  ];
  const file = join(directory, 'mosquitto.conf');
  writeFileSync(file, `${configuration.join('\n')}\n`);
  const child = startPinned(core, ['mosquitto', '-c', file]);
  return await broker({ mqttPort, port, child, directory });
}

/**
 * NATS with its MQTT listener for devices and its WebSocket for browsers.
 *
 * @param {number} core
 * @returns {Promise<{mqttPort: number, port: number, pid: number, stop: () => Promise<void>}>}
 */
export async function startNats(core) {
  const [clientPort, mqttPort, port] = [await freePort(), await freePort(), await freePort()];
  const directory = temporaryDirectory('nats');
  const configuration = [
    `listen: "127.0.0.1:${clientPort}"`,
    'server_name: bench',
    `jetstream { store_dir: "${directory}", max_mem: 1G, max_file: 1G }`, // where its MQTT keeps sessions
    `mqtt { listen: "127.0.0.1:${mqttPort}" }`,
    `websocket { listen: "127.0.0.1:${port}", no_tls: true }`,
    'write_deadline: "60s"',
    'max_pending: 1G', // a slow reader is not cut off: nothing else here is, either
  ];
  const file = join(directory, 'nats.conf');
  writeFileSync(file, `${configuration.join('\n')}\n`);
  const child = startPinned(core, ['nats-server', '-c', file], { env: { ...process.env, GOMAXPROCS: '1' } });
  return await broker({ mqttPort, port, child, directory });
}

/**
 * RabbitMQ with its MQTT plug-in for devices and its Web MQTT plug-in for browsers.
 *
 * @param {number} core
 * @returns {Promise<{mqttPort: number, port: number, pid: number, stop: () => Promise<void>}>}
 */
export async function startRabbit(core) {
  const ports = [await freePort(), await freePort(), await freePort(), await freePort(), await freePort()];
  const [epmdPort, nodePort, amqpPort, mqttPort, port] = ports;
  const directory = temporaryDirectory('rabbitmq');
  const file = (name, lines) => {
    writeFileSync(join(directory, name), `${lines.join('\n')}\n`);
    return join(directory, name);
  };
  const loopback = '-kernel inet_dist_use_interface {127,0,0,1}';
  const env = {
    PATH: `${process.env.PATH}:/usr/lib/rabbitmq/bin`,
    HOME: directory,
    ERL_EPMD_PORT: String(epmdPort),
    ERL_EPMD_ADDRESS: '127.0.0.1',
    RABBITMQ_NODENAME: `bench-${port}@localhost`,
    RABBITMQ_DIST_PORT: String(nodePort),
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: `+S 1:1 ${loopback}`,
    RABBITMQ_MNESIA_BASE: directory,
    RABBITMQ_LOG_BASE: directory,
    RABBITMQ_PID_FILE: join(directory, 'pid'),
    RABBITMQ_ENABLED_PLUGINS_FILE: file('enabled_plugins', ['[rabbitmq_mqtt,rabbitmq_web_mqtt].']),
    RABBITMQ_CONF_ENV_FILE: file('env.conf', []),
    RABBITMQ_CONFIG_FILE: file('rabbitmq.conf', [
      `listeners.tcp.1 = 127.0.0.1:${amqpPort}`,
      `mqtt.listeners.tcp.1 = 127.0.0.1:${mqttPort}`,
      'mqtt.allow_anonymous = true',
      'mqtt.prefetch = 65535',
      'web_mqtt.tcp.ip = 127.0.0.1',
      `web_mqtt.tcp.port = ${port}`,
      'log.console = false',
      'log.file.level = error',
    ]),
  };
  // Started apart, since the one that a node starts for itself would outlive it.
  const names = startPinned(core, ['epmd', '-address', '127.0.0.1', '-port', String(epmdPort)], { env });
  const child = startPinned(core, ['/usr/lib/rabbitmq/bin/rabbitmq-server'], { env });
  const started = await broker({ mqttPort, port, child, directory, timeoutMs: RABBIT_START_TIMEOUT_MS });
  return {
    ...started,
    pid: Number(readFileSync(env.RABBITMQ_PID_FILE, 'utf8')),
    async stop() {
      await started.stop();
      await stop(names);
    },
  };
}
