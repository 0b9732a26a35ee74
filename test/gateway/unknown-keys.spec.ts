import { JwksServer, jwk, keysAnswer } from '../auth/jwks-server.js';
import { edDsa, goodClaims, signToken } from '../auth/tokens.js';
import { stopAfterEach } from '../support/cleanup.js';
import { connect } from '../support/dashboard-client.js';
import { GatewayApp } from './gateway-app.js';

describe('tokens of unknown keys', () => {
  const own = stopAfterEach();

  it('hold up no login beside them, and ask the key server once in its cooldown', async () => {
    const [signer, stranger] = [edDsa(), edDsa()];
    const server = new JwksServer(keysAnswer(jwk(signer, { kid: 'one' })));
    await server.start();
    own(server);
    const app = own(
      await GatewayApp.start({ JWT_SECRET: '', JWT_JWKS_URL: server.url, 'auth.jwksCooldownMs': '10000' }),
    );
    const claims = { ...goodClaims(app.clock), iat: app.clock.seconds };
    const good = (at: number) => signToken({ ...claims, at }, signer, { kid: 'one' });
    const first = await connect(app.url, { token: good(0) });
    await first.next('connected');
    app.clock.advance(10_000);
    const before = server.requests;
    // It answers once the others are in: who waited for it would never be.
    const answer = keysAnswer(jwk(signer, { kid: 'one' }));
    const asked = new Promise<() => void>((resolve) => {
      server.answer = (...exchange) => resolve(() => answer(...exchange));
    });
    const unknown = Array.from({ length: 50 }, async (_, at) => {
      const client = await connect(app.url, { token: signToken(claims, stranger, { kid: `unknown-${at}` }) });
      return (await client.closed).code;
    });
    const finish = await asked;
    for (let at = 1; at <= 10; at += 1) {
      const client = await connect(app.url, { token: good(at) });
      expect(await client.next('connected')).toMatchObject({ userId: 'ann' });
    }
    finish();
    expect((await Promise.all(unknown)).every((code) => code === 1013 || code === 4001)).toBe(true);
    expect(server.requests - before).toBe(1);
    expect(first.socket.readyState).toBe(first.socket.OPEN);
  });
});
