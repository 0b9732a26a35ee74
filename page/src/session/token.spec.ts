import { describe, expect, it } from '@jest/globals';
import { claimsOf, cleanToken, grants, matches } from './token.js';

const tokenOf = (claims: unknown): string =>
  `h.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.s`;

describe('the token', () => {
  it('names devices, patterns, a user and what is permitted', () => {
    const claims = {
      userId: 'größe',
      deviceIds: ['a', 'plant-*', '*', 'größe', 7],
      permissions: ['read'],
      exp: 5,
    };
    expect(claimsOf(tokenOf(claims))).toEqual({
      user: 'größe',
      ids: ['a', 'größe'],
      patterns: ['plant-*', '*'],
      canRead: true,
      permitsCommands: false,
      expiresAt: 5_000,
    });
  });

  it.each(['', 'x', 'a.b.c', tokenOf({}), tokenOf(null)])('%j names none', (token) => {
    expect(claimsOf(token)).toMatchObject({ user: undefined, ids: [], patterns: [] });
  });

  it('is taken as people paste it', () => {
    const pasted = ['  a.b.c\n', 'Bearer a.b.c', '"a.b.c"', 'http://localhost:8080/#token=a.b.c'];
    expect(pasted.map(cleanToken)).toEqual(['a.b.c', 'a.b.c', 'a.b.c', 'a.b.c']);
  });

  it.each([
    ['*', 'a', true],
    ['plant-7.*', 'plant-7.valve', true],
    ['plant-7.*', 'plant-8.valve', false],
    ['a*a', 'a', false],
    ['a*b*c', 'a1b2c', true],
    ['a*b*c', 'abbc', true],
    ['a*bb*c', 'abc', false],
  ])('a pattern %s and %s: %s', (pattern, id, does) => {
    expect(matches(pattern, id)).toBe(does);
    expect(grants(claimsOf(tokenOf({ deviceIds: [pattern] })), id)).toBe(does);
  });
});
