import { jest } from '@jest/globals';
import { expiryOf, TokenLife } from './token-life.js';

const token = (claims: object): string =>
  `e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.c2ln`;

describe(TokenLife.name, () => {
  beforeEach(() => jest.useFakeTimers({ now: 1_700_000_000_000 }));
  afterEach(() => jest.useRealTimers());

  it('reads when a token ends, and nothing from what is none', () => {
    expect(expiryOf(token({ exp: 1_700_000_600, name: 'Ø?>~' }))).toBe(1_700_000_600_000);
    expect([token({}), token({ exp: 'x' }), 'a.b', '', 'a.!.c'].map(expiryOf)).toEqual(
      Array.from({ length: 5 }, () => undefined),
    );
  });

  it.each([
    ['half a minute before', 600, 570],
    ['half way, where less is left', 20, 10],
    ['also after weeks', 20 * 86_400, 20 * 86_400 - 30],
    ['as long as a timer can wait, where it lasts longer', 60 * 86_400, (2 ** 31 - 1) / 1_000],
  ])('says so %s its end', (_when, lifeS, expectedS) => {
    let ended = 0;
    const life = new TokenLife(() => (ended += 1));
    life.begin(token({ exp: 1_700_000_000 + lifeS }), 0);
    jest.advanceTimersByTime(expectedS * 1_000 - 1);
    expect(ended).toBe(0);
    jest.advanceTimersByTime(1);
    expect(ended).toBe(1);
    expect(jest.getTimerCount()).toBe(0);
  });

  it('goes by the clock of the server, and asks no more for what does not change', () => {
    let ended = 0;
    const life = new TokenLife(() => (ended += 1));
    const sameAgain = token({ exp: 1_700_000_600 });
    life.begin(sameAgain, -3_600_000); // our clock is an hour ahead
    jest.advanceTimersByTime(3_600_000 + 569_999);
    expect(ended).toBe(0);
    jest.advanceTimersByTime(1);
    expect(ended).toBe(1);
    life.begin(sameAgain, -3_600_000);
    life.begin(token({ exp: 1 }), 0);
    expect(jest.getTimerCount()).toBe(0);
    life.again();
    jest.advanceTimersByTime(5_000);
    expect(ended).toBe(2);
  });

  it('says nothing when it is ended, or the token has no end', () => {
    const life = new TokenLife(() => {
      throw new Error('must not be called');
    });
    life.begin(token({ exp: 1_700_000_100 }), 0);
    life.end();
    life.begin(token({}), 0);
    expect(jest.getTimerCount()).toBe(0);
  });
});
