import { setImmediate as turn } from 'node:timers/promises';
import { RecordingReceiver } from '../../../test/contract/broadcast-adapter.contract.js';
import { Metrics } from '../../metrics/metrics.js';
import { Partitions } from '../connection/partitions.js';
import { AttachedRoom } from './attached-room.js';
import type { RedisStore } from './redis-store.js';
import { RoomReader } from './room-reader.js';
import type { StoredState } from './wire.js';

// Defect: rooms are read in turn to see whether they are up to date. Where messages waited in a busy process, and were more than history
// reaches, such a read took them for missing: the room was reset, and what came next was taken for old.
describe(RoomReader.name, () => {
  const { all } = new Partitions('sluice', 1);
  let stored: number;
  let epoch: string;
  let isAway: boolean;

  beforeEach(() => {
    [epoch, isAway] = ['e', false];
  });

  function behind() {
    const receiver = new RecordingReceiver();
    const room = new AttachedRoom('d1', all[0]!, receiver);
    const stateOf = (offset: number): StoredState => ({
      epoch,
      offset,
      telemetry: null,
      status: null,
      meta: null,
      metaVersion: 0,
      revision: 0,
      bytes: 0,
    });
    const reads = {
      states: () => Promise.resolve([stateOf(stored)]),
      // It does not reach back that far.
      history: () => (isAway ? Promise.reject(new Error('away')) : Promise.resolve(null)),
    };
    const reader = new RoomReader({ reads } as unknown as RedisStore, new Metrics(), {
      isCurrent: () => true,
      replay: () => undefined,
      abandoned: () => undefined,
    });
    const read = async (how: 'look' | 'read'): Promise<number> => {
      reader[how](room);
      for (let left = 10; left > 0; left -= 1) {
        await turn();
      }
      expect(room.held).toBeNull();
      return receiver.resets.length;
    };
    const comes = (offset: number): void =>
      room.deliver({
        deviceId: 'd1',
        epoch: 'e',
        offset,
        serverTs: 1,
        payload: Buffer.from('1'),
        meta: null,
      });
    return { room, read, comes };
  }

  it('does not reset a room whose messages come late, however far the state is ahead', async () => {
    const { room, read, comes } = behind();
    stored = 1;
    expect(await read('read')).toBe(0);
    stored = 500;
    expect(await read('look')).toBe(0);
    comes(2);
    stored = 900;
    expect(await read('look')).toBe(0);
    expect(room.offset).toBe(2);
  });

  it('resets one of which nothing has come since the last look, and one that misses a message at once', async () => {
    const { room, read } = behind();
    stored = 1;
    await read('read');
    stored = 500;
    await read('look');
    expect([await read('look'), room.offset]).toEqual([1, 500]);
    stored = 900;
    expect([await read('read'), room.offset]).toEqual([2, 900]);
  });

  it('lets it be where the store cannot be read now, and looks again in its turn', async () => {
    const { read } = behind();
    stored = 1;
    await read('read');
    stored = 500;
    isAway = true;
    expect(await read('look')).toBe(0);
    isAway = false;
    expect(await read('look')).toBe(0);
  });

  it('knows nothing of looks in an epoch before', async () => {
    const { read, comes } = behind();
    stored = 1;
    await read('read');
    stored = 500;
    await read('look');
    [epoch, stored] = ['f', 0];
    expect(await read('read')).toBe(1); // the new epoch
    comes(1);
    stored = 500;
    expect(await read('look')).toBe(1);
  });
});
