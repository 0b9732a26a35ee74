import { startSluice } from '../support/sluice.js';
import { stopAfterAll } from '../support/cleanup.js';

const own = stopAfterAll();

describe('DEMO_LAYOUTS', () => {
  it('lets the simulated fleet speak three layouts at once, and obey commands in each', async () => {
    const env = { DEMO_DEVICES: '6', DEMO_LAYOUTS: 'zigbee2mqtt,tasmota,sparkplug-b' };
    const sluice = own(await startSluice({ env }));
    const dashboard = own(
      await sluice.connect({
        claims: { userId: 'u', deviceIds: ['*'], permissions: ['read', 'command'] },
        query: { subscribe: 'none' },
      }),
    );
    dashboard.send({ type: 'subscribe', pattern: '*' });
    const shows = (deviceId: string, fits: (payload: Record<string, unknown>) => boolean) =>
      dashboard.next(
        'telemetry',
        (message) => message.deviceId === deviceId && fits(message.payload as Record<string, unknown>),
        20_000,
      );
    await shows('z2m.pump-1', (payload) => payload['running'] === true);
    await shows('tasmota.plug-pump-1', (payload) => 'STATE' in payload && 'SENSOR' in payload);
    await shows('sparkplug.Demo.Edge.pump-1', (payload) => payload['running'] === true);

    dashboard.send({ type: 'command', id: 1, deviceId: 'z2m.pump-1', command: { action: 'stop' } });
    await shows('z2m.pump-1', (payload) => payload['running'] === false);
    dashboard.send({
      type: 'command',
      id: 2,
      deviceId: 'tasmota.plug-pump-1',
      command: { cmd: 'Power', value: 'OFF' },
    });
    await shows('tasmota.plug-pump-1', (payload) => payload['POWER'] === 'OFF');
    dashboard.send({
      type: 'command',
      id: 3,
      deviceId: 'sparkplug.Demo.Edge.pump-1',
      command: { running: false },
    });
    await shows('sparkplug.Demo.Edge.pump-1', (payload) => payload['running'] === false);
  });
});
