import { Inject, Injectable, Optional } from '@nestjs/common';
import type { SessionMessages } from '../ingest/ingest.js';
import { type DeviceSink, StoreLostError } from '../ingest/ports.js';
import { RetainedState } from '../ingest/retained-state.js';
import type { Reading } from '../layouts/fields/field-states.js';
import type { CompiledLayout, SparkplugRoute } from '../layouts/compiled-layouts.js';
import { deviceTopics } from '../layouts/device-topics.js';
import { ActiveLayouts } from '../layouts/active-layouts.js';
import type { MeantDevices } from '../layouts/layout.js';
import { background, contain, tellEach, walled } from '../logging/walls.js';
import type { InboundMessage, Route } from '../mqtt/topic-router.js';
import { BroadcastAdapter, type DeviceStatus, type StateOutcome } from '../rooms/broadcast-adapter.js';
import { Transformer } from '../transform/transformer.js';
import { StaticMetadata } from './static-metadata.js';
import { mergedFields } from '../layouts/fields/json-members.js';
import { jsonValue } from './json-check.js';
import { layoutRoutes, type Says } from './layout-routes.js';
import { MetaFields } from './meta-fields.js';
import { OfflineSweeps } from './offline-sweeps.js';
import { type SessionState, SessionStates } from './session-states.js';

/** The store's list of devices, for status messages that speak of many devices at once. */
type KnownDevices = Pick<BroadcastAdapter, 'watchDevices'>;

/** Topic filters; `+` is the device id. */
export const TELEMETRY = 'devices/+/telemetry';
export const STATUS = 'devices/+/status';
export const META = 'devices/+/meta';

/** Never provided: the session that Nest makes reads everything. */
const NO_SHARD = Symbol('SLUICE:NO_SHARD');

const OPEN_OBJECT = 0x7b;
/** The largest time a Date can hold, Unix ms. */
const MAX_TIME_MS = 8.64e15;
const isTime = (ts: number): boolean => ts >= 0 && ts <= MAX_TIME_MS;

/**
 * What devices say, for one session: its messages go straight into the session's sink. The one that Nest makes belongs to the
 * session of memory mode. Each method ends its message exactly once, now or later: that is what acknowledges it to the broker.
 */
@Injectable()
export class DeviceMessages implements SessionMessages, Says {
  routes: readonly Route[] = [];
  subscriptions: readonly Pick<Route, 'filter' | 'qos'>[] = [];
  /** By layout and device, the number of the last status (`order`). */
  private readonly lastOrder = new Map<string, number>();

  private readonly metaFields: MetaFields;
  /** Devices whose metadata has changed in this turn of the event loop, with the messages about it that are stored together in the next. */
  private readonly metaTurn = new Map<string, InboundMessage[]>();
  private readonly sweeps: OfflineSweeps;
  private readonly state: SessionState;
  private readonly listeners = new Set<() => void>();
  private readonly forgetLayouts: () => void;

  constructor(
    @Inject(BroadcastAdapter) private readonly sink: DeviceSink,
    private readonly retained: RetainedState,
    private readonly metadata: StaticMetadata,
    private readonly transformer: Transformer,
    private readonly states: SessionStates,
    private readonly layouts: ActiveLayouts,
    @Inject(BroadcastAdapter) private readonly rooms: KnownDevices,
    /** Only the topics of this shard are read; if undefined, all topics. */
    @Optional() @Inject(NO_SHARD) private readonly shard?: number,
  ) {
    this.metaFields = new MetaFields(retained);
    this.sweeps = new OfflineSweeps(rooms, retained);
    this.state = states.make(sink, retained, layouts, (deviceId) => this.owns(deviceId));
    this.takeLayouts();
    this.forgetLayouts = layouts.onChange(() => {
      this.takeLayouts();
      tellEach('device', [...this.listeners]);
    });
  }

  onRoutes(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  private takeLayouts(): void {
    const layouts = this.layouts.current;
    const layout = 'sluice';
    this.routes =
      layouts === null
        ? [
            {
              filter: TELEMETRY,
              kind: 'telemetry',
              qos: 1,
              layout,
              name: 'telemetry[0]',
              handle: (message) => this.telemetry(message),
            },
            {
              filter: STATUS,
              kind: 'status',
              qos: 1,
              layout,
              name: 'status[0]',
              handle: (message) => this.status(message),
            },
            {
              filter: META,
              kind: 'meta',
              qos: 1,
              layout,
              name: 'meta[0]',
              handle: (message) => this.meta(message),
            },
          ]
        : layoutRoutes(layouts, this, this.retained.maxPayloadBytes);
    this.subscriptions =
      this.shard !== undefined
        ? (this.layouts.division.shards[this.shard] ?? [])
        : layouts === null
          ? this.routes
          : layouts.subscriptions;
  }

  subscriptionsFor(deviceIds: Iterable<string>, max: number): SessionMessages['subscriptions'] | null {
    const layouts = this.layouts.current;
    if (layouts !== null) {
      return deviceTopics(layouts, deviceIds, max);
    }
    const filters: Pick<Route, 'filter' | 'qos'>[] = [];
    for (const deviceId of deviceIds) {
      for (const { filter, qos } of this.routes) {
        filters.push({ filter: filter.replace('+', () => deviceId), qos });
      }
      if (filters.length > max) {
        return null;
      }
    }
    return filters;
  }

  /** Whether this session reads the device. Messages about other devices are handled by the shards that read those. */
  private owns(deviceId: string): boolean {
    return this.shard === undefined || this.layouts.division.shardOf(deviceId) === this.shard;
  }

  telemetry(message: InboundMessage): void {
    const json = jsonValue(message.buffer, message.start, message.end);
    if (typeof json === 'string') {
      message.finish(json);
    } else {
      this.publish(message, json);
    }
  }

  publish(message: InboundMessage, json: Buffer): void {
    const payload = this.transformer.payload(message.deviceId, json);
    if (message.retained) {
      this.sink.fillTelemetry(message.deviceId, payload, message.receivedAt);
      message.finish('retained');
    } else {
      message.payload = payload;
      this.sink.publish(message);
    }
  }

  /** A value of one field, `null` removes it. @param name JSON text with its quotes */
  field(message: InboundMessage, name: Buffer, value: Buffer | null, windowMs: number): void {
    this.fields(message, [[name, value]], windowMs);
  }

  /** A JSON object whose members are fields. */
  merge(message: InboundMessage, json: Buffer, windowMs: number): void {
    const fields = mergedFields(json);
    if (fields === null) {
      message.finish('not_object');
    } else {
      this.fields(message, fields, windowMs);
    }
  }

  private fields(message: InboundMessage, fields: Reading['fields'], windowMs: number): void {
    this.state.fields.applyFields(message, fields, windowMs);
  }

  sparkplug(message: InboundMessage, layout: CompiledLayout, { verb, topics }: SparkplugRoute): void {
    if (verb.endsWith('DATA')) {
      this.heard(message);
    }
    const { group, node, device } = topics.address(message.memo.captures ?? {});
    this.state.edgeNodes(layout).take(verb, group, node, device, message);
  }

  saidTime({ retained, receivedAt }: InboundMessage, ts: number): void {
    if (!retained && isTime(ts)) {
      this.states.saidTime(ts, receivedAt);
    }
  }

  /** A device whose layout has a silence has sent a live message. Status messages do not come here, because they set the status themselves. */
  heard({ deviceId, retained, receivedAt, receivedMono }: InboundMessage): void {
    if (!retained) {
      this.state.silence?.heard(deviceId, receivedAt, receivedMono);
    }
  }

  connected(missed: boolean): void {
    this.state.connected(missed);
  }

  caughtUp(): void {
    this.state.caughtUp();
  }

  disconnected(): void {
    this.state.disconnected();
  }

  flush(): void {
    this.state.fields.flush();
  }

  end(): void {
    this.forgetLayouts();
    this.metaTurn.clear(); // what waits is not settled, for the next session
    this.state.end();
  }

  /** `{"online":bool,"ts"?:number}`; in order of arrival, since a will carries the time of connecting and not that of its death. */
  status(message: InboundMessage): void {
    const payload = jsonValue(message.buffer, message.start, message.end);
    if (typeof payload === 'string') {
      message.finish(payload);
      return;
    }
    if (payload[0] !== OPEN_OBJECT) {
      message.finish('not_object');
      return;
    }
    const { online, ts } = JSON.parse(payload.toString()) as { online?: unknown; ts?: unknown };
    if (typeof online !== 'boolean') {
      message.finish('bad_status');
      return;
    }
    this.setStatus(message, online, typeof ts === 'number' ? ts : undefined);
  }

  setStatus(message: InboundMessage, online: boolean, ts: number | undefined): void {
    const { deviceId, retained, receivedAt } = message;
    const hasTime = ts !== undefined && isTime(ts);
    if (!retained) {
      this.retained.sawLiveStatus(deviceId);
      this.sweeps.saidItself(deviceId);
    } else if (!this.retained.admitsStatus(deviceId, online, hasTime)) {
      message.finish('retained');
      return;
    }
    this.retained.sawStatus(deviceId, online, hasTime);
    // A will was written when its connection was opened, so its time says nothing about its age.
    if (hasTime && online && !retained) {
      this.states.saidTime(ts, receivedAt);
    }
    const status: DeviceStatus = {
      isOnline: online,
      lastSeen: hasTime ? ts : receivedAt,
      serverTs: receivedAt,
    };
    const onlyIfUnknown = retained && this.retained.onlyIfUnknown;
    if (!onlyIfUnknown) {
      const { receivedMono } = message;
      this.state.silence?.said(
        deviceId,
        online,
        retained ? status.lastSeen : receivedAt,
        receivedMono,
        !retained,
      );
    }
    this.finishAfter(message, this.sink.setStatus(deviceId, status, onlyIfUnknown));
  }

  /** A JSON object; an empty payload forgets it, down to what METADATA_FILE says. */
  meta(message: InboundMessage): void {
    const { start, end } = message;
    const payload = start === end ? null : jsonValue(message.buffer, start, end);
    if (typeof payload === 'string') {
      message.finish(payload);
      return;
    }
    if (payload !== null && payload[0] !== OPEN_OBJECT) {
      message.finish('not_object');
      return;
    }
    this.setMeta(message, payload);
  }

  setMeta(message: InboundMessage, payload: Buffer | null): void {
    const { deviceId, retained } = message;
    if (!retained) {
      this.retained.sawLiveMeta(deviceId);
    } else if (!this.retained.admitsMeta(deviceId)) {
      message.finish('retained');
      return;
    }
    if (this.metaTurn.size > 0) {
      this.storeWaitingMeta(deviceId);
    }
    this.retained.sawMeta(deviceId, payload !== null);
    const meta = this.transformer.meta(deviceId, payload ?? this.metadata.get(deviceId));
    this.finishAfter(message, this.sink.setMeta(deviceId, meta));
  }

  /**
   * One field of the metadata, each with a topic of its own; null removes it. A message of some bytes changes metadata of up to a whole message: of
   * what one turn of the event loop brings, a device's first field is stored at once and the others together.
   */
  setMetaField(message: InboundMessage, name: string, json: Buffer | null): void {
    const { deviceId, retained } = message;
    if (retained && this.metaFields.has(deviceId, name)) {
      message.finish('retained'); // a live message has set the field before
      return;
    }
    const refusal = this.metaFields.set(deviceId, name, json);
    if (refusal !== null) {
      message.finish(refusal);
      return;
    }
    const waiting = this.metaTurn.get(deviceId);
    if (waiting !== undefined) {
      waiting.push(message);
      return;
    }
    if (this.metaTurn.size === 0) {
      setImmediate(
        walled('device', () => {
          [...this.metaTurn.keys()].forEach((device) => this.storeWaitingMeta(device));
          this.metaTurn.clear();
        }),
      );
    }
    this.metaTurn.set(deviceId, []);
    this.storeMetaFields(deviceId, [message]);
  }

  private storeWaitingMeta(deviceId: string): void {
    const waiting = this.metaTurn.get(deviceId) ?? [];
    if (waiting.length > 0) {
      this.metaTurn.set(deviceId, []);
      try {
        this.storeMetaFields(deviceId, waiting);
      } catch (error) {
        contain('device', error);
        waiting.forEach((message) => message.finish('failed'));
      }
    }
  }

  private storeMetaFields(deviceId: string, messages: readonly InboundMessage[]): void {
    const payload = this.metaFields.text(deviceId);
    this.retained.sawMeta(deviceId, payload !== null);
    const meta = this.transformer.meta(deviceId, payload ?? this.metadata.get(deviceId));
    const stored = this.sink.setMeta(deviceId, meta);
    messages.forEach((message) => this.finishAfter(message, stored));
  }

  setAllOffline(message: InboundMessage, meant: MeantDevices, ts: number | undefined): void {
    const { receivedAt, receivedMono, retained } = message;
    const status: DeviceStatus = { isOnline: false, lastSeen: ts ?? receivedAt, serverTs: receivedAt };
    const hasTime = ts !== undefined;
    const stored = this.sweeps.add(`${retained} ${meant.name}`, {
      meant: (deviceId) =>
        meant.matches(deviceId) &&
        this.owns(deviceId) &&
        (retained
          ? this.retained.admitsStatus(deviceId, false, hasTime)
          : hasTime || !this.retained.isOffline(deviceId)),
      set: (deviceId) => {
        if (!retained) {
          this.retained.sawLiveStatus(deviceId);
          this.state.silence?.said(deviceId, false, receivedAt, receivedMono, true);
        }
        this.retained.sawStatus(deviceId, false, hasTime);
        return this.sink.setStatus(deviceId, status, retained && this.retained.onlyIfUnknown);
      },
    });
    this.finishAfter(
      message,
      stored.then(() => undefined),
    );
  }

  isNewer(layout: string, deviceId: string, order: number): boolean {
    const key = `${layout} ${deviceId}`;
    const last = this.lastOrder.get(key);
    if (last !== undefined && order <= last) {
      return false;
    }
    if (last !== undefined || this.lastOrder.size < this.retained.maxDevices) {
      this.lastOrder.set(key, order);
    }
    return true;
  }

  into(sink: DeviceSink, retained: RetainedState, shard?: number): DeviceMessages {
    return new DeviceMessages(
      sink,
      retained,
      this.metadata,
      this.transformer,
      this.states,
      this.layouts,
      this.rooms,
      shard,
    );
  }

  applyMetadataFile(): Promise<void> {
    return this.applyMetadata(this.metadata.ids());
  }

  followMetadataFile(): () => void {
    return this.metadata.onChange((ids) =>
      background(
        'device',
        this.applyMetadata(ids).catch((error: unknown) => {
          if (!(error instanceof StoreLostError)) {
            throw error;
          }
          // The store was lost: this is repeated after the return to it.
        }),
      ),
    );
  }

  private async applyMetadata(ids: Iterable<string>): Promise<void> {
    for (const deviceId of ids) {
      if (!this.retained.knowsMeta(deviceId) && this.owns(deviceId)) {
        await this.sink.setMeta(deviceId, this.transformer.meta(deviceId, this.metadata.get(deviceId)));
      }
    }
  }

  private finishAfter(message: InboundMessage, stored: Promise<StateOutcome>): void {
    const finished = stored.then(
      (outcome) => message.finish(outcome ?? (message.retained ? 'retained' : 'accepted')),
      (error: unknown) => {
        if (error instanceof StoreLostError) {
          return; // not acknowledged: the broker delivers it again
        }
        contain('device', error);
        message.finish('failed');
      },
    );
    background('device', finished, () => message.finish('failed'));
  }
}
