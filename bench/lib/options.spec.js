import { describe, expect, it } from '@jest/globals';

import { parseOptions } from './options.js';

const cases = ['fan-out-saturation', 'ingest'];
const peers = ['hand', 'sluice'];

describe(parseOptions.name, () => {
  it('runs everything three times and writes it, by default', () => {
    expect(parseOptions([], cases, peers)).toMatchObject({ cases, peers, runs: 3, shouldWrite: true });
  });

  it('writes nothing when peers are left out, since ratios need them', () => {
    expect(parseOptions(['--peer', 'sluice'], cases, peers)).toMatchObject({
      peers: ['sluice'],
      shouldWrite: false,
    });
  });

  it('refuses names it does not know, and amounts without bounds', () => {
    expect(() => parseOptions(['--case', 'ingets'], cases, peers)).toThrow('unknown case ingets');
    expect(() => parseOptions(['--runs', '0'], cases, peers)).toThrow('--runs');
    expect(() => parseOptions(['--seconds', '1e9'], cases, peers)).toThrow('--seconds');
  });
});
