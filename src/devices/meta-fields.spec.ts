import type { DeviceSink } from '../ingest/ports.js';
import type { RetainedState } from '../ingest/retained-state.js';
import { ActiveLayouts } from '../layouts/active-layouts.js';
import type { InboundMessage } from '../mqtt/topic-router.js';
import type { Transformer } from '../transform/transformer.js';
import { DeviceMessages } from './device-messages.js';
import { MetaFields } from './meta-fields.js';
import type { SessionStates } from './session-states.js';
import type { StaticMetadata } from './static-metadata.js';

describe(MetaFields.name, () => {
  // Fields were counted and not their bytes: one device with a thousand topics was as many payloads in memory, and all of them in each message.
  it('has so many devices, fields and bytes at most', () => {
    const fields = new MetaFields({ maxDevices: 3, maxPayloadBytes: 20_000 }, 40_000);
    const json = (bytes: number): Buffer => Buffer.from(`"${'x'.repeat(bytes - 2)}"`);
    expect(fields.set('a', 'x', json(19_000))).toBeNull();
    expect(fields.set('a', 'y', json(1_000))).toBe('too_large');
    expect(fields.set('a', 'x', json(10_000))).toBeNull();
    expect(fields.set('a', 'y', json(1_000))).toBeNull();
    expect(fields.set('b', 'x', json(19_000))).toBeNull();
    expect(fields.set('c', 'x', json(19_000))).toBe('refused');
    expect(fields.set('b', 'x', null)).toBeNull();
    expect(fields.set('c', 'x', json(19_000))).toBeNull();
    expect(fields.set('d', 'x', json(10))).toBe('failed');
    const many = new MetaFields({ maxDevices: 1, maxPayloadBytes: 20_000 });
    for (let n = 0; n < 1_000; n += 1) {
      expect(many.set('a', `n${n}`, json(2))).toBeNull();
    }
    expect(many.set('a', 'n1000', json(2))).toBe('too_many_fields');
  });

  it('says them as one object, and nothing when there is none', () => {
    const fields = new MetaFields({ maxDevices: 3, maxPayloadBytes: 20_000 });
    fields.set('a', 'unit "1"', Buffer.from('"\u00b0C"'));
    fields.set('a', 'n', Buffer.from('1.50'));
    expect(fields.text('a')?.toString()).toBe('{"unit \\"1\\"":"\u00b0C","n":1.50}');
    fields.set('a', 'unit "1"', null);
    fields.set('a', 'n', null);
    expect([fields.text('a'), fields.text('b'), fields.has('a', 'n')]).toEqual([null, null, false]);
  });
});

describe('metadata with a topic for each field', () => {
  // Each message of some bytes stored the whole metadata of its device: thousands in a chunk of the network were gigabytes on their way.
  it('is stored twice in a turn of the event loop at most, and settles all its messages', async () => {
    const stored: string[] = [];
    const outcomes: string[] = [];
    const messages = new DeviceMessages(
      {
        setMeta: (deviceId: string, meta: Buffer) => {
          stored.push(`${deviceId} ${meta.toString()}`);
          return Promise.resolve(undefined);
        },
      } as unknown as DeviceSink,
      { maxDevices: 10, maxPayloadBytes: 1_000, sawMeta: () => undefined } as unknown as RetainedState,
      { get: () => null } as unknown as StaticMetadata,
      { meta: (_deviceId: string, meta: Buffer) => meta } as unknown as Transformer,
      { make: () => ({}) } as unknown as SessionStates,
      new ActiveLayouts(null),
      { watchDevices: () => Promise.resolve([]) },
    );
    const say = (deviceId: string, name: string, value: number): void => {
      const message = { deviceId, retained: false, finish: (outcome: string) => outcomes.push(outcome) };
      messages.setMetaField(message as unknown as InboundMessage, name, Buffer.from(String(value)));
    };
    for (let n = 1; n <= 100; n += 1) {
      say('a', 'n', n);
    }
    say('b', 'n', 1);
    await new Promise(setImmediate);
    await new Promise(setImmediate);
    expect(stored).toEqual(['a {"n":1}', 'b {"n":1}', 'a {"n":100}']);
    expect(outcomes).toEqual(Array.from({ length: 101 }, () => 'accepted'));
    say('a', 'n', 101);
    expect(stored.at(-1)).toBe('a {"n":101}');
  });
});
