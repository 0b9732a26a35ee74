import { describe, expect, it } from '@jest/globals';

import { topFunctions } from './profile.js';

const frame = (functionName, url = '') => ({ functionName, url, lineNumber: 9 });

describe(topFunctions.name, () => {
  it('ranks functions by their own share of the busy time since the server was ready', () => {
    const profile = {
      nodes: [
        { id: 1, callFrame: frame('(idle)') },
        { id: 2, callFrame: frame('writev') },
        { id: 3, callFrame: frame('publish', 'file:///somewhere/dist/rooms/rooms.service.js') },
        { id: 4, callFrame: frame('writev') },
      ],
      startTime: 5_000,
      samples: [3, 1, 2, 3, 4],
      timeDeltas: [500, 1_000, 20, 20, 40],
    };
    expect(topFunctions(profile, 5, 6_000)).toEqual([
      { name: 'writev', percent: 75 },
      { name: 'publish dist/rooms/rooms.service.js:10', percent: 25 },
    ]);
  });
});
