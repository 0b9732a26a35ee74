import { Inject, Injectable } from '@nestjs/common';
import type { SessionMessages } from '../ingest/ingest.js';
import { type DeviceSink, StoreLostError } from '../ingest/ports.js';
import { RetainedState } from '../ingest/retained-state.js';
import type { Reading } from '../layouts/field-states.js';
import { background, contain } from '../logging/walls.js';
import type { MessageOutcome } from '../mqtt/ingest-counters.js';
import type { InboundMessage, Route } from '../mqtt/topic-router.js';
import { BroadcastAdapter, type DeviceStatus } from '../rooms/broadcast-adapter.js';
import { Transformer } from '../transform/transformer.js';
import { StaticMetadata } from './static-metadata.js';
import { mergedFields } from '../layouts/json-members.js';
import { jsonValue } from './json-check.js';
import { type SessionState, SessionStates } from './session-states.js';

/** Topic filters; `+` is the device id. */
export const TELEMETRY = 'devices/+/telemetry';
export const STATUS = 'devices/+/status';
export const META = 'devices/+/meta';

const OPEN_OBJECT = 0x7b;
/** The largest time a Date can hold, Unix ms. */
const MAX_TIME_MS = 8.64e15;

/** What a message says of its device's fields. */
class MessageReading implements Reading {
  readonly deviceId: string;
  readonly receivedAt: number;
  readonly receivedMono: number;
  readonly packetId: number;
  readonly dup: boolean;
  readonly retained: boolean;

  constructor(
    private readonly message: InboundMessage,
    readonly fields: Reading['fields'],
    readonly windowMs: number,
  ) {
    this.deviceId = message.deviceId;
    this.receivedAt = message.receivedAt;
    this.receivedMono = message.receivedMono;
    this.packetId = message.packetId;
    this.dup = message.dup;
    this.retained = message.retained;
  }

  settle(outcome: MessageOutcome): void {
    this.message.finish(outcome);
  }
}

/**
 * What devices say, for one session: its messages go straight into the session's sink. The one that Nest makes belongs to the
 * session of memory mode. Each method ends its message exactly once, now or later: that is what acknowledges it to the broker.
 */
@Injectable()
export class DeviceMessages implements SessionMessages {
  readonly routes: readonly Route[] = [
    { filter: TELEMETRY, kind: 'telemetry', qos: 1, handle: (message) => this.telemetry(message) },
    { filter: STATUS, kind: 'status', qos: 1, handle: (message) => this.status(message) },
    { filter: META, kind: 'meta', qos: 1, handle: (message) => this.meta(message) },
  ];

  private readonly state: SessionState;

  constructor(
    @Inject(BroadcastAdapter) private readonly sink: DeviceSink,
    private readonly retained: RetainedState,
    private readonly metadata: StaticMetadata,
    private readonly transformer: Transformer,
    private readonly states: SessionStates,
  ) {
    this.state = states.make(sink, retained, null);
  }

  telemetry(message: InboundMessage): void {
    const json = jsonValue(message.buffer, message.start, message.end);
    if (typeof json === 'string') {
      message.finish(json);
      return;
    }
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
    this.state.fields.apply(new MessageReading(message, fields, windowMs));
  }

  /** A live message of a device whose layout has a silence. A status says so itself. */
  heard({ deviceId, retained, receivedAt, receivedMono }: InboundMessage): void {
    if (!retained) {
      this.state.silence?.heard(deviceId, receivedAt, receivedMono);
    }
  }

  connected(missed: boolean): void {
    this.state.silence?.connected(missed);
  }

  caughtUp(): void {
    this.state.silence?.upToDate();
  }

  disconnected(): void {
    this.state.silence?.disconnected();
  }

  flush(): void {
    this.state.fields.flush();
  }

  end(): void {
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
    const { deviceId, retained, receivedAt } = message;
    const hasTime = typeof ts === 'number' && ts >= 0 && ts <= MAX_TIME_MS;
    if (!retained) {
      this.retained.sawLiveStatus(deviceId);
    } else if (!this.retained.admitsStatus(deviceId, online, hasTime)) {
      message.finish('retained');
      return;
    }
    this.retained.sawStatus(deviceId, online, hasTime);
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
    const { deviceId, retained, start, end } = message;
    const payload = start === end ? null : jsonValue(message.buffer, start, end);
    if (typeof payload === 'string') {
      message.finish(payload);
      return;
    }
    if (payload !== null && payload[0] !== OPEN_OBJECT) {
      message.finish('not_object');
      return;
    }
    if (!retained) {
      this.retained.sawLiveMeta(deviceId);
    } else if (!this.retained.admitsMeta(deviceId)) {
      message.finish('retained');
      return;
    }
    this.retained.sawMeta(deviceId, payload !== null);
    const meta = this.transformer.meta(deviceId, payload ?? this.metadata.get(deviceId));
    this.finishAfter(message, this.sink.setMeta(deviceId, meta));
  }

  into(sink: DeviceSink, retained: RetainedState): DeviceMessages {
    return new DeviceMessages(sink, retained, this.metadata, this.transformer, this.states);
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
          // Repeated after the return to the store.
        }),
      ),
    );
  }

  private async applyMetadata(ids: Iterable<string>): Promise<void> {
    for (const deviceId of ids) {
      if (!this.retained.knowsMeta(deviceId)) {
        await this.sink.setMeta(deviceId, this.transformer.meta(deviceId, this.metadata.get(deviceId)));
      }
    }
  }

  private finishAfter(message: InboundMessage, stored: Promise<void>): void {
    const finished = stored.then(
      () => message.finish(message.retained ? 'retained' : 'accepted'),
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
