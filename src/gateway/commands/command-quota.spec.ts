import { jest } from '@jest/globals';
import { testConfig } from '../../../test/support/test-config.js';
import { CommandLimits, CommandQuota } from './command-quota.js';

describe(CommandLimits.name, () => {
  afterEach(() => jest.restoreAllMocks());

  it('let a connection send so many a second, twice that at once, and others as many', () => {
    const now = jest.spyOn(performance, 'now').mockReturnValue(1_000);
    const limits = new CommandLimits(testConfig({ COMMAND_MAX_PER_SECOND: '10' }).commands);
    const [one, other] = [new CommandQuota(), new CommandQuota()];
    const sent = (quota: CommandQuota | null, count: number): number => {
      let taken = 0;
      for (let n = 0; n < count; n += 1) {
        try {
          limits.takeRate(quota);
          taken += 1;
        } catch (error) {
          expect(error).toMatchObject({ code: 'rate_limited' });
        }
      }
      return taken;
    };
    expect([sent(one, 50), sent(one, 1), sent(other, 50)]).toEqual([20, 0, 20]);
    now.mockReturnValue(2_000);
    expect(sent(one, 50)).toBe(10);
    expect(sent(null, 50)).toBe(50); // a backend has the rates of its devices alone
  });

  it('let so many wait for an answer, of a connection and in all, and give each place back once', () => {
    const env = { COMMAND_MAX_WAITING: '150', COMMAND_MAX_WAITING_PER_CONNECTION: '100' };
    const limits = new CommandLimits(testConfig(env).commands);
    const [one, other] = [new CommandQuota(), new CommandQuota()];
    const full = expect.objectContaining({ code: 'too_many_commands' });
    const places = Array.from({ length: 100 }, () => limits.takePlace(one));
    expect(() => limits.takePlace(one)).toThrow(full);
    Array.from({ length: 50 }, () => limits.takePlace(other));
    expect(() => limits.takePlace(null)).toThrow(full);
    places[0]?.release();
    places[0]?.release();
    expect([limits.waiting, one.waiting]).toEqual([149, 99]);
    limits.takePlace(null);
    expect(() => limits.takePlace(other)).toThrow(full);
  });
});
