import { EventEmitter } from 'node:events';
import { type SignalSource, installSignalHandlers } from '../../src/gateway/drain.service.js';
import { type DashboardClient, connect } from '../support/dashboard-client.js';
import { SLACK } from '../support/slack.js';
import { GatewayApp } from './gateway-app.js';
import { tryUpgrade } from './raw-upgrade.js';
import { until } from './until.js';

class Signals extends EventEmitter implements SignalSource {
  readonly codes: number[] = [];
  exit(code: number): void {
    this.codes.push(code);
    this.emit('exit', code);
  }
}

const retryAfterMs = ({ reason }: { reason: string }): number =>
  (JSON.parse(reason) as { retryAfterMs: number }).retryAfterMs;

describe('a drain', () => {
  let app: GatewayApp;
  afterEach(() => app.stop());

  const clients = (count: number): Promise<DashboardClient[]> =>
    Promise.all(
      Array.from({ length: count }, async (_, at) => {
        const client = await connect(app.url, { claims: { userId: `u${at}`, deviceIds: ['pump'] } });
        await client.next('subscribed');
        return client;
      }),
    );

  it('says not ready, lets nobody in, and closes clients in batches, each told another time to come back', async () => {
    app = await GatewayApp.start({ 'drain.batchConnections': '20', DRAIN_SPREAD_MS: '10000' });
    const all = await clients(60);
    const stillOpen: number[] = [];
    const codes: number[] = [];
    const waits: number[] = [];
    for (const { closed } of all) {
      void closed.then((end) => {
        stillOpen.push(app.lifecycle.connections.size);
        codes.push(end.code);
        waits.push(retryAfterMs(end));
      });
    }
    const drained = app.drain.drain();
    expect(app.drain.draining).toBe(true);
    await until(async () => (await tryUpgrade(app.port, '/ws')).status === 503);
    await drained;
    await Promise.all(all.map(({ closed }) => closed));
    expect(new Set(codes)).toEqual(new Set([1012]));
    expect(stillOpen[0]).toBeGreaterThanOrEqual(20); // a later batch waits while the first is closed
    waits.sort((one, other) => one - other);
    const perSecond = Array.from(
      { length: 10 },
      (_, s) => waits.filter((ms) => Math.floor(ms / 1000) === s).length,
    );
    expect(Math.max(...perSecond)).toBeLessThanOrEqual(1.5 * 6 + 1);
    expect(Math.min(...perSecond)).toBeGreaterThanOrEqual(4);
    expect(app.transport.closed).toBe(1);
    expect((await app.metrics.draining.get()).values[0]?.value).toBe(1);
    expect(Object.values(await app.leftovers()).every((count) => count === 0)).toBe(true);
  });

  it('sends what is due before it closes, and answers commands in work first', async () => {
    app = await GatewayApp.start();
    const [busy, idle] = (await clients(2)) as [DashboardClient, DashboardClient];
    let answer = (): void => undefined;
    app.commands.answer = () =>
      new Promise((resolve) => {
        answer = () => resolve('delivered');
      });
    busy.send({ type: 'command', deviceId: 'pump', command: 1, id: 'last' });
    await until(() => app.commands.sent.length === 1);
    app.publish('pump', 'newest');
    const drained = app.drain.drain();
    expect((await idle.closed).code).toBe(1012);
    expect(idle.received.at(-1)).toMatchObject({ type: 'telemetry', payload: 'newest' });
    expect(busy.socket.readyState).toBe(busy.socket.OPEN);
    busy.send({ type: 'command', deviceId: 'pump', command: 2, id: 'too late' });
    answer();
    expect((await busy.closed).code).toBe(1012);
    expect(busy.received.at(-1)).toMatchObject({ type: 'command_sent', id: 'last' });
    await drained;
    expect(app.commands.sent).toHaveLength(1);
  });

  it('ends within its time although a client does not answer and the broker hangs', async () => {
    app = await GatewayApp.start({ DRAIN_TIMEOUT_MS: '1500' });
    const [client] = (await clients(1)) as [DashboardClient];
    client.pause();
    app.transport.close = () => new Promise(() => undefined);
    const start = performance.now();
    await app.drain.drain();
    const took = performance.now() - start;
    expect(took).toBeGreaterThan(1_000);
    expect(took).toBeLessThan(1_500 + 400 * SLACK);
    await until(() => app.lifecycle.connections.size === 0); // its last step was to destroy the socket
  });

  it('is what a signal starts; then the process exits with 0', async () => {
    app = await GatewayApp.start();
    const [client] = (await clients(1)) as [DashboardClient];
    const { port } = app;
    const signals = new Signals();
    installSignalHandlers(app.nest, signals);
    const exited = new Promise<number>((resolve) => signals.once('exit', resolve));
    signals.emit('SIGTERM');
    expect((await client.closed).code).toBe(1012);
    expect(await exited).toBe(0);
    expect(signals.codes).toEqual([0]);
    await expect(tryUpgrade(port, '/ws')).rejects.toThrow();
  });

  it('does not hold up a second signal: the process exits with 1 at once', async () => {
    app = await GatewayApp.start({ DRAIN_TIMEOUT_MS: '500' });
    app.transport.close = () => new Promise(() => undefined);
    const signals = new Signals();
    installSignalHandlers(app.nest, signals);
    signals.emit('SIGTERM');
    signals.emit('SIGINT');
    expect(signals.codes).toEqual([1]);
    await app.drain.drain();
  });

  it('closes with 1012 too when the application is closed without one', async () => {
    app = await GatewayApp.start();
    const [client] = (await clients(1)) as [DashboardClient];
    await app.nest.close();
    expect((await client.closed).code).toBe(1012);
  });
});
