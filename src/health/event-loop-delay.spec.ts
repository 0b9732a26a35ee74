import { EventLoopDelay } from './event-loop-delay.js';

describe(EventLoopDelay.name, () => {
  it('sees a loop that was held up', async () => {
    const delay = new EventLoopDelay();
    try {
      expect(delay.p99Ms).toBe(0);
      await new Promise((resolve) => setTimeout(resolve, 50));
      const end = performance.now() + 300;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);
      while (delay.p99Ms < 200 && performance.now() < end + 5_000) {
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      expect(delay.p99Ms).toBeGreaterThan(200);
    } finally {
      delay.onModuleDestroy();
    }
  });
});
