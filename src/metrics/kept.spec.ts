import { testRooms } from '../../test/support/test-rooms.js';
import { Metrics } from './metrics.js';

async function kept(metrics: Metrics, what: string): Promise<number | undefined> {
  const text = await metrics.registry.metrics();
  const value = new RegExp(`^sluice_kept\\{what="${what}"\\} (\\d+)$`, 'm').exec(text)?.[1];
  return value === undefined ? undefined : Number(value);
}

describe('sluice_kept', () => {
  it('shows what the part that tells of it keeps', async () => {
    const metrics = new Metrics();
    expect(await kept(metrics, 'topics')).toBeUndefined();
    metrics.keeps('topics', () => 5);
    expect(await kept(metrics, 'topics')).toBe(5);
  });

  it('counts delivery groups, which go with the last subscription that uses them', async () => {
    const harness = testRooms();
    const { metrics } = harness.context;
    const members = [harness.member(), harness.member()];
    const delivery = { mode: 'every' as const, maxRateHz: 1 };
    for (const member of members) {
      await harness.rooms.subscribe(member, { deviceIds: ['a', 'b'], denied: [], delivery });
    }
    await harness.settle();
    expect(await kept(metrics, 'delivery_groups')).toBe(2);
    members.forEach((member) => harness.rooms.leave(member));
    await harness.settle();
    expect(await kept(metrics, 'delivery_groups')).toBe(0);
  });
});
