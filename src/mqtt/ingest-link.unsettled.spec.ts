import { Duplex } from 'node:stream';
import { type IngestContext, IngestLink, MAX_UNSETTLED_BYTES } from './ingest-link.js';
import type { InboundMessage } from './topic-router.js';

describe('messages that are not settled', () => {
  // Messages were counted and not their bytes: 16 384 of 256 KiB that wait for a store are 4 GiB.
  it('stops reading while large messages are not settled, and goes on when half of them are', () => {
    const waiting: InboundMessage[] = [];
    const route = {
      kind: 'telemetry',
      layout: 'l',
      handle: (message: InboundMessage) => waiting.push(message),
    };
    const context = {
      broker: { protocolVersion: 4 },
      limits: { maxPayloadBytes: MAX_UNSETTLED_BYTES },
      router: { resolve: () => ({ route, deviceId: 'd' }) },
      counters: { count: () => undefined, heard: () => undefined },
      trace: {},
    } as unknown as IngestContext;
    const network = new Duplex({ read: () => undefined, write: (_chunk, _encoding, done) => done() });
    const link = new IngestLink(context, false, { retained: () => undefined });
    link.attach(network);
    const bytes = Buffer.alloc(0);
    for (let n = 0; n < 4; n += 1) {
      expect(network.isPaused()).toBe(false);
      link.publish(bytes, 0, 0, 0, 0, 0, MAX_UNSETTLED_BYTES / 4);
    }
    expect(network.isPaused()).toBe(true);
    waiting[0]?.finish('accepted');
    expect(network.isPaused()).toBe(true);
    waiting[1]?.finish('accepted');
    expect(network.isPaused()).toBe(false);
    link.reader.destroy();
  });
});
