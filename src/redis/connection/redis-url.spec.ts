import { parseRedisUrl } from './redis-url.js';

describe(parseRedisUrl.name, () => {
  it.each([
    ['redis://h', { kind: 'single', hosts: [{ host: 'h', port: 6379 }], tls: false, db: 0 }],
    ['redis://h:1/3', { kind: 'single', hosts: [{ host: 'h', port: 1 }], db: 3 }],
    ['rediss://u:p%40ss@h:1', { kind: 'single', tls: true, username: 'u', password: 'p@ss' }],
    ['redis://:pw@[::1]:7', { hosts: [{ host: '::1', port: 7 }], username: undefined, password: 'pw' }],
    [
      'redis://a:1,b:2',
      {
        kind: 'cluster',
        hosts: [
          { host: 'a', port: 1 },
          { host: 'b', port: 2 },
        ],
      },
    ],
    [
      'rediss://u:p@a:1,rediss://u:p@b',
      {
        kind: 'cluster',
        tls: true,
        password: 'p',
        hosts: [
          { host: 'a', port: 1 },
          { host: 'b', port: 6379 },
        ],
      },
    ],
    ['redis://a:1,', { kind: 'cluster', hosts: [{ host: 'a', port: 1 }] }],
    [
      'redis+sentinel://u:p@a,b:2/main',
      {
        kind: 'sentinel',
        masterName: 'main',
        hosts: [
          { host: 'a', port: 26379 },
          { host: 'b', port: 2 },
        ],
        password: 'p',
      },
    ],
    [
      'redis+sentinel://a/main/2?sentinelPassword=x&tls=true',
      { db: 2, sentinelPassword: 'x', tls: true, sentinelTls: false },
    ],
    [
      'redis+sentinel://a/main?sentinelUsername=u&sentinelTls=true',
      { sentinelUsername: 'u', tls: false, sentinelTls: true },
    ],
  ])('reads %s', (text, expected) => {
    expect(parseRedisUrl(text)).toMatchObject(expected);
  });

  it.each([
    'redis://',
    'redis://h:99999',
    'redis://a:1,b:2/1',
    'redis+sentinel://a',
    'http://h',
    'redis://u:secret@h/x',
  ])('refuses %s without repeating it', (text) => {
    expect(() => parseRedisUrl(text)).toThrow(/^REDIS_URL: /);
    expect(() => parseRedisUrl(text)).not.toThrow(/secret/);
  });
});
