import { Logger } from '@nestjs/common';
import { SignJWT } from 'jose';
import { randomBytes } from 'node:crypto';
import type { Config } from '../config/config.js';
import { type EmbeddedBroker, startEmbeddedBroker } from './embedded-broker.js';
import { planFleet } from './fleet-plan.js';
import { SimulatedFleet } from './simulated-fleet.js';

const SECRET_BYTES = 32;
/** The secret dies with the process; this only bounds a process that is never restarted. */
const TOKEN_LIFE = '7d';

/** Thrown when the embedded broker's port cannot be had. */
export class EmbeddedPortError extends Error {}

/**
 * What development gets without settings: a broker in the process, a secret, and a fleet to look at.
 * Loaded by a dynamic import only when not in production, so that production never has it in memory.
 */
export class Development {
  private readonly logger = new Logger(Development.name);
  private fleet: SimulatedFleet | undefined;

  private constructor(
    /** The settings with what was generated filled in. */
    readonly config: Config,
    private readonly broker: EmbeddedBroker | undefined,
    private readonly generatedSecret: string | undefined,
  ) {}

  /** Fills in what is not set. Starts the embedded broker when there is no `MQTT_URL`. */
  static async prepare(config: Config): Promise<Development> {
    const { auth, mqtt } = config;
    const broker = mqtt.url === undefined ? await startBroker(mqtt.embeddedPort) : undefined;
    const hasKey = [auth.jwtSecret, auth.jwtPublicKey, auth.jwtJwksUrl].some((key) => key !== undefined);
    const secret = hasKey ? undefined : randomBytes(SECRET_BYTES).toString('base64url');
    const filled: Config = Object.freeze({
      ...config,
      mqtt: Object.freeze({ ...mqtt, url: broker ? `mqtt://127.0.0.1:${broker.port}` : mqtt.url }),
      auth: Object.freeze({ ...auth, jwtSecret: secret ?? auth.jwtSecret }),
    });
    const development = new Development(filled, broker, secret);
    if (broker) {
      const moved = broker.moved ? ' (1883 was taken)' : '';
      development.logger.log(`Embedded MQTT broker on mqtt://127.0.0.1:${broker.port}${moved}`);
    }
    return development;
  }

  /** Starts the simulated fleet, if any. After the service listens. */
  start(): void {
    const { demo, mqtt } = this.config;
    if (demo.devices > 0 && mqtt.url !== undefined) {
      this.fleet = new SimulatedFleet(this.config, mqtt.url);
      this.fleet.start();
      this.logger.log(`Simulated fleet of ${demo.devices} devices`);
    }
  }

  /** A token for the dashboard, only for a secret that was generated here: a real one signs nothing here. */
  async dashboardToken(): Promise<string | undefined> {
    if (this.generatedSecret === undefined) {
      return undefined;
    }
    const { auth, demo } = this.config;
    const deviceIds = [...planFleet(demo.devices).map(({ deviceId }) => deviceId), '*'];
    const token = new SignJWT({ userId: 'developer', deviceIds })
      .setProtectedHeader({ alg: 'HS256' })
      .setIssuedAt()
      .setExpirationTime(TOKEN_LIFE);
    if (auth.jwtIssuer !== undefined) {
      token.setIssuer(auth.jwtIssuer);
    }
    if (auth.jwtAudience !== undefined) {
      token.setAudience(auth.jwtAudience);
    }
    return token.sign(new TextEncoder().encode(this.generatedSecret));
  }

  async stop(): Promise<void> {
    await this.fleet?.stop();
    await this.broker?.close();
  }
}

async function startBroker(port: number | undefined): Promise<EmbeddedBroker> {
  try {
    return await startEmbeddedBroker(port);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? (error as Error).message;
    throw new EmbeddedPortError(
      `MQTT_EMBEDDED_PORT: the embedded broker cannot listen on 127.0.0.1:${port ?? 1883} (${code})`,
    );
  }
}
