import { BusyDeviceError, DeviceRates, MAX_DEVICES } from './device-rates.js';

describe(DeviceRates.name, () => {
  it('lets each device have twice its rate at once, then its rate, and blames no sender', () => {
    let now = 0;
    const rates = new DeviceRates(10, () => now);
    for (let n = 0; n < 20; n += 1) {
      rates.take('a');
    }
    expect(() => rates.take('a')).toThrow(BusyDeviceError);
    rates.take('b');
    now = 100;
    rates.take('a');
    const refused = expect.objectContaining({
      code: 'rate_limited',
      details: { retryAfterMs: 100 },
      isSendersFault: false,
    });
    expect(() => rates.take('a')).toThrow(refused);
  });

  it('forgets devices that rest, and over its bound the one that rested longest', () => {
    let now = 0;
    const rates = new DeviceRates(1, () => now);
    const fill = (name: string, count: number): void => {
      for (let n = 0; n < count; n += 1) {
        rates.take(`${name}-${n}`);
      }
    };
    fill('a', MAX_DEVICES);
    fill('b', 1);
    expect(rates.size).toBe(MAX_DEVICES);
    now = 10_000;
    fill('c', 1);
    expect(rates.size).toBe(1);
  });
});
