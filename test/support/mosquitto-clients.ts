import type { Mosquitto } from './mosquitto.js';
import { Program, runProgram } from './program.js';

interface PublishOptions {
  /** Default 1. */
  qos?: 0 | 1;
  /** Default false. */
  retain?: boolean;
}

/** Publishes with `mosquitto_pub`: a device that is not our code. Resolves once the broker has acknowledged it. */
export async function mosquittoPub(
  broker: Pick<Mosquitto, 'port'>,
  topic: string,
  payload: string,
  { qos = 1, retain = false }: PublishOptions = {},
): Promise<void> {
  const message = payload === '' ? ['-n'] : ['-m', payload];
  const args = [...connection(broker, topic), '-q', String(qos), ...(retain ? ['-r'] : []), ...message];
  const { code, output } = await runProgram('mosquitto_pub', args);
  if (code !== 0) {
    throw new Error(`mosquitto_pub: ${output}`);
  }
}

/** Subscribes with `mosquitto_sub`; resolves once the broker has acknowledged it. It prints lines of `topic payload`. */
export async function mosquittoSub(broker: Pick<Mosquitto, 'port'>, topicFilter: string): Promise<Program> {
  const args = [...connection(broker, topicFilter), '-q', '1', '-d', '-F', '%t %p'];
  // Its standard output is buffered by the line only on a terminal: stdbuf keeps it from waiting for 4 KiB.
  const program = new Program('mosquitto_sub', 'stdbuf', ['-oL', 'mosquitto_sub', ...args], {
    stopTimeoutMs: 2_000,
  });
  return program.ready(/^Subscribed/);
}

function connection(broker: Pick<Mosquitto, 'port'>, topic: string): string[] {
  return ['-h', '127.0.0.1', '-p', String(broker.port), '-t', topic];
}
