import { jest } from '@jest/globals';
import { Metrics } from '../../metrics/metrics.js';
import type { MessageOutcome } from '../../mqtt/ingest-counters.js';
import type { DeviceMessage, IngestOutcome, TelemetryBase } from '../../rooms/broadcast-adapter.js';
import { FieldStates, type Reading } from './field-states.js';
import type { FieldLimits, TelemetryTransform } from './known-states.js';

export const LIMITS: FieldLimits = {
  maxFields: 5,
  maxPayloadBytes: 200,
  maxDevices: 3,
  maxBytes: 100_000,
  maxWaiting: 4,
  maxWaitingBytes: 460,
  maxOpen: 6,
  expiryMs: 1_000_000,
};

export const PLAIN: TelemetryTransform = { concerns: () => false, payload: (_deviceId, payload) => payload };

/** States over a store that remembers what it is told, with the clock of the test. */
export class StatesOfTest {
  readonly published: string[] = [];
  /** What each of {@link published} was before its transformation. */
  readonly before: (string | undefined)[] = [];
  readonly filled: string[] = [];
  readonly messages: DeviceMessage[] = [];
  readonly outcomes: string[] = [];
  readonly retained = { onlyIfUnknown: true, connections: 1 };
  readonly bases = new Map<string, TelemetryBase | null>();
  readonly asked: {
    deviceId: string;
    resolve(base: TelemetryBase | null): void;
    reject(error: Error): void;
  }[] = [];
  /** The store answers when the test says. */
  slow = false;
  answer: IngestOutcome | null = 'accepted';
  readonly metrics = new Metrics();
  states: FieldStates;

  constructor() {
    jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate'] });
    this.states = this.make();
  }

  stop(): void {
    this.states.stop();
    jest.useRealTimers();
  }

  make(transform = PLAIN, limits: Partial<FieldLimits> = {}): FieldStates {
    const sink = {
      publish: (message: DeviceMessage) => {
        this.messages.push(message);
        this.published.push(message.payload.toString());
        this.before.push(message.untransformed?.toString());
        if (this.answer !== null) {
          message.settle(this.answer);
        }
      },
      fillTelemetry: (_deviceId: string, payload: Buffer) => void this.filled.push(payload.toString()),
      base: (deviceId: string) =>
        this.slow
          ? new Promise<TelemetryBase | null>((resolve, reject) =>
              this.asked.push({ deviceId, resolve, reject }),
            )
          : (this.bases.get(deviceId) ?? null),
    };
    return new FieldStates(sink, this.retained, transform, { ...LIMITS, ...limits }, this.metrics);
  }

  say(fields: Record<string, string | null>, more: Partial<Reading> = {}): void {
    this.states.apply({
      deviceId: 'd',
      fields: Object.entries(fields).map(([name, value]) => [
        Buffer.from(JSON.stringify(name)),
        value === null ? null : Buffer.from(value),
      ]),
      windowMs: 0,
      receivedAt: Date.now(),
      receivedMono: performance.now(),
      packetId: 7,
      dup: false,
      retained: false,
      settle: (outcome: MessageOutcome) => void this.outcomes.push(outcome),
      ...more,
    });
  }
}

/** What the store shows of a device. */
export const base = (
  shown: string,
  untransformed: string | null = null,
  current = untransformed !== null,
): TelemetryBase => ({
  shown: Buffer.from(shown),
  untransformed: untransformed === null ? null : Buffer.from(untransformed),
  current,
});
