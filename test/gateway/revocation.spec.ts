import { jest } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { RevocationsService } from '../../src/auth/revocations.js';
import { TokenVerifier } from '../../src/auth/token-verifier.js';
import { Presence } from '../../src/gateway/door/presence.js';
import { connect, type DashboardClient } from '../support/dashboard-client.js';
import { signToken, type TokenClaims } from '../support/tokens.js';
import { GatewayApp } from './gateway-app.js';
import { until } from './until.js';

const REVOKED = { code: 4001, reason: 'The token was revoked' };

describe('a token that is revoked', () => {
  let app: GatewayApp;
  let revocations: RevocationsService;
  const start = async (env: Record<string, string> = {}): Promise<void> => {
    app = await GatewayApp.start(env);
    revocations = app.nest.get(RevocationsService, { strict: false });
  };
  beforeEach(() => {
    jest.spyOn(Logger.prototype, 'log').mockImplementation(() => undefined);
  });
  afterEach(async () => {
    await app.stop();
    jest.restoreAllMocks();
  });

  /** The clock of the instance stands, and that of the tokens' issuer does not. */
  const revokeUser = (userId: string) => revocations.add({ userId, issuedBefore: Date.now() + 1_000 });
  const join = async (claims: TokenClaims): Promise<DashboardClient> => {
    const client = await connect(app.url, { claims });
    await client.next('connected');
    return client;
  };

  it('ends what is open on it with 4001, and nothing else', async () => {
    await start();
    const [one, two, other] = [
      await join({ userId: 'ann', jti: 'one' }),
      await join({ userId: 'ann', jti: 'two' }),
      await join({ userId: 'bob' }),
    ];
    await revocations.add({ jti: 'one' });
    expect(await one.closed).toEqual(REVOKED);
    await two.roundTrip();
    await revokeUser('ann');
    expect(await two.closed).toEqual(REVOKED);
    await other.roundTrip();
    expect(await app.count('connectionsClosed', { code: '4001' })).toBe(2);
  });

  it('lets nobody in, also out of the cache, until the revocation is lifted', async () => {
    await start();
    const token = await signToken({ jti: 'one' });
    const first = await connect(app.url, { token });
    await first.next('connected');
    const { id } = await revocations.add({ jti: 'one' });
    for (const via of ['header', 'message'] as const) {
      const again = await connect(app.url, { token, via });
      expect(await again.closed).toEqual(REVOKED);
    }
    expect(await app.count('auth', { outcome: 'revoked' })).toBe(2);
    await revocations.remove(id);
    await (await connect(app.url, { token })).next('connected');
  });

  it('lets nobody in who waited in line when it was revoked', async () => {
    await start({ WS_MAX_CONNECTIONS_PER_SECOND: '2' });
    await join({ userId: 'bob' });
    const waits = connect(app.url, { claims: { jti: 'one' } });
    await until(() => app.admission.waiting === 1);
    await revocations.add({ jti: 'one' });
    expect(await (await waits).closed).toEqual(REVOKED);
  });

  it('lets nobody in who was taking a place of its user when it was revoked', async () => {
    await start();
    let take: (isIn: boolean) => void = () => undefined;
    const presence = jest
      .spyOn(app.nest.get(Presence), 'join')
      .mockImplementation(() => new Promise((resolve) => (take = resolve)));
    const client = await connect(app.url, { claims: { jti: 'one' } });
    await until(() => presence.mock.calls.length === 1);
    await revocations.add({ jti: 'one' });
    take(true);
    expect(await client.closed).toEqual(REVOKED);
    expect(client.received).toEqual([]);
    await until(() => app.lifecycle.connections.size === 0);
  });

  it('lets nobody in who was verified a moment before it was revoked', async () => {
    await start();
    const verifier = app.nest.get(TokenVerifier, { strict: false });
    const verify = verifier.verify.bind(verifier);
    jest.spyOn(verifier, 'verify').mockImplementation(async (text) => {
      const token = await verify(text);
      await revocations.add({ jti: 'one' });
      return token;
    });
    const client = await connect(app.url, { claims: { jti: 'one' }, via: 'message' });
    expect(await client.closed).toEqual(REVOKED);
    expect(client.received).toEqual([]);
  });

  it.each([
    ['to it', 'new', 'old'],
    ['from it', 'old', 'new'],
  ])('ends a connection that is being renewed %s at that moment', async (_how, jti) => {
    await start();
    const client = await join({ jti: 'old' });
    const verifier = app.nest.get(TokenVerifier, { strict: false });
    const verify = verifier.verify.bind(verifier);
    jest.spyOn(verifier, 'verify').mockImplementation(async (text) => {
      const token = await verify(text);
      await revocations.add({ jti });
      return token;
    });
    client.send({ type: 'auth', token: await signToken({ jti: 'new' }) });
    expect(await client.closed).toEqual(REVOKED);
    expect(client.all('authenticated')).toEqual([]);
  });

  it('does not end a connection that was renewed to a token that is not concerned', async () => {
    await start();
    const client = await join({ jti: 'old' });
    client.send({ type: 'auth', token: await signToken({ jti: 'new' }) });
    await client.next('authenticated');
    await revocations.add({ jti: 'old' });
    await client.roundTrip();
    client.send({ type: 'auth', token: await signToken({ jti: 'old' }) });
    expect(await client.closed).toEqual(REVOKED);
  });

  it('ends with 4001 what a drain would have ended later', async () => {
    await start({ DRAIN_TIMEOUT_MS: '30000' });
    app.commands.answer = () => new Promise(() => undefined);
    const client = await join({ userId: 'ann', deviceIds: ['a'] });
    client.send({ type: 'command', deviceId: 'a', command: 1 });
    await until(() => app.commands.sent.length === 1);
    const drained = app.drain.drain();
    await until(() =>
      [...app.lifecycle.connections].every(({ inbound }) => (inbound?.closeWhenIdle ?? null) !== null),
    );
    await revokeUser('ann');
    expect(await client.closed).toEqual(REVOKED);
    expect(app.commands.refusals.at(-1)?.()).toMatchObject({ code: 'forbidden' });
    await drained;
  });

  it('ends hundreds of connections a few at a time, and sends no command of those that are left', async () => {
    await start({ WS_MAX_CONNECTIONS_PER_USER: '1000', WS_MAX_CONNECTIONS_PER_SECOND: '100000' });
    const token = await signToken({ userId: 'ann' });
    const clients = await Promise.all(
      Array.from({ length: 300 }, () => connect(app.url, { token, query: { subscribe: 'none' } })),
    );
    await Promise.all(clients.map((client) => client.next('connected')));
    await revokeUser('ann');
    const open = [...app.lifecycle.connections].filter(({ isOpen }) => isOpen);
    expect(open.length).toBeGreaterThan(200);
    for (const connection of open) {
      const frame = Buffer.from('{"type":"command","deviceId":"a","command":1}');
      app.lifecycle.onFrame(connection, frame, false);
    }
    const ends = await Promise.all(clients.map((client) => client.closed));
    expect(new Set(ends.map(({ code }) => code))).toEqual(new Set([4001]));
    expect(app.commands.sent).toEqual([]);
    await until(async () => Object.values(await app.leftovers()).every((count) => count === 0));
  });
});
