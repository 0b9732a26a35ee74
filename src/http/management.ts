import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http';
import {
  type CanActivate,
  type ExecutionContext,
  Inject,
  Injectable,
  NotFoundException,
} from '@nestjs/common';
import { CONFIG, type Config } from '../config/config.js';
import { contain } from '../logging/walls.js';

const managementRequests = new WeakSet<IncomingMessage>();
/** The only paths of the management port, beside those of the server API. */
const PATHS = new Set(['/health/live', '/health/ready', '/metrics', '/layouts']);
/** Probes and scrapes are short: a slower client is not one of them. */
const REQUEST_TIMEOUT_MS = 10_000;
export const MAX_CONNECTIONS = 512;

/** What answers requests of the server API. */
export interface ApiRequests {
  takes(request: IncomingMessage): boolean;
  /** Never throws. */
  handle(request: IncomingMessage, response: ServerResponse): void;
}

/** Whether health and metrics have a port of their own. Two ports of 0 are two different free ports. */
export function isManagementSeparate({ port, managementPort }: Config['http']): boolean {
  return managementPort !== undefined && (managementPort !== port || port === 0);
}

/** Whether clients of a production instance's public port can read its health and metrics. */
export function isManagementExposed({ production, http }: Config): boolean {
  return production && !isManagementSeparate(http);
}

/** Whether a request came in through the management port. */
function cameThroughManagement(request: IncomingMessage): boolean {
  return managementRequests.has(request);
}

/**
 * An HTTP server that passes only health, metrics and layouts to `handler`, requests of the server API to `api`, and answers 404 to everything else. It uses the same event loop as all
 * else, so that liveness really checks it.
 */
export function createManagementServer(handler: RequestListener, api: ApiRequests): Server {
  const server = createServer((request, response) => {
    try {
      if (api.takes(request)) {
        api.handle(request, response);
        return;
      }
      const [path] = (request.url ?? '').split('?', 1);
      if (path === undefined || !PATHS.has(path)) {
        response.writeHead(404, { 'content-type': 'application/json' });
        response.end('{"statusCode":404,"message":"Not Found"}');
        return;
      }
      managementRequests.add(request);
      handler(request, response);
    } catch (error) {
      contain('lifecycle', error);
      response.destroy();
    }
  });
  server.requestTimeout = REQUEST_TIMEOUT_MS;
  server.headersTimeout = REQUEST_TIMEOUT_MS;
  server.maxConnections = MAX_CONNECTIONS;
  return server;
}

/** Hides health and metrics from PORT when they have a port of their own. A guard on the controllers, so that no spelling of a path bypasses it. */
@Injectable()
export class ManagementGuard implements CanActivate {
  private readonly separate: boolean;

  constructor(@Inject(CONFIG) config: Config) {
    this.separate = isManagementSeparate(config.http);
  }

  canActivate(context: ExecutionContext): boolean {
    if (this.separate && !cameThroughManagement(context.switchToHttp().getRequest<IncomingMessage>())) {
      throw new NotFoundException();
    }
    return true;
  }
}
