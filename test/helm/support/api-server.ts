import { randomUUID } from 'node:crypto';
import { type IncomingMessage, type Server, type ServerResponse, createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { KubeObject } from './kube-object.js';
import { discovery } from './api-discovery.js';
import { Refusal, type Target, key, matches, merge, parseTarget } from './api-request.js';
import { schemaProblem } from './kube-schemas.js';
import { decodeSecret, isProtobuf } from './secret-protobuf.js';

interface Stored extends KubeObject {
  metadata: KubeObject['metadata'] & {
    uid: string;
    resourceVersion: string;
    creationTimestamp: string;
    generation: number;
  };
  status?: unknown;
}

/**
 * As much of the Kubernetes API server as Helm needs: discovery, objects in memory with get, list, watch, create, update,
 * patch, server-side apply and delete, and refusals: an object that the schemas do not allow (422) and a Deployment's
 * selector that changes (422). Nothing ever runs: a Deployment says at once that it is available, and a watch stays silent.
 */
export class ApiServer {
  readonly objects = new Map<string, Stored>();
  /** `METHOD path` of every request that changed something. */
  readonly changes: string[] = [];
  private version = 0;

  private constructor(private readonly server: Server) {}

  static async start(): Promise<ApiServer> {
    const server = createServer();
    const api = new ApiServer(server);
    server.on('request', (request, response) => {
      void api.answer(request, response);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return api;
  }

  /** Text of a kubeconfig that leads here. */
  get kubeconfig(): string {
    const { port } = this.server.address() as AddressInfo;
    return JSON.stringify({
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'test',
      contexts: [{ name: 'test', context: { cluster: 'test', user: 'test', namespace: 'iot' } }],
      clusters: [{ name: 'test', cluster: { server: `http://127.0.0.1:${port}` } }],
      users: [{ name: 'test', user: { token: 'none' } }],
    });
  }

  /** `Kind/name` of everything that is stored, Helm's own records aside. */
  get names(): string[] {
    return [...this.objects.values()]
      .filter(({ metadata }) => metadata.labels?.['owner'] !== 'helm')
      .map(({ kind, metadata }) => `${kind}/${metadata.name}`)
      .sort();
  }

  get(kind: string, name: string): Stored | undefined {
    return [...this.objects.values()].find((object) => object.kind === kind && object.metadata.name === name);
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const { pathname, searchParams } = new URL(request.url ?? '/', 'http://api');
      if (searchParams.get('watch') === 'true') {
        this.watch(response, searchParams);
        return;
      }
      const known = request.method === 'GET' ? discovery(pathname) : undefined;
      const answer = known ?? (await this.handle(request, pathname, searchParams));
      send(response, request.method === 'POST' ? 201 : 200, answer);
    } catch (error) {
      const { code, reason, message } =
        error instanceof Refusal ? error : new Refusal(500, 'InternalError', String(error));
      send(response, code, { kind: 'Status', apiVersion: 'v1', status: 'Failure', message, reason, code });
    }
  }

  private async handle(request: IncomingMessage, path: string, query: URLSearchParams): Promise<object> {
    const target = parseTarget(path);
    const body = await read(request);
    const object = (): KubeObject =>
      isProtobuf(body) ? decodeSecret(body) : (JSON.parse(body.toString('utf8')) as KubeObject);
    if (request.method !== 'GET') {
      this.changes.push(`${request.method} ${path}`);
    }
    switch (request.method) {
      case 'GET':
        return target.name === undefined ? this.list(target, query) : this.found(target);
      case 'POST':
        return this.create(target, object());
      case 'PUT':
        return this.store(target, object());
      case 'PATCH':
        return this.patch(target, object(), request.headers['content-type'] ?? '');
      case 'DELETE':
        return this.remove(target);
      default:
        throw new Refusal(405, 'MethodNotAllowed', `${request.method} is not supported`);
    }
  }

  private found(target: Target): Stored {
    const object = this.objects.get(key(target));
    if (object === undefined) {
      throw new Refusal(404, 'NotFound', `${key(target)} not found`);
    }
    return object;
  }

  private list({ apiVersion, kind, collection }: Target, query: URLSearchParams): object {
    const wanted = (query.get('labelSelector') ?? '').split(',').filter((part) => part !== '');
    const items = [...this.objects]
      .filter(([path]) => path.startsWith(`${collection}/`))
      .map(([, object]) => object)
      .filter(({ metadata }) => wanted.every((pair) => matches(metadata.labels ?? {}, pair)));
    return { kind: `${kind}List`, apiVersion, metadata: { resourceVersion: String(this.version) }, items };
  }

  /** What is there is final, so nothing follows it: the client ends the watch. */
  private watch(response: ServerResponse, query: URLSearchParams): void {
    if (query.get('sendInitialEvents') === 'true') {
      throw new Refusal(422, 'Invalid', 'sendInitialEvents is forbidden: list first');
    }
    response.writeHead(200, { 'content-type': 'application/json' }).flushHeaders();
  }

  private async create(target: Target, object: KubeObject): Promise<Stored> {
    const named = { ...target, name: object.metadata.name };
    if (this.objects.has(key(named))) {
      throw new Refusal(409, 'AlreadyExists', `${key(named)} already exists`);
    }
    return this.store(named, object);
  }

  private async patch(target: Target, change: KubeObject, type: string): Promise<Stored> {
    if (type.includes('apply-patch')) {
      return this.store(target, change);
    }
    if (!type.includes('merge-patch')) {
      throw new Refusal(415, 'UnsupportedMediaType', type);
    }
    return this.store(target, merge(this.found(target), change) as KubeObject);
  }

  private async store(target: Target, object: KubeObject): Promise<Stored> {
    const before = this.objects.get(key(target));
    const problem = await schemaProblem(object);
    if (problem !== undefined) {
      throw new Refusal(422, 'Invalid', `${object.kind} "${object.metadata.name}" is invalid: ${problem}`);
    }
    const selector = (candidate?: KubeObject): string =>
      JSON.stringify(candidate?.spec?.selector?.matchLabels);
    if (object.kind === 'Deployment' && before !== undefined && selector(before) !== selector(object)) {
      throw new Refusal(
        422,
        'Invalid',
        `Deployment "${object.metadata.name}" is invalid: field is immutable`,
      );
    }
    this.version += 1;
    const stored: Stored = {
      ...object,
      metadata: {
        ...object.metadata,
        ...(target.namespace === undefined ? {} : { namespace: target.namespace }),
        uid: before?.metadata.uid ?? randomUUID(),
        creationTimestamp: before?.metadata.creationTimestamp ?? new Date().toISOString(),
        resourceVersion: String(this.version),
        generation: (before?.metadata.generation ?? 0) + 1,
      },
    };
    if (object.kind === 'Deployment') {
      stored.status = available(stored);
    }
    this.objects.set(key(target), stored);
    return stored;
  }

  private remove(target: Target): object {
    this.found(target);
    this.objects.delete(key(target));
    return { kind: 'Status', apiVersion: 'v1', status: 'Success' };
  }
}

function available({ spec, metadata }: Stored): object {
  const replicas = (spec as { replicas?: number }).replicas ?? 1;
  return {
    observedGeneration: metadata.generation,
    replicas,
    updatedReplicas: replicas,
    readyReplicas: replicas,
    availableReplicas: replicas,
    conditions: [
      { type: 'Available', status: 'True', reason: 'MinimumReplicasAvailable' },
      { type: 'Progressing', status: 'True', reason: 'NewReplicaSetAvailable' },
    ],
  };
}

async function read(request: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of request) {
    parts.push(part as Buffer);
  }
  return Buffer.concat(parts);
}

function send(response: ServerResponse, code: number, body: object): void {
  response.writeHead(code, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}
