import { StateDoubt } from './ports.js';

describe(StateDoubt.name, () => {
  it('lasts until the retained messages have been read again', () => {
    const doubt = new StateDoubt();
    let told = 0;
    const forget = doubt.onRaised(() => (told += 1));
    expect(doubt.raised).toBe(false);
    doubt.raise();
    expect([doubt.raised, told]).toEqual([true, 1]);
    doubt.settle();
    expect(doubt.raised).toBe(false);
    forget();
    doubt.raise();
    expect(told).toBe(1);
  });

  it('ends by itself where another instance has read them', () => {
    let now = 0;
    const doubt = new StateDoubt(() => now);
    doubt.raise();
    now = 59_999;
    expect(doubt.raised).toBe(true);
    now = 60_001;
    expect(doubt.raised).toBe(false);
  });
});
