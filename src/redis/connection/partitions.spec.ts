import { Partitions, SLOTS, slotOf } from './partitions.js';

describe(Partitions.name, () => {
  it('computes slots as Redis Cluster does', () => {
    expect(slotOf('123456789')).toBe(0x31c3);
    expect(slotOf('foo')).toBe(12_182);
  });

  it.each([1, 16, 48, 1024])('spreads %i partitions evenly over the slots', (count) => {
    const { all } = new Partitions('ns', count);
    all.forEach(({ slot, index }) => expect(Math.floor((slot * count) / SLOTS)).toBeCloseTo(index, -0.5));
    expect(new Set(all.map(({ prefix }) => prefix)).size).toBe(count);
  });

  it('keeps keys and channels of a partition under one hash tag and the namespace', () => {
    const { prefix, headKey, channelPrefix, devicesChannel } = new Partitions('ns', 16).of('d1');
    expect(prefix).toMatch(/^ns:\{[^{}]+\}:$/);
    [headKey, channelPrefix, devicesChannel].forEach((name) => expect(name.startsWith(prefix)).toBe(true));
  });

  it('places what is common alike for every number of partitions, beside the first of them', () => {
    const all = [1, 16, 48, 1024].map((count) => new Partitions('ns', count));
    expect(new Set(all.map(({ agreementKey }) => agreementKey))).toEqual(new Set(['ns:{all.mt}:agreement']));
    all.forEach(({ common, all: { length } }) => expect(Math.floor((common.slot * length) / SLOTS)).toBe(0));
  });

  it('keeps the lease where earlier releases look for it', () => {
    const first = (count: number) => new Partitions('ns', count).all[0]?.prefix;
    expect([1, 16, 48].map(first)).toEqual(['ns:{0.0}:', 'ns:{0.13}:', 'ns:{0.17}:']);
  });

  it('places a device the same way in every release', () => {
    const partitions = new Partitions('ns', 16);
    expect(['d1', 'plant-7.sensor-3', '__proto__', 'ü€😀'].map((id) => partitions.of(id).index))
      .toMatchInlineSnapshot(`
     [
       6,
       14,
       13,
       8,
     ]
    `);
  });
});
