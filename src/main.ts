import 'reflect-metadata';
import { Logger } from '@nestjs/common';
import { type SluiceApp, createApp } from './create-app.js';
import { warningsOf } from './config/former-settings.js';
import { ConfigError, loadConfig } from './config/load-config.js';
import type { Config } from './config/config.js';
import { installSignalHandlers } from './gateway/drain.service.js';
import { ShutdownSteps } from './shutdown-steps.js';
import { tracing } from './tracing/tracing.js';

const logger = new Logger('Main');
let stopTracing: (() => Promise<void>) | undefined;

/** Settings, application, ports, signals: a failed start prints one line that says what to change. */
async function main(): Promise<void> {
  installFaultHandlers();
  const config = readConfig();
  if (config === undefined) {
    return;
  }
  let app: SluiceApp;
  try {
    await traceWhereAsked();
    app = await createApp(config);
    warningsOf(process.env, config).forEach((warning) => logger.warn(warning));
    installSignalHandlers(app.nest);
    app.nest.get(ShutdownSteps).add(async () => stopTracing?.());
    const { port, managementPort } = await app.start();
    const management = managementPort === port ? '' : `, health and metrics on ${managementPort}`;
    logger.log(`SLUICE listening on port ${port}${management}`, { port, managementPort });
  } catch (error) {
    fail(
      error instanceof ConfigError
        ? error.message
        : `Sluice cannot start: ${error instanceof Error ? error.message : String(error)}`,
    );
    return;
  }
  announce(app.dashboardUrl());
}

/** Spans go out where OpenTelemetry's own variable names a collector; else nothing of it is loaded. */
async function traceWhereAsked(): Promise<void> {
  const {
    OTEL_EXPORTER_OTLP_ENDPOINT: endpoint = '',
    OTEL_SDK_DISABLED: disabled = '',
    OTEL_BSP_MAX_QUEUE_SIZE: maxWaiting,
  } = process.env;
  if (endpoint !== '' && disabled.toLowerCase() !== 'true') {
    const { openTelemetry } = await import('./tracing/otel.js');
    stopTracing = tracing.use(openTelemetry(Number(maxWaiting) || undefined));
  }
}

function readConfig(): Config | undefined {
  try {
    return loadConfig(process.env);
  } catch (error) {
    if (error instanceof ConfigError) {
      fail(error.message);
      return undefined;
    }
    throw error;
  }
}

/** The one place where a token is printed, in development with a generated secret, and not through the logger. */
function announce(dashboardUrl: string | undefined): void {
  if (dashboardUrl === undefined) {
    return;
  }
  if (!dashboardUrl.includes('#token=')) {
    logger.log(`Dashboard on ${dashboardUrl}`, { url: dashboardUrl });
  } else {
    process.stdout.write(`Dashboard: ${dashboardUrl}\n`);
  }
}

/**
 * The last resort. Errors of one connection, device message, timer or callback end at a wall (src/logging/walls.ts) and do not come here; a
 * test finds callbacks that have none. What is left are errors in the walls themselves, in callbacks that libraries make on their own, and in the
 * few places that the test lists with a reason: nobody knows the state of the process then, so it says what it was and is started anew.
 */
function installFaultHandlers(): void {
  const die = (kind: string) => (error: unknown) => {
    logger.fatal(kind, error instanceof Error ? error : { reason: String(error) });
    process.exit(1);
  };
  process.on('uncaughtException', die('Uncaught exception'));
  process.on('unhandledRejection', die('Unhandled rejection'));
}

/** For people, without a stack: the cause is in the environment. */
function fail(message: string): void {
  process.stderr.write(`${message}\n`);
  process.exit(1);
}

await main();
