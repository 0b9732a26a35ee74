import { Inject, Injectable, Logger, type OnModuleInit } from '@nestjs/common';
import { CONFIG, type Config } from '../config/config.js';
import { DrainService } from '../gateway/drain.service.js';
import { InstanceBus } from '../instances/instance-bus.js';
import { Traces } from '../instances/traces.js';
import { SharedStore } from '../ingest/ports.js';
import { Upstream } from '../ingest/upstream.js';
import { Metrics } from '../metrics/metrics.js';
import { isDeviceId } from '../protocol/device-id.js';
import { version } from '../logging/version.js';
import { BroadcastAdapter } from '../rooms/broadcast-adapter.js';
import { RoomsService } from '../rooms/rooms.service.js';
import type { ApiAnswer, ApiCall, ApiOperations } from './api-server.js';
import { ApiDocument } from './api-document.js';
import { ASK_TIMEOUT_MS } from './connections-api.js';
import { invalid } from './problem.js';

const DESCRIBE = 'api.instance';

interface TraceRequest {
  readonly deviceIds?: readonly string[];
  readonly userIds?: readonly string[];
  readonly seconds: number;
}

/** The live instances, what they trace, and the document. */
@Injectable()
export class InstancesApi implements OnModuleInit {
  readonly operations: ApiOperations = {
    listInstances: () => this.list(),
    setTraces: (call) => this.setTraces(call),
    getOpenApi: () => ({ status: 200, body: this.document.text }),
  };
  private readonly audit = new Logger('ApiAudit');

  constructor(
    private readonly bus: InstanceBus,
    private readonly traces: Traces,
    private readonly document: ApiDocument,
    private readonly metrics: Metrics,
    private readonly rooms: RoomsService,
    private readonly adapter: BroadcastAdapter,
    private readonly drain: DrainService,
    private readonly upstream: Upstream,
    @Inject(CONFIG) private readonly config: Config,
  ) {}

  onModuleInit(): void {
    this.bus.on(DESCRIBE, () => this.describe());
  }

  private async list(): Promise<ApiAnswer> {
    const { answers, silent } = await this.bus.ask(DESCRIBE, null, ASK_TIMEOUT_MS);
    return { status: 200, body: { instances: answers.map(({ answer }) => answer), silent } };
  }

  private async describe(): Promise<object> {
    const lease = await this.metrics.leaseHeld.get();
    const { adapter } = this;
    return {
      id: this.bus.instanceId,
      version,
      uptimeMs: Math.round(process.uptime() * 1_000),
      connections: this.metrics.hot.connectionsOpen,
      rooms: this.rooms.roomCount,
      holdsLease: lease.values[0]?.value === 1,
      ...(this.upstream.shards !== undefined && { shards: this.upstream.shards }),
      role: this.config.redis.role,
      store: 'mode' in adapter ? (adapter as unknown as SharedStore).mode : 'memory',
      draining: this.drain.draining,
    };
  }

  private async setTraces({ body, by }: ApiCall): Promise<ApiAnswer> {
    const { deviceIds = [], userIds = [], seconds } = body as TraceRequest;
    const illegal = deviceIds.findIndex((deviceId) => !isDeviceId(deviceId));
    if (illegal >= 0) {
      throw invalid(`deviceIds.${illegal}`, 'is no legal device id');
    }
    const { set, silent, reached } = await this.traces.set({ deviceIds, userIds }, seconds);
    this.audit.log({ msg: 'api', operation: 'setTraces', by, deviceIds, userIds, seconds, reached, silent });
    const answer = { deviceIds, userIds, until: set.until, silent };
    return reached
      ? { status: 200, body: answer }
      : { status: 202, body: { ...answer, pending: true as const } };
  }
}
