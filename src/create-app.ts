import { Logger } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { NestExpressApplication } from '@nestjs/platform-express';
import type { AddressInfo } from 'node:net';
import type { Server } from 'node:http';
import type { Writable } from 'node:stream';
import { contain, walled } from './logging/walls.js';
import type { NextFunction, Request, Response } from 'express';
import { ApiServer } from './api/api-server.js';
import { AppModule } from './app.module.js';
import { TokenSigner } from './auth/token-signer.js';
import type { Config } from './config/config.js';
import { serveClient } from './http/serve-client.js';
import { serveDashboard } from './dashboard/serve-dashboard.js';
import { MqttTransport } from './devices/mqtt-transport.js';
import { DrainService } from './gateway/drain.service.js';
import { SluiceWsAdapter } from './gateway/sluice-ws-adapter.js';
import { Readiness } from './health/readiness.js';
import { HttpErrorFilter } from './http/http-error.filter.js';
import { createManagementServer, isManagementExposed, isManagementSeparate } from './http/management.js';
import { layoutLines } from './layouts/describe-layouts.js';
import { readLayouts } from './layouts/layouts.js';
import { createLogger } from './logging/create-logger.js';
import { NestLogger } from './logging/nest-logger.js';
import { version } from './logging/version.js';
import { ShutdownSteps } from './shutdown-steps.js';

interface CreateAppOptions {
  /** Where the log is written; standard output by default. */
  logTo?: Writable;
}

/** One instance of Sluice in this process; several may run side by side. */
export interface SluiceApp {
  readonly nest: NestExpressApplication;
  /** The settings, completed for development, such as the address of the embedded broker. */
  readonly config: Config;
  /**
   * Listens on HTTP first and connects to the broker in the background, so that health and dashboard answer while it is away.
   * @returns the ports it listens on
   * @throws Error naming PORT or MANAGEMENT_PORT when that port is not available
   */
  start(): Promise<ListeningPorts>;
  /** Resolves when readiness is 200 for the first time. */
  ready(): Promise<void>;
  /** In development the dashboard's URL; with a generated secret, it has a token in its fragment. */
  dashboardUrl(): string | undefined;
  /** Drains, then closes everything that this instance opened. */
  stop(): Promise<void>;
}

export interface ListeningPorts {
  port: number;
  /** Equal to `port` unless health and metrics have a port of their own. */
  managementPort: number;
}

/** Creates an instance from its settings; in development with the embedded broker, if none is configured. Does not listen on HTTP yet. */
export async function createApp(config: Config, options: CreateAppOptions = {}): Promise<SluiceApp> {
  const logger = new NestLogger(createLogger(config.log, options.logTo));
  Logger.overrideLogger(logger);
  const node = process.versions.node;
  logger.log(`SLUICE ${version} on Node.js ${node}`, { version, node }, 'Main');
  const development = config.production
    ? undefined
    : await (await import('./embedded/development.js')).Development.prepare(config);
  const filled = development?.config ?? config;
  let nest: NestExpressApplication;
  try {
    const layouts = await readLayouts(filled);
    if (layouts !== null) {
      layoutLines(layouts).forEach((line) => Logger.log(line, 'Layouts'));
    }
    layouts?.warnings.forEach((warning) => Logger.warn(`LAYOUT_FILE: ${warning}`, 'Layouts'));
    nest = await NestFactory.create<NestExpressApplication>(AppModule.forRoot(filled, layouts), {
      logger,
      abortOnError: false,
      // No handler reads a request body.
      bodyParser: false,
    });
  } catch (error) {
    await development?.stop();
    throw error;
  }
  const steps = nest.get(ShutdownSteps);
  nest.disable('x-powered-by');
  nest.useGlobalFilters(new HttpErrorFilter());
  nest.useWebSocketAdapter(new SluiceWsAdapter(nest));
  if (!isManagementSeparate(filled.http)) {
    serveApi(nest);
  }
  if (filled.redis.role !== 'ingest') {
    serveClient(nest);
    serveDashboard(nest, filled.http);
  }
  let ports: ListeningPorts = { port: 0, managementPort: 0 };
  return {
    nest,
    config: filled,
    ready: () => nest.get(Readiness).whenReady(),
    dashboardUrl() {
      const token = development?.dashboardToken(nest.get(TokenSigner, { strict: false }));
      const fragment = token === undefined ? '' : `#token=${token}`;
      return development && `http://localhost:${ports.port}/${fragment}`;
    },
    async start() {
      try {
        ports = await listen(nest, filled.http, steps);
        if (isManagementExposed(filled)) {
          Logger.warn('Whoever reaches PORT can read /metrics and /health: set MANAGEMENT_PORT', 'HTTP');
        }
      } catch (error) {
        await nest.close();
        await development?.stop();
        throw error;
      }
      // The last step: everything else uses its broker.
      steps.add(async () => development?.stop());
      nest.connectMicroservice({ strategy: nest.get(MqttTransport, { strict: false }) });
      await nest.startAllMicroservices();
      development?.start();
      return ports;
    },
    async stop() {
      await nest.get(DrainService, { strict: false }).drain();
      await nest.close();
    },
  };
}

/** The server API where health and metrics are on PORT as well: in development alone. */
function serveApi(nest: NestExpressApplication): void {
  const api = nest.get(ApiServer, { strict: false });
  nest.use(
    walled('api', (request: Request, response: Response, next: NextFunction) => {
      if (api.takes(request)) {
        api.handle(request, response);
      } else {
        next();
      }
    }),
  );
}

async function listen(
  nest: NestExpressApplication,
  http: Config['http'],
  steps: ShutdownSteps,
): Promise<ListeningPorts> {
  await naming('PORT', http.port, () => nest.listen(http.port, http.host));
  hearErrors(nest.getHttpServer());
  const port = portOf(nest.getHttpServer());
  if (!isManagementSeparate(http)) {
    return { port, managementPort: port };
  }
  const management = createManagementServer(
    nest.getHttpAdapter().getInstance(),
    nest.get(ApiServer, { strict: false }),
  );
  await naming(
    'MANAGEMENT_PORT',
    http.managementPort,
    () =>
      new Promise<void>((resolve, reject) => {
        management.once('error', reject);
        management.listen(http.managementPort, http.host, resolve);
      }),
  );
  hearErrors(management);
  steps.add(
    () =>
      new Promise((resolve) => {
        management.close(() => resolve());
        management.closeAllConnections();
      }),
  );
  return { port, managementPort: portOf(management) };
}

/** An accept error affects no existing connection; without a listener it would be an uncaught exception. */
function hearErrors(server: Server): void {
  server.on(
    'error',
    walled('lifecycle', (error: Error) => contain('lifecycle', error)),
  );
}

/** Rethrows an error of a port with the setting to change. */
async function naming(
  setting: string,
  port: number | undefined,
  work: () => Promise<unknown>,
): Promise<void> {
  try {
    await work();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const reason =
      code === 'EADDRINUSE'
        ? 'is taken; stop what listens there or choose another port'
        : `cannot be used (${code ?? message})`;
    throw new Error(`${setting}: port ${port} ${reason}`, { cause: error });
  }
}

const portOf = (server: Server): number => (server.address() as AddressInfo).port;
