import { settingNames } from './describe-settings.js';
import { formerSettings, warningsOf } from './former-settings.js';
import { loadConfig } from './load-config.js';

describe('a setting that is a constant now', () => {
  it.each(formerSettings)('%s changes nothing, and is warned about with what holds', (name) => {
    const env = { [name]: '7' };
    expect(loadConfig(env)).toEqual(loadConfig({}));
    expect(warningsOf(env, loadConfig(env))).toEqual([
      expect.stringMatching(
        new RegExp(
          `^${name}: is no setting any more and changes nothing, \\d+ holds; a later release ignores`,
        ),
      ),
    ]);
  });

  it('may have any value: what is not read is not checked', () => {
    expect(() => loadConfig(Object.fromEntries(formerSettings.map((name) => [name, 'x'])))).not.toThrow();
  });

  it('says nothing when it is not set, or empty', () => {
    expect(warningsOf({ WS_MAX_IN_FLIGHT: '', PORT: '80' }, loadConfig({}))).toEqual([]);
  });

  it('names the value that follows from other settings', () => {
    const env = { WS_MAX_MESSAGES_PER_SECOND: '300', WS_MAX_MESSAGE_BURST: '9' };
    expect(warningsOf(env, loadConfig(env))[0]).toContain('600 holds');
  });

  it('is none of the settings that are left', () => {
    const names = settingNames();
    expect(formerSettings.filter((name) => names.includes(name))).toEqual([]);
  });
});

describe('a constant that follows from settings', () => {
  const { ws, auth, redis } = loadConfig({});

  it('is what its setting was by default', () => {
    expect(ws).toMatchObject({ maxMessageBurst: 200, maxPendingConnections: 2_000, queueMaxMessages: 8_192 });
    expect(auth.tokenCacheMax).toBe(20_000);
    expect(redis.presenceExpiryMs).toBe(15_000);
  });

  it('does not hold back the setting that it follows', () => {
    const raised = loadConfig({
      WS_MAX_CONNECTIONS_PER_SECOND: '5000',
      WS_QUEUE_MAX_BYTES: '16777216',
      JWT_CACHE_MAX_BYTES: '1073741824',
    });
    expect(raised.ws).toMatchObject({ maxPendingConnections: 10_000, queueMaxMessages: 131_072 });
    expect(raised.auth.tokenCacheMax).toBe(262_144);
  });

  it('stays sensible where its setting is lowered', () => {
    const lowered = loadConfig({
      WS_MAX_CONNECTIONS_PER_SECOND: '1',
      WS_QUEUE_MAX_BYTES: '65536',
      JWT_CACHE_MAX_BYTES: '0',
      REDIS_LEASE_MS: '300',
    });
    expect(lowered.ws).toMatchObject({ maxPendingConnections: 2_000, queueMaxMessages: 8_192 });
    expect(lowered.auth.tokenCacheMax).toBe(20_000);
    expect(lowered.redis.presenceExpiryMs).toBe(3_000);
  });
});
