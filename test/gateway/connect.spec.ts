import { connect } from '../support/dashboard-client.js';
import { GatewayApp } from './gateway-app.js';

describe('a connection', () => {
  let app: GatewayApp;
  beforeAll(async () => {
    app = await GatewayApp.start();
  });
  afterAll(() => app.stop());

  it.each(['header', 'subprotocol', 'query', 'message'] as const)(
    'opens with the token by %s, and gets what its devices publish',
    async (via) => {
      const client = await connect(app.url, { claims: { userId: 'ann', deviceIds: ['pump'] }, via });
      expect(client.socket.protocol).toBe('sluice.v1');
      expect(await client.next('connected')).toMatchObject({
        userId: 'ann',
        protocol: 'sluice.v1',
        heartbeatMs: 30_000,
      });
      expect(await client.next('subscribed')).toMatchObject({ rooms: [{ deviceId: 'pump' }], denied: [] });
      app.publish('pump', { v: via });
      expect(await client.next('telemetry')).toMatchObject({ deviceId: 'pump', payload: { v: via } });
      await client.close();
    },
  );
});
