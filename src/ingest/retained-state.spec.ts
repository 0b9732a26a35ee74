import type { Config } from '../config/config.js';
import { RetainedState } from './retained-state.js';

const state = (maxDevices = 100): RetainedState =>
  new RetainedState({ rooms: { maxDevices } } as unknown as Config);

describe(RetainedState.name, () => {
  it('lets nothing retained stand against what was live since the connection stands', () => {
    const retained = state();
    retained.begin(true);
    retained.sawLiveStatus('a');
    retained.sawLiveMeta('b');
    expect(retained.admitsStatus('a', true, true)).toBe(false);
    expect(retained.admitsStatus('b', true, true)).toBe(true);
    expect(retained.admitsMeta('b')).toBe(false);
    expect(retained.admitsMeta('a')).toBe(true);
  });

  it('begins anew with every connection', () => {
    const retained = state();
    retained.begin(true);
    retained.sawLiveStatus('a');
    retained.begin(true);
    expect(retained.admitsStatus('a', true, true)).toBe(true);
  });

  it('overrides what is known only while it is read and only if messages may have been missed', () => {
    const retained = state();
    expect(retained.onlyIfUnknown).toBe(true);
    retained.begin(true);
    expect(retained.onlyIfUnknown).toBe(false);
    retained.end();
    expect(retained.onlyIfUnknown).toBe(true);
    retained.begin(false);
    expect(retained.onlyIfUnknown).toBe(true);
  });

  it('takes the repeat of a status without a time for no news, since it would move the time of being seen', () => {
    const retained = state();
    retained.sawStatus('a', false, false);
    retained.begin(true);
    expect(retained.admitsStatus('a', false, false)).toBe(false);
    expect(retained.admitsStatus('a', true, false)).toBe(true);
    expect(retained.admitsStatus('a', false, true)).toBe(true);
    retained.sawStatus('a', false, true);
    expect(retained.admitsStatus('a', false, false)).toBe(true);
  });

  it('remembers no more devices than it may', () => {
    const retained = state(1);
    retained.sawStatus('a', false, false);
    retained.sawStatus('b', false, false);
    expect(retained.admitsStatus('a', false, false)).toBe(false);
    expect(retained.admitsStatus('b', false, false)).toBe(true);
  });
});
