import fc from 'fast-check';
import { testRooms, type TestMember } from '../../test/support/test-rooms.js';
import type { DeliveryOptions } from '../protocol/delivery-options.js';

interface Position {
  epoch: string;
  offset: number;
}

type ServerMessage =
  | { type: 'subscribed'; rooms: (Position & { deviceId: string; recovered?: boolean })[] }
  | { type: 'snapshot'; devices: { deviceId: string; telemetry?: Position }[] }
  | ({ type: 'telemetry'; deviceId: string; skipped?: number } & Position);

/** What a client checks: within an epoch every telemetry is numbered `previous + 1 + skipped`. */
class OffsetRule {
  private readonly positions = new Map<string, Position>();
  private at = 0;

  constructor(private readonly m: TestMember) {}

  /** Reads what came since the last call. @returns how many telemetry messages were checked */
  check(): number {
    const messages = this.m
      .messages()
      .flatMap((message) =>
        message['type'] === 'batch' ? (message['messages'] as Record<string, unknown>[]) : [message],
      );
    let checked = 0;
    for (; this.at < messages.length; this.at += 1) {
      checked += this.take(messages[this.at] as unknown as ServerMessage);
    }
    return checked;
  }

  private take(message: ServerMessage): number {
    switch (message.type) {
      case 'subscribed':
        for (const { deviceId, epoch, offset, recovered } of message.rooms) {
          if (recovered !== true) {
            this.positions.set(deviceId, { epoch, offset });
          }
        }
        return 0;
      case 'snapshot':
        for (const { deviceId, telemetry } of message.devices) {
          if (telemetry !== undefined) {
            this.positions.set(deviceId, { epoch: telemetry.epoch, offset: telemetry.offset });
          }
        }
        return 0;
      case 'telemetry': {
        const { deviceId, epoch, offset, skipped } = message;
        const position = this.positions.get(deviceId);
        if (position?.epoch === epoch) {
          expect(offset).toBe(position.offset + 1 + (skipped ?? 0));
        }
        this.positions.set(deviceId, { epoch, offset });
        return 1;
      }
    }
  }

  position(deviceId: string) {
    return this.positions.get(deviceId);
  }

  /** The client resumes from where it stands: the next message continues there. */
  resumeFrom(deviceId: string, position: Position): void {
    this.positions.set(deviceId, position);
  }
}

const delivery: fc.Arbitrary<DeliveryOptions> = fc.oneof(
  fc.constant<DeliveryOptions>({ mode: 'every' }),
  fc.constant<DeliveryOptions>({ mode: 'latest' }),
  fc.record({ mode: fc.constant('every' as const), fields: fc.constantFrom(['a'], ['b'], ['a', 'n.x']) }),
  fc.record({ mode: fc.constant('latest' as const), fields: fc.constantFrom(['a'], ['n.x']) }),
  fc.record({ mode: fc.constant('latest' as const), maxRateHz: fc.constantFrom(1, 5, 100) }),
  fc.record({
    mode: fc.constant('latest' as const),
    maxRateHz: fc.constantFrom(1, 10),
    aggregate: fc.constant(true),
    fields: fc.constantFrom(['a'], ['a', 'b']),
  }),
);
const device = fc.constantFrom('d1', 'd2', 'd3');
const step = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('publish' as const),
      device,
      count: fc.integer({ min: 1, max: 12 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('advance' as const), ms: fc.integer({ min: 1, max: 1_500 }) }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('subscribe' as const), device, delivery }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('resume' as const), device, delivery }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('unsubscribe' as const), device }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('stall' as const), bytes: fc.integer({ min: 1, max: 2_000 }) }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('read' as const) }) },
);
type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

describe('the offset rule', () => {
  it('holds at every client, whatever options, rates, stalls and resumes meet', async () => {
    let checked = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 60 }), async (steps) => {
        const harness = testRooms({
          HISTORY_MAX_PUBLICATIONS: '20',
          'rooms.historyPageMaxPublications': '3',
        });
        const m = harness.member();
        const rule = new OffsetRule(m);
        await harness.rooms.subscribe(m, {
          deviceIds: ['d1', 'd2'],
          denied: [],
          delivery: { mode: 'every' },
        });
        let n = 0;
        const payload = (): unknown => {
          n += 1;
          return [{ a: n }, { b: n, n: { x: n } }, { a: n, b: n }, n][n % 4];
        };
        const run = async (one: Step): Promise<void> => {
          switch (one.do) {
            case 'publish':
              for (let at = 0; at < one.count; at += 1) {
                harness.publish(one.device, payload());
              }
              return;
            case 'advance':
              harness.scheduler.advance(one.ms);
              return;
            case 'subscribe':
              // Not waited for: the answer of a client that does not read comes when it does.
              void harness.rooms.subscribe(m, {
                deviceIds: [one.device],
                denied: [],
                delivery: one.delivery,
              });
              return;
            case 'resume': {
              // A client resumes from what it has read.
              m.socket.read();
              await harness.settle();
              checked += rule.check();
              const position = rule.position(one.device);
              if (position !== undefined) {
                const since = new Map([[one.device, position]]);
                rule.resumeFrom(one.device, position);
                await harness.rooms.subscribe(m, {
                  deviceIds: [one.device],
                  denied: [],
                  delivery: one.delivery,
                  since,
                });
              }
              return;
            }
            case 'unsubscribe':
              harness.rooms.unsubscribe(m, [one.device]);
              return;
            case 'stall':
              m.socket.room = one.bytes;
              return;
            case 'read':
              m.socket.read();
          }
        };
        for (const one of steps) {
          await run(one);
          await harness.settle();
        }
        m.socket.read();
        harness.scheduler.advance(2_000);
        await harness.settle();
        checked += rule.check();
        harness.rooms.leave(m);
        m.outbound.close();
        const { hot } = harness.metrics;
        const dropped = (await harness.metrics.dropped.get()).values.reduce(
          (sum, { value }) => sum + value,
          0,
        );
        expect(hot.due).toBe(hot.delivered + hot.conflated + hot.filtered + dropped);
        expect(harness.rooms.roomCount).toBe(0);
        expect(harness.scheduler.pending).toBe(0);
      }),
      { numRuns: 100 },
    );
    expect(checked).toBeGreaterThan(1_000);
  });
});
