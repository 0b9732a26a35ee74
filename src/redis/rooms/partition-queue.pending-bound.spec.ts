import type { DeviceMessage } from '../../rooms/broadcast-adapter.js';
import { PendingBound } from './partition-queue.js';

describe(PendingBound.name, () => {
  // Operations were counted and not their bytes: 8 192 payloads of 256 KiB on their way to a slow Redis are 2 GiB.
  it('is reached by bytes, too: reading pauses at half of them, and what is over all of them is refused', () => {
    const told: boolean[] = [];
    const outcomes: string[] = [];
    const bound = new PendingBound(100, (congested) => told.push(congested), 1_000);
    const take = (bytes: number, packetId = 0): boolean =>
      bound.take({
        packetId,
        payload: Buffer.alloc(bytes),
        settle: (outcome: string) => outcomes.push(outcome),
      } as unknown as DeviceMessage);
    expect([take(499), bound.congested]).toEqual([true, false]);
    expect([take(1), bound.congested]).toEqual([true, true]);
    expect([take(600), take(1)]).toEqual([true, false]);
    expect(outcomes).toEqual(['refused']);
    expect(take(1, 7)).toBe(true); // the broker waits for its acknowledgement
    bound.settled(2, 851);
    expect(bound.congested).toBe(true);
    bound.settled(1, 1);
    expect([bound.congested, told]).toEqual([false, [true, false]]);
  });
});
