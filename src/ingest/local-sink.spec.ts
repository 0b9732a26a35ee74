import { jest } from '@jest/globals';
import type { IngestOutcome } from '../rooms/broadcast-adapter.js';
import { MemoryEdgeNodes } from '../rooms/edge-nodes.js';
import type { DeviceSink, StoreMode } from './ports.js';
import { LocalSink } from './local-sink.js';

describe('LocalSink', () => {
  let shown: string[];
  let outcomes: [payload: string, outcome: IngestOutcome][];
  let store: { mode: StoreMode };
  let sink: LocalSink;

  beforeEach(() => {
    shown = [];
    outcomes = [];
    store = { mode: 'local' };
    const rooms: DeviceSink = {
      edgeNodes: new MemoryEdgeNodes(1),
      publish: (message) => {
        shown.push(`${message.deviceId} ${message.payload.toString()}`);
        message.settle('accepted');
      },
      fillTelemetry: (deviceId, payload) => void shown.push(`${deviceId} fill ${payload.toString()}`),
      base: () => null,
      eachDevice: async () => undefined,
      setStatus: async (deviceId, { isOnline }) => void shown.push(`${deviceId} ${String(isOnline)}`),
      setMeta: async (deviceId, meta) => void shown.push(`${deviceId} meta ${String(meta)}`),
    };
    sink = new LocalSink(rooms, store);
  });

  function publish(deviceId: string, payload: string): void {
    sink.publish({
      deviceId,
      payload: Buffer.from(payload),
      receivedAt: 1,
      receivedMono: 1,
      packetId: 0,
      dup: false,
      settle: (outcome) => void outcomes.push([payload, outcome]),
    });
  }

  const online = { isOnline: true, lastSeen: 1, serverTs: 1 };
  const nothing = new Map<string, Buffer>();

  it('shows everything while rooms are local', async () => {
    publish('a', '1');
    sink.fillTelemetry('b', Buffer.from('2'), 1);
    await sink.setStatus('a', online, false);
    await sink.setMeta('a', Buffer.from('{}'));

    expect(shown).toEqual(['a 1', 'b fill 2', 'a true', 'a meta {}']);
  });

  // An instance that changed from the topics of what is watched to those of the fleet showed a message twice.
  it('shows a message once that comes for two filters, while others take the place of those that are there', () => {
    publish('a', '1');
    publish('a', '1');
    sink.filtersChange();
    for (const payload of ['2', '2', '3', '3', '3']) {
      publish('a', payload);
    }
    publish('b', '3');

    expect(shown).toEqual(['a 1', 'a 1', 'a 2', 'a 3', 'a 3', 'b 3']);
    expect(outcomes.filter(([, outcome]) => outcome === 'duplicate')).toEqual([
      ['2', 'duplicate'],
      ['3', 'duplicate'],
    ]);
  });

  it('takes nothing for a copy a little after they have', () => {
    jest.useFakeTimers();
    try {
      sink.filtersChange();
      sink.filtersChanged();
      jest.advanceTimersByTime(2_000);
      publish('a', '1');
      publish('a', '1');
      expect(shown).toEqual(['a 1', 'a 1']);
    } finally {
      jest.useRealTimers();
    }
  });

  it('leaves no timer behind when it ends, also where its connection is lost after that', () => {
    jest.useFakeTimers();
    try {
      sink.filtersChange();
      sink.filtersChanged();
      sink.drop();
      sink.filtersChanged();
      expect(jest.getTimerCount()).toBe(0);
    } finally {
      jest.useRealTimers();
    }
  });

  it('holds everything on the way back, unsettled, and shows it in order when the store is lost again', async () => {
    sink.hold();
    publish('a', '1');
    const status = sink.setStatus('a', online, false);
    sink.fillTelemetry('b', Buffer.from('2'), 1);
    publish('a', '3');
    expect([shown, outcomes]).toEqual([[], []]);

    sink.release(nothing);
    publish('a', '4');

    await status;
    expect(shown).toEqual(['a 1', 'a true', 'b fill 2', 'a 3', 'a 4']);
    expect(outcomes.map(([payload]) => payload)).toEqual(['1', '3', '4']);
  });

  it('lets go what it holds when the store shows it', async () => {
    sink.hold();
    publish('a', '1');
    const status = sink.setStatus('a', online, false);

    store.mode = 'store';
    sink.drop();
    publish('a', '2');

    await status;
    expect(shown).toEqual([]);
    expect(outcomes).toEqual([
      ['1', 'accepted'],
      ['2', 'accepted'],
    ]);
  });

  it('passes over what a room showed that had gone back before the store was lost', () => {
    sink.hold();
    ['1', '2', '3'].forEach((payload) => publish('a', payload));
    ['1', '2'].forEach((payload) => publish('b', payload));

    sink.release(
      new Map([
        ['a', Buffer.from('2')],
        ['b', Buffer.from('0')],
      ]),
    );

    expect(shown).toEqual(['a 3', 'b 1', 'b 2']);
    expect(outcomes).toHaveLength(5);
  });
});
