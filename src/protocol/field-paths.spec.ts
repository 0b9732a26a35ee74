import { MAX_PARTS, MAX_PATH_PARTS, partsIn, pathsFault } from './field-paths.js';

const path = (parts: number): string => Array.from({ length: parts }, () => 'p').join('.');

describe(pathsFault.name, () => {
  it('takes paths up to the bound of parts in each, and in all of them together', () => {
    const most = Array.from({ length: MAX_PARTS / MAX_PATH_PARTS }, () => path(MAX_PATH_PARTS));
    expect(pathsFault([])).toBeUndefined();
    expect(pathsFault(most)).toBeUndefined();
    expect(partsIn(most)).toBe(MAX_PARTS);
    expect(pathsFault([...most, 'a'])).toMatch('may have 1000 parts in all');
  });

  it('names the path that has too many parts, cut to a length', () => {
    expect(pathsFault(['a', path(9)])).toBe('may have 8 parts a path, and "p.p.p.p.p.p.p.p.p" has 9');
    expect(pathsFault(['.'.repeat(255)])).toMatch(/"\.{32}" has 256$/);
  });
});
