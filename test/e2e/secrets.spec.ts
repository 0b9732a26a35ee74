import { jest } from '@jest/globals';
import { stopAfterEach } from '../support/cleanup.js';
import { DashboardClient } from '../support/dashboard-client.js';
import { mosquittoPub } from '../support/mosquitto-clients.js';
import { startMosquitto } from '../support/mosquitto.js';
import { startSluice } from '../support/sluice.js';
import { TEST_SECRET, signToken } from '../support/tokens.js';

/** Marks what must not come back out. */
const CANARY = 'canary-7f3a91';

jest.setTimeout(90_000);

describe('the log of a whole run', () => {
  const own = stopAfterEach();

  it('has no token, secret, payload or command in it, however the token came and whatever was wrong', async () => {
    const broker = own(await startMosquitto());
    const sluice = own(
      await startSluice({
        env: { MQTT_URL: broker.url, LOG_LEVEL: 'trace', LOG_TRACE_DEVICES: 'a' },
      }),
    );
    const tokens: string[] = [];
    const token = async (claims: Parameters<typeof signToken>[0] = {}): Promise<string> => {
      const made = await signToken({ ...claims, canary: CANARY, jti: `${CANARY}-${tokens.length}` });
      tokens.push(made);
      return made;
    };

    for (const via of ['header', 'subprotocol', 'query', 'message'] as const) {
      const good = own(await sluice.connect({ token: await token(), via }));
      await good.next('connected');
      const { code } = await own(await sluice.connect({ token: await token({ lifetimeS: -3_600 }), via }))
        .closed;
      expect(code).toBe(4001);
      const [head, , signature] = (await token()).split('.');
      const forged = `${head}.${Buffer.from(`{"sub":"${CANARY}"}`).toString('base64url')}.${signature}`;
      tokens.push(forged);
      expect((await own(await sluice.connect({ token: forged, via })).closed).code).toBe(4001);
    }

    const client = own(await sluice.connect({ token: await token({ deviceIds: ['a'] }) }));
    await client.next('subscribed');
    client.send({ type: 'auth', token: await token({ deviceIds: ['a'] }) });
    await client.next('authenticated');
    client.send({ type: 'command', deviceId: 'a', command: { pin: CANARY }, id: 'c' });
    await client.next('command_sent');
    client.sendRaw(`{"type":"auth","token":"${await token()}`); // cut off: invalid JSON
    await client.next('error');
    client.send({ type: 'nonsense', token: await token(), deep: { secret: CANARY } });
    await client.next('error');
    await mosquittoPub(broker, 'devices/a/telemetry', `{"v":"${CANARY}"}`);
    await client.next('telemetry');
    await mosquittoPub(broker, 'devices/a/telemetry', `not json ${CANARY}`);
    await mosquittoPub(broker, 'devices/a/meta', `{"name":"${CANARY}"}`, { retain: true });
    await client.next('device_meta');
    client.send({ type: 'auth', token: await token({ userId: 'somebody-else' }) });
    expect((await client.closed).code).toBe(4001);
    await fetch(`${sluice.url}/?token=${await token()}`);
    await fetch(`${sluice.url}/nothing?token=${await token()}`, {
      headers: { authorization: `Bearer ${await token()}` },
    });
    const wrongPath = DashboardClient.connect(`ws://127.0.0.1:${sluice.port}/elsewhere`, {
      token: await token(),
      via: 'query',
    });
    await expect(wrongPath).rejects.toThrow();

    expect(await sluice.stop()).toEqual({ code: 0, signal: null });
    const { output } = sluice;
    expect(output.length).toBeGreaterThan(500);
    expect(output).not.toContain(CANARY);
    expect(output).not.toContain(TEST_SECRET);
    for (const part of tokens.flatMap((made) => made.split('.').slice(1))) {
      expect(output).not.toContain(part);
    }
    for (const line of output.split('\n')) {
      expect(() => JSON.parse(line) as unknown).not.toThrow();
    }
  });
});
