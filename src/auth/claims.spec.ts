import { AuthError } from './auth-error.js';
import { type ClaimRules, readClaims } from './claims.js';

const NOW_S = 1_700_000_000;
const RULES: ClaimRules = { toleranceMs: 5_000 };
const GOOD = { userId: 'ann', deviceIds: ['a'], exp: NOW_S + 60 };

const read = (claims: unknown, rules: ClaimRules = RULES, nowS = NOW_S) =>
  readClaims(claims, rules, nowS * 1000);
const reasonFor = (claims: unknown, rules?: ClaimRules, nowS?: number): string => {
  try {
    read(claims, rules, nowS);
    return 'good';
  } catch (error) {
    expect(error).toBeInstanceOf(AuthError);
    return (error as AuthError).reason;
  }
};

describe(readClaims.name, () => {
  it('says who, until when and for what', () => {
    const token = read({ ...GOOD, maxRateHz: 0.5, maxRooms: 20 });
    expect(token).toMatchObject({
      userId: 'ann',
      expiresAt: (NOW_S + 60) * 1000,
      maxRateHz: 0.5,
      maxRooms: 20,
    });
    expect(token.grants.exactIds).toEqual(['a']);
    expect(Object.isFrozen(token)).toBe(true);
  });

  it('has no caps where the token names none', () => {
    expect(Object.keys(read(GOOD))).toEqual(['userId', 'expiresAt', 'grants']);
  });

  it('takes sub where there is no userId, and userId before sub', () => {
    expect(read({ ...GOOD, userId: undefined, sub: 'bob' }).userId).toBe('bob');
    expect(read({ ...GOOD, sub: 'bob' }).userId).toBe('ann');
  });

  it.each([
    ['right before exp plus tolerance', NOW_S + 64.999, 'good'],
    ['at exp plus tolerance', NOW_S + 65, 'expired'],
  ])('is, %s, %s', (_when, nowS, outcome) => {
    expect(reasonFor(GOOD, RULES, nowS)).toBe(outcome);
  });

  it.each([
    ['nbf within the tolerance', { nbf: NOW_S + 5 }, 'good'],
    ['nbf beyond the tolerance', { nbf: NOW_S + 5.001 }, 'invalid'],
    ['an expired token that also lacks deviceIds', { exp: 1, deviceIds: undefined }, 'invalid'],
    ['exp 0', { exp: 0 }, 'expired'],
    ['a negative exp', { exp: -1 }, 'expired'],
    ['a fraction in exp', { exp: NOW_S + 0.5 }, 'good'],
    ['the last exp there is', { exp: 253_402_300_799 }, 'good'],
    ['an exp in milliseconds by mistake', { exp: NOW_S * 1000 }, 'invalid'],
    ['no deviceIds but an empty list', { deviceIds: [] }, 'good'],
    ['empty permissions', { permissions: [] }, 'good'],
    ['maxRooms 0', { maxRooms: 0 }, 'good'],
  ])('judges %s', (_what, claims, outcome) => {
    expect(reasonFor({ ...GOOD, ...claims })).toBe(outcome);
  });

  it.each([
    ['the expected issuer', { iss: 'https://id' }, 'good'],
    ['another issuer', { iss: 'https://id/' }, 'invalid'],
    ['no issuer', {}, 'invalid'],
    ['a list of issuers', { iss: ['https://id'] }, 'invalid'],
  ])('with JWT_ISSUER judges %s', (_what, claims, outcome) => {
    expect(reasonFor({ ...GOOD, ...claims }, { ...RULES, issuer: 'https://id' })).toBe(outcome);
  });

  it.each([
    ['the expected audience', { aud: 'sluice' }, 'good'],
    ['one of several', { aud: ['other', 'sluice'] }, 'good'],
    ['another audience', { aud: 'Sluice' }, 'invalid'],
    ['no audience', {}, 'invalid'],
    ['an object', { aud: { sluice: true } }, 'invalid'],
    ['nested lists', { aud: [['sluice']] }, 'invalid'],
  ])('with JWT_AUDIENCE judges %s', (_what, claims, outcome) => {
    expect(reasonFor({ ...GOOD, ...claims }, { ...RULES, audience: 'sluice' })).toBe(outcome);
  });
});
