import fc from 'fast-check';
import { HistoryLog } from './history-log.js';

describe(HistoryLog.name, () => {
  it('holds exactly what a plain list under the same limits would hold', () => {
    fc.assert(
      fc.property(
        fc.record({
          maxPublications: fc.integer({ min: 1, max: 20 }),
          maxAgeMs: fc.integer({ min: 1, max: 50 }),
          maxBytes: fc.integer({ min: 50, max: 2_000 }),
        }),
        fc.array(
          fc.record({ size: fc.integer({ min: 0, max: 700 }), wait: fc.integer({ min: 0, max: 10 }) }),
          {
            maxLength: 80,
          },
        ),
        (limits, steps) => {
          const log = new HistoryLog();
          let model: { offset: number; ts: number; payload: string }[] = [];
          let now = 0;
          steps.forEach(({ size, wait }, at) => {
            now += wait;
            const payload = String.fromCharCode(97 + (at % 26)).repeat(size);
            log.append(Buffer.from(payload), now, at, at, limits);
            model.push({ offset: at + 1, ts: now, payload });
            const bytes = (): number => model.reduce((sum, entry) => sum + entry.payload.length + 18, 0);
            const isOver = (): boolean =>
              model.length > limits.maxPublications ||
              bytes() > limits.maxBytes ||
              (model[0]?.ts ?? 0) < now - limits.maxAgeMs;
            while (model.length > 1 && isOver()) {
              model = model.slice(1);
            }
            const oldest = model[0]?.offset ?? 0;
            expect(log.oldestOffset).toBe(oldest);
            expect(
              log.after(oldest - 1, 1_000)?.map((e) => [e.offset, e.serverTs, e.payload.toString()]),
            ).toEqual(model.map((e) => [e.offset, e.ts, e.payload]));
            expect(log.after(oldest - 2, 1_000)).toBeUndefined();
            expect(log.last()?.payload.toString()).toBe(payload);
          });
          expect(log.after(steps.length + 1, 1)).toBeUndefined();
        },
      ),
      { numRuns: 200 },
    );
  });

  it('holds memory in proportion to what it keeps', () => {
    const log = new HistoryLog();
    const limits = { maxPublications: 10, maxAgeMs: 1_000, maxBytes: 10_000 };
    for (let n = 0; n < 10_000; n += 1) {
      log.append(Buffer.alloc(100), n, 0, 0, limits);
    }
    expect(log.allocatedBytes).toBeLessThan(5_000);
  });
});
