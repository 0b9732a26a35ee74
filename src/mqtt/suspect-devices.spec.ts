import { SuspectDevices } from './suspect-devices.js';

describe(SuspectDevices.name, () => {
  let nowMs = 0;
  const suspects = () => new SuspectDevices(() => nowMs);

  it('holds a device for a minute where it was the cause', () => {
    const devices = suspects();
    devices.blame('a', true);
    expect([devices.holds('a'), devices.holds('b')]).toEqual([true, false]);
    nowMs += 59_999;
    expect(devices.holds('a')).toBe(true);
    nowMs += 1;
    expect(devices.holds('a')).toBe(false);
    expect(devices.size).toBe(0);
  });

  it('holds a device that may have been the cause only when that happens again within a minute', () => {
    const devices = suspects();
    devices.blame('a', false);
    expect(devices.holds('a')).toBe(false);
    nowMs += 60_000;
    devices.blame('a', false);
    expect(devices.holds('a')).toBe(false);
    nowMs += 1_000;
    devices.blame('a', false);
    expect(devices.holds('a')).toBe(true);
  });

  it('remembers a thousand devices, those blamed last', () => {
    const devices = suspects();
    for (let n = 0; n < 1_500; n++) {
      devices.blame(`device-${n}`, true);
    }
    expect(devices.size).toBe(1_000);
    expect([devices.holds('device-499'), devices.holds('device-500')]).toEqual([false, true]);
  });
});
