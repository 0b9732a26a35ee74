import { describe, expect, it } from '@jest/globals';
import { withAddresses } from './dependencies.js';

describe('the addresses of packages in a lock file', () => {
  const integrity = 'sha512-x';
  const addressOf = (path, entry) =>
    withAddresses({ packages: { [path]: entry } }, 'https://packages.test/npm/').packages[path].resolved;

  it('are those of the registry', () => {
    expect(addressOf('node_modules/a/node_modules/ws', { version: '8.1.0', integrity })).toBe(
      'https://packages.test/npm/ws/-/ws-8.1.0.tgz',
    );
  });

  it('have the scope in the path and not in the name of the file', () => {
    expect(addressOf('node_modules/@nestjs/core', { version: '12.0.0', integrity })).toBe(
      'https://packages.test/npm/@nestjs/core/-/core-12.0.0.tgz',
    );
  });

  it('are those of the package itself where it is installed under another name', () => {
    expect(addressOf('node_modules/react-18', { name: 'react', version: '18.3.1', integrity })).toBe(
      'https://packages.test/npm/react/-/react-18.3.1.tgz',
    );
  });

  it('stay where there is one, and are for nothing but packages of a registry', () => {
    expect(
      addressOf('node_modules/own', { version: '1.0.0', integrity, resolved: 'https://a/own.tgz' }),
    ).toBe('https://a/own.tgz');
    expect(addressOf('', { version: '0.2.0' })).toBeUndefined();
  });
});
