import { Device } from './device.js';
import type { Telemetry } from './messages.js';
import type { Subscription } from './subscription.js';

describe(Device.name, () => {
  let told: unknown[];
  let device: Device;

  const telemetry = (epoch: string, offset: number): Telemetry => ({
    type: 'telemetry',
    deviceId: 'd',
    payload: offset,
    serverTs: 1,
    epoch,
    offset,
  });

  beforeEach(() => {
    told = [];
    device = new Device('d');
    device.hear({
      isPattern: false,
      delivery: {},
      key: '{}',
      emit: (name: string) => told.push(name),
      give: ({ epoch, offset }: Telemetry) => told.push([epoch, offset]),
    } as unknown as Subscription);
  });

  // A store came back empty: of a device of which nothing is known there is no snapshot, and what was missed was not told.
  it('tells of a gap where numbers begin anew without a snapshot', () => {
    device.take(telemetry('one', 7));
    device.take(telemetry('two', 1));
    device.take(telemetry('two', 2));
    expect(told).toEqual([['one', 7], 'gap', ['two', 1], ['two', 2]]);
  });
});
