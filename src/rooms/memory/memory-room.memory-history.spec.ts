import type { Config } from '../../config/config.js';
import { Metrics } from '../../metrics/metrics.js';
import type { DeviceMessage } from '../broadcast-adapter.js';
import { MemoryHistory, MemoryRoom } from './memory-room.js';

describe('MemoryHistory', () => {
  it('takes what reading a page trims off the sum over all devices', async () => {
    const metrics = new Metrics();
    const room = new MemoryRoom('a', 'epoch', new Map());
    const limits = {
      historyTotalMaxBytes: 1e6,
      historyMaxPublications: 100,
      historyMaxAgeMs: 1_000,
      historyMaxBytes: 1e5,
    } as Config['rooms'];
    const history = new MemoryHistory(new Map([['a', room]]), limits, metrics);
    for (let receivedAt = 0; receivedAt < 20; receivedAt += 1) {
      history.append(room, { payload: Buffer.alloc(200), receivedAt, packetId: 0 } as DeviceMessage);
    }
    const before = room.log.allocatedBytes;
    history.page(room, 0, 10, 5_000);
    expect(room.log.allocatedBytes).toBeLessThan(before);
    expect((await metrics.historyBytes.get()).values[0]?.value).toBe(room.log.allocatedBytes);
  });
});
