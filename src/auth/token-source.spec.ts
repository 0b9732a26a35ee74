import { tokenFromUpgrade } from './token-source.js';

const from = (headers: Record<string, string>, url = '/ws') =>
  tokenFromUpgrade(headers, new URLSearchParams(/\?(.*)/s.exec(url)?.[1] ?? ''));

describe(tokenFromUpgrade.name, () => {
  it('finds nothing in a request without a token', () => {
    expect(from({})).toBeUndefined();
    expect(from({ 'sec-websocket-protocol': 'sluice.v1' })).toBeUndefined();
  });

  it.each<[string, Record<string, string>, string, string]>([
    ['Authorization', { authorization: 'Bearer a.b.c' }, '/ws', 'a.b.c'],
    ['Authorization in lower case', { authorization: 'bearer a.b.c' }, '/ws', 'a.b.c'],
    ['Authorization with more spaces', { authorization: ' BEARER   a.b.c ' }, '/ws', 'a.b.c'],
    ['a subprotocol', { 'sec-websocket-protocol': 'sluice.v1, bearer.a.b.c' }, '/ws', 'a.b.c'],
    [
      'a subprotocol, the other way round',
      { 'sec-websocket-protocol': 'bearer.a.b.c,sluice.v1' },
      '/ws',
      'a.b.c',
    ],
    ['the query', {}, '/ws?token=a.b.c', 'a.b.c'],
    ['the query among others', {}, '/?subscribe=none&token=a.b.c&x', 'a.b.c'],
    ['the query, escaped', {}, '/ws?token=a%2Eb%2Ec', 'a.b.c'],
  ])('takes the token of %s', (_carrier, headers, url, token) => {
    expect(from(headers, url)).toBe(token);
  });

  it.each<[string, Record<string, string>, string, string | undefined]>([
    [
      'Authorization before all others',
      { authorization: 'Bearer first', 'sec-websocket-protocol': 'sluice.v1, bearer.second' },
      '/ws?token=third',
      'first',
    ],
    [
      'the subprotocol before the query',
      { 'sec-websocket-protocol': 'bearer.second' },
      '/ws?token=third',
      'second',
    ],
    ['the first of two subprotocols', { 'sec-websocket-protocol': 'bearer.a, bearer.b' }, '/ws', 'a'],
    ['the first of two in the query', {}, '/ws?token=a&token=b', 'a'],
    ['nothing of an empty Authorization', { authorization: 'Bearer' }, '/ws', undefined],
    ['nothing of Bearer and a space', { authorization: 'Bearer ' }, '/ws', undefined],
    ['nothing of an empty subprotocol', { 'sec-websocket-protocol': 'sluice.v1, bearer.' }, '/ws', undefined],
    ['nothing of an empty query', {}, '/ws?token=', undefined],
    ['nothing of another parameter', {}, '/ws?Token=a&access_token=b&xtoken=c', undefined],
    ['nothing of the path', {}, '/token=a', undefined],
    ['the query beside an empty Authorization', { authorization: 'Bearer ' }, '/ws?token=third', 'third'],
    ["the query beside a proxy's Basic", { authorization: 'Basic YTpi' }, '/ws?token=third', 'third'],
    ['nothing of a scheme that only begins alike', { authorization: 'BearerToken abc' }, '/ws', undefined],
    [
      'a malformed Authorization as it is, though the query is good',
      { authorization: 'Bearer a b' },
      '/ws?token=t',
      'a b',
    ],
    ['a badly escaped query as it is', {}, '/ws?token=%E0%A4%A', '\ufffd%A'],
    ['the query of an address that is no URL', {}, '//[?token=a', 'a'],
  ])('takes %s', (_what, headers, url, token) => {
    expect(from(headers, url)).toBe(token);
  });

  it('takes time in proportion to a hostile header', () => {
    const header = `Bearer ${' '.repeat(200_000)}x ${' '.repeat(200_000)}`;
    expect(from({ authorization: header, 'sec-websocket-protocol': ','.repeat(200_000) })).toBe('x');
  });
});
