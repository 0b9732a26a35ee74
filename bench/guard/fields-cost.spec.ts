import { MemoryBroadcastAdapter } from '../../src/rooms/memory/memory-adapter.js';
import { loadConfig } from '../../src/config/load-config.js';
import { FieldStates } from '../../src/layouts/fields/field-states.js';
import { fieldLimits } from '../../src/layouts/fields/known-states.js';
import { Metrics } from '../../src/metrics/metrics.js';
import { allocatedBytes } from './allocated-bytes.js';

const DEVICES = 50;
const TOPICS = 20;
const ROUNDS = 20;

/**
 * What a value of one field costs on the heap: with 20 topics a device it is paid 20 times for each publication, and what waits for a
 * window is copied by the collector. A state that were rebuilt, parsed or copied per value would show here.
 */
describe('the cost of a field', () => {
  it('is some strings per message, and not the state', async () => {
    const config = loadConfig({});
    const metrics = new Metrics();
    const rooms = new MemoryBroadcastAdapter(config.rooms, metrics);
    const states = new FieldStates(
      rooms,
      { onlyIfUnknown: true, connections: 1 },
      { payload: (_deviceId, payload) => payload, concerns: () => false },
      { ...fieldLimits(config), maxOpen: Infinity },
      metrics,
    );
    const messages = Array.from({ length: DEVICES * TOPICS }, (_, index) => ({
      deviceId: `device-${Math.floor(index / TOPICS)}`,
      receivedAt: 1_700_000_000_000,
      receivedMono: 1,
      packetId: 0,
      dup: false,
      retained: false,
      settle: () => undefined,
    }));
    const names = Array.from({ length: TOPICS }, (_, topic) => Buffer.from(`"field-${topic}"`));
    const value = Buffer.from('21.5700');
    const say = (): void => {
      for (let round = 0; round < ROUNDS; round += 1) {
        messages.forEach((message, index) =>
          states.applyFields(message, [[names[index % TOPICS]!, value]], 60_000),
        );
      }
    };
    const between = (): Promise<void> => {
      states.flush();
      return Promise.resolve();
    };
    await allocatedBytes(say, between); // compiled by now
    const bytes = (await allocatedBytes(say, between)) / (messages.length * ROUNDS);
    states.stop();
    // Two arrays of the message, two of its change, two short strings, a place in the list of the window.
    expect(bytes).toBeLessThan(600);
  });
});
