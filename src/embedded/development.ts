import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Logger } from '@nestjs/common';
import type { TokenSigner } from '../auth/token-signer.js';
import type { Config } from '../config/config.js';
import { type EmbeddedBroker, startEmbeddedBroker } from './embedded-broker.js';
import { planFleet } from './fleet-plan.js';
import { foreignLayoutFile, type ForeignLayout } from './foreign-fleet.js';
import { SimulatedFleet } from './simulated-fleet.js';

/** The generated secret dies with the process; this only bounds a process that is never restarted. */
const TOKEN_LIFE_S = 7 * 24 * 3_600;
/** Exact ids named in the token; what a larger fleet has more comes with `*`. With a thousand the link was too long to be copied. */
const MAX_TOKEN_IDS = 100;

/**
 * What development gets without settings: a broker in the process and a simulated fleet. Loaded by a dynamic import only when not in
 * production, so that production never has it in memory.
 */
export class Development {
  private readonly logger = new Logger(Development.name);
  private fleet: SimulatedFleet | undefined;

  private constructor(
    /** The settings, with the broker's address. */
    readonly config: Config,
    private readonly broker: EmbeddedBroker | undefined,
    /** Of the layout file of DEMO_LAYOUTS. */
    private readonly folder: string | undefined,
  ) {}

  /**
   * Starts the embedded broker when there is no `MQTT_URL`.
   * @throws Error naming MQTT_EMBEDDED_PORT when that port is not available
   */
  static async prepare(config: Config): Promise<Development> {
    const { mqtt } = config;
    const { folder, layouts } = demoLayouts(config);
    if (mqtt.url !== undefined) {
      return new Development(Object.freeze({ ...config, layouts }), undefined, folder);
    }
    const broker = await startEmbeddedBroker(mqtt.embeddedPort).catch((error: unknown) => {
      removeFolder(folder);
      throw error;
    });
    const url = `mqtt://127.0.0.1:${broker.port}`;
    const filled = Object.freeze({ ...config, layouts, mqtt: Object.freeze({ ...mqtt, url }) });
    const development = new Development(filled, broker, folder);
    development.logger.log(`Embedded MQTT broker on ${url}${broker.moved ? ' (1883 was taken)' : ''}`, {
      url,
    });
    return development;
  }

  /** Starts the simulated fleet, if any. */
  start(): void {
    const { demo, mqtt } = this.config;
    if (demo.devices > 0 && mqtt.url !== undefined) {
      this.fleet = new SimulatedFleet(this.config, mqtt.url);
      this.fleet.start();
      const speaks = demo.layouts.length > 0 ? `, which speak ${demo.layouts.join(', ')}` : '';
      this.logger.log(`Simulated fleet of ${demo.devices} devices${speaks}`, { devices: demo.devices });
    }
  }

  /**
   * A token for the dashboard: the fleet's devices, and `*` for all others. Only with a generated secret: other machines may trust a
   * configured one.
   */
  dashboardToken(signer: TokenSigner): string | undefined {
    if (this.config.auth.jwtSecret !== undefined || !signer.available) {
      return undefined;
    }
    const { devices, layouts } = this.config.demo;
    const fleet = layouts.length > 0 ? [] : planFleet(Math.min(devices, MAX_TOKEN_IDS));
    const deviceIds = [...fleet.map(({ deviceId }) => deviceId), '*'];
    return signer.sign({ userId: 'developer', deviceIds }, TOKEN_LIFE_S);
  }

  /** Called after everything that uses the broker has stopped. */
  async stop(): Promise<void> {
    await this.fleet?.stop();
    await this.broker?.close();
    removeFolder(this.folder);
  }
}

/** With DEMO_LAYOUTS: a layout file for what the fleet speaks, unless LAYOUT_FILE names one that reads it. */
function demoLayouts({ demo, layouts }: Config): { folder?: string; layouts: Config['layouts'] } {
  if (demo.layouts.length === 0 || layouts.file !== undefined) {
    return { layouts };
  }
  const folder = mkdtempSync(join(tmpdir(), 'sluice-demo-'));
  const file = join(folder, 'layouts.yaml');
  writeFileSync(file, foreignLayoutFile(demo.layouts as readonly ForeignLayout[]));
  return { folder, layouts: Object.freeze({ ...layouts, file }) };
}

function removeFolder(folder: string | undefined): void {
  if (folder !== undefined) {
    rmSync(folder, { recursive: true, force: true });
  }
}
