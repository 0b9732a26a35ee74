import { setImmediate as nextTurn } from 'node:timers/promises';
import { testConfig } from './test-config.js';
import type { Config } from '../../src/config/config.js';
import { DeliveryContext } from '../../src/delivery/delivery-context.js';
import { FakeSocket } from './fake-socket.js';
import { ManualScheduler } from './manual-scheduler.js';
import { Outbound } from '../../src/delivery/outbound.js';
import { Metrics } from '../../src/metrics/metrics.js';
import { MemoryBroadcastAdapter } from '../../src/rooms/memory/memory-adapter.js';
import { type Member, MemberRooms } from '../../src/rooms/room.js';
import { RoomsService } from '../../src/rooms/rooms.service.js';

/** A connection whose socket is a {@link FakeSocket}. */
export class TestMember implements Member {
  readonly socket = new FakeSocket();
  readonly subscriptions = new MemberRooms();
  readonly outbound: Outbound;
  slow = false;
  failed = false;

  constructor(context: DeliveryContext) {
    this.outbound = new Outbound(this.socket.asSocket(), context, this);
  }

  onSlow(): void {
    this.slow = true;
  }

  onFailed(): void {
    this.failed = true;
  }

  messages(type?: string): Record<string, unknown>[] {
    return this.socket.messages().filter((message) => type === undefined || message['type'] === type);
  }
}

/** RoomsService over the memory adapter, with limits of the test's choice and no network. */
export function testRooms(env: Record<string, string> = {}) {
  const config: Config = testConfig(env);
  const metrics = new Metrics();
  const scheduler = new ManualScheduler();
  const context = new DeliveryContext(config.ws, metrics, scheduler);
  const adapter = new MemoryBroadcastAdapter(config.rooms, metrics);
  const rooms = new RoomsService(config, adapter, metrics, context);
  let packetId = 0;
  return {
    rooms,
    adapter,
    metrics,
    context,
    scheduler,
    member: () => new TestMember(context),
    publish: (deviceId: string, payload: unknown): void => {
      packetId = (packetId % 65_535) + 1;
      adapter.publish({
        deviceId,
        payload: Buffer.from(JSON.stringify(payload)),
        receivedAt: Date.now(),
        receivedMono: performance.now(),
        packetId,
        dup: false,
        settle: () => {},
      });
    },
    /** Lets the flush window and everything it started run. */
    settle: async (): Promise<void> => {
      for (let turn = 0; turn < 5; turn += 1) {
        await nextTurn();
      }
    },
  };
}
