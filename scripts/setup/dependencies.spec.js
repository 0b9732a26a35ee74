import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { removeRemains, withAddresses } from './dependencies.js';

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

// An install that was ended by SIGKILL left its folder of 400 MB in the checkout for ever: only the process itself removed it.
describe('what is left of an install', () => {
  let clone;
  const make = (name) => {
    mkdirSync(join(clone, name, 'node_modules', 'ws'), { recursive: true });
    writeFileSync(join(clone, name, 'package.json'), '{}');
  };
  /** The number of a process that has ended. */
  const endedPid = () => spawnSync(process.execPath, ['--version']).pid;

  beforeEach(() => {
    clone = mkdtempSync(join(tmpdir(), 'sluice-install-'));
  });
  afterEach(() => rmSync(clone, { recursive: true }));

  it('is removed when its process has ended', () => {
    make(`.install-${endedPid()}-aBcDeF`);
    make(`.install-${process.pid}-aBcDeF`); // of one before this, with its number
    make('node_modules');
    removeRemains(clone);
    expect(readdirSync(clone)).toEqual(['node_modules']);
  });

  it('is removed when it names no process, as a release before this one left it', () => {
    make('.install-aBcDeF');
    removeRemains(clone);
    expect(readdirSync(clone)).toEqual([]);
  });

  it('stays while its process goes on', () => {
    make(`.install-${process.ppid}-aBcDeF`);
    removeRemains(clone);
    expect(readdirSync(clone)).toEqual([`.install-${process.ppid}-aBcDeF`]);
  });

  it('is nothing else that begins alike', () => {
    make('.install-notes.d');
    removeRemains(clone);
    expect(readdirSync(clone)).toEqual(['.install-notes.d']);
  });
});
