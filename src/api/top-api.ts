import { setImmediate as turn } from 'node:timers/promises';
import { Injectable, type OnModuleInit } from '@nestjs/common';
import { ConnectionLifecycle } from '../gateway/connection-lifecycle.js';
import type { Connection } from '../gateway/socket/connection.js';
import type { SharedStore } from '../ingest/ports.js';
import { InstanceBus } from '../instances/instance-bus.js';
import { Metrics } from '../metrics/metrics.js';
import { REFUSED_KINDS, type Refusal, type RefusedKind } from '../metrics/top-lists.js';
import { BroadcastAdapter } from '../rooms/broadcast-adapter.js';
import type { ApiAnswer, ApiCall, ApiOperations } from './api-server.js';
import { ASK_TIMEOUT_MS, describeConnection, type Listed, PER_TURN } from './connections-api.js';

const CONNECTIONS = 'api.top.connections';
const DEVICES = 'api.top.devices';
const REFUSED = 'api.top.refused';

type ConnectionMeasure = 'queuedBytes' | 'bytes' | 'skipped';
type DeviceMeasure = 'messages' | 'bytes';

interface Question<By> {
  readonly by: By;
  readonly limit: number;
}

/** What one instance has heard of devices. */
interface Heard {
  /** In local mode every instance reads all devices: their numbers must not be added up. */
  readonly alone: boolean;
  readonly devices: readonly { readonly deviceId: string; readonly perSecond: number }[];
}

/** One who was refused, as the document describes it. */
interface Refused extends Refusal {
  readonly kind: RefusedKind;
  readonly id: string;
  readonly refused: number;
  readonly instance: string;
}

/** Who costs most, who sends most, and who is refused: of all instances, the first of each list. */
@Injectable()
export class TopApi implements OnModuleInit {
  readonly operations: ApiOperations = {
    listTopConnections: (call) => this.connections(call),
    listTopDevices: (call) => this.devices(call),
    listTopRefused: (call) => this.refused(call),
  };

  constructor(
    private readonly bus: InstanceBus,
    private readonly metrics: Metrics,
    private readonly lifecycle: ConnectionLifecycle,
    private readonly adapter: BroadcastAdapter,
  ) {}

  onModuleInit(): void {
    this.bus.on(CONNECTIONS, (body) => this.ownConnections(body as Question<ConnectionMeasure>));
    this.bus.on(DEVICES, (body) => this.ownDevices(body as Question<DeviceMeasure>));
    this.bus.on(REFUSED, (body) => this.ownRefused(body as Question<RefusedKind | undefined>));
  }

  private async connections({ query }: ApiCall): Promise<ApiAnswer> {
    const by = query['by'] as ConnectionMeasure;
    const { parts, silent, limit } = await this.ask<readonly Listed[]>(CONNECTIONS, by, query['limit']);
    const connections = parts.flat().sort((a, b) => b[by] - a[by]);
    return { status: 200, body: { connections: connections.slice(0, limit), silent } };
  }

  private async devices({ query }: ApiCall): Promise<ApiAnswer> {
    const by = query['by'] as DeviceMeasure;
    const { parts, silent, limit } = await this.ask<Heard>(DEVICES, by, query['limit']);
    const rates = new Map<string, number>();
    for (const { alone, devices } of parts) {
      for (const { deviceId, perSecond } of devices) {
        const known = rates.get(deviceId) ?? 0;
        rates.set(deviceId, alone ? Math.max(known, perSecond) : known + perSecond);
      }
    }
    const devices = [...rates]
      .map(([deviceId, perSecond]) => ({ deviceId, perSecond: Math.round(perSecond * 100) / 100 }))
      .sort((a, b) => b.perSecond - a.perSecond);
    return { status: 200, body: { devices: devices.slice(0, limit), by, silent } };
  }

  private async refused({ query }: ApiCall): Promise<ApiAnswer> {
    const kind = query['kind'] as RefusedKind | undefined;
    const { parts, silent, limit } = await this.ask<readonly Refused[]>(REFUSED, kind, query['limit']);
    const refused = parts.flat().sort((a, b) => b.refused - a.refused);
    return { status: 200, body: { refused: refused.slice(0, limit), silent } };
  }

  private async ask<Part>(
    kind: string,
    by: string | undefined,
    most: unknown,
  ): Promise<{ parts: Part[]; silent: readonly string[]; limit: number }> {
    const limit = most as number;
    const { answers, silent } = await this.bus.ask(kind, { by, limit }, ASK_TIMEOUT_MS);
    // An instance of a release before this one answers null.
    return {
      parts: answers.flatMap(({ answer }) => (answer === null ? [] : [answer as Part])),
      silent,
      limit,
    };
  }

  // What each instance does

  private async ownConnections({ by, limit }: Question<ConnectionMeasure>): Promise<Listed[]> {
    let best: { value: number; connection: Connection }[] = [];
    let looked = 0;
    const cut = (): void => {
      best = best.sort((a, b) => b.value - a.value).slice(0, limit);
    };
    for (const connection of this.lifecycle.connections) {
      looked += 1;
      if (looked % PER_TURN === 0) {
        cut();
        await turn();
      }
      const value = connection.isOpen ? measure(connection, by) : 0;
      if (value > 0) {
        best.push({ value, connection });
      }
    }
    cut();
    return best.map(({ connection }) => describeConnection(connection, this.bus.instanceId));
  }

  private ownDevices({ by, limit }: Question<DeviceMeasure>): Heard {
    const { entries, ms } = this.metrics.top[by].read(limit);
    const { adapter } = this;
    return {
      alone: 'mode' in adapter && (adapter as unknown as SharedStore).mode === 'local',
      devices: entries.map(({ key, weight }) => ({ deviceId: key, perSecond: weight / (ms / 1_000) })),
    };
  }

  private ownRefused({ by, limit }: Question<RefusedKind | undefined>): Refused[] {
    const kinds = by === undefined ? REFUSED_KINDS : [by];
    const instance = this.bus.instanceId;
    return kinds
      .flatMap((kind) =>
        this.metrics.top.refused[kind]
          .read(limit)
          .entries.map(({ key, weight, note }) => ({ kind, id: key, refused: weight, ...note, instance })),
      )
      .sort((a, b) => b.refused - a.refused)
      .slice(0, limit);
  }
}

/** An outbound queue is not made by asking for it. */
function measure(connection: Connection, by: ConnectionMeasure): number {
  const { socket } = connection;
  const outbound = connection.hasOutbound ? connection.outbound : null;
  switch (by) {
    case 'bytes':
      return socket.bytesWritten;
    case 'queuedBytes':
      return (outbound?.queuedBytes ?? 0) + socket.writableLength;
    case 'skipped':
      return outbound?.skipped ?? 0;
  }
}
