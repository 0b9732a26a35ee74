import { ChangePace } from './away.js';

describe(ChangePace.name, () => {
  it('leaves nine tenths of the time to other work, however long the list of what is watched is', () => {
    let now = 0;
    const pace = new ChangePace(() => now);
    expect(pace.mayChange).toBe(true);
    pace.change(() => (now += 140));
    now += 9 * 140 - 1;
    expect(pace.mayChange).toBe(false);
    now += 1;
    expect(pace.mayChange).toBe(true);
  });
});
