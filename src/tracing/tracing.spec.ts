import { MAX_PUBLICATIONS_PER_S, type Tracer, tracing } from './tracing.js';

const span = { traceparent: undefined, event: () => undefined, end: () => undefined };
const counts = { waiting: 0, full: 0, failed: 0 };
const tracer: Tracer = { start: () => span, counts, stop: () => Promise.resolve() };

describe('tracing', () => {
  it('makes nothing and takes no publication without a tracer', () => {
    expect([tracing.on, tracing.takesPublication(0)]).toEqual([false, false]);
    expect(tracing.start('x', { kind: 'server' }).traceparent).toBeUndefined();
  });

  it('takes so many publications a second, and as many in the next', async () => {
    const stop = tracing.use(tracer);
    const taken = (nowMs: number): number =>
      Array.from({ length: 1_000 }, () => tracing.takesPublication(nowMs)).filter(Boolean).length;
    expect([taken(1_000), taken(1_500), taken(2_000)]).toEqual([
      MAX_PUBLICATIONS_PER_S,
      0,
      MAX_PUBLICATIONS_PER_S,
    ]);
    await stop();
    expect(tracing.on).toBe(false);
  });
});
