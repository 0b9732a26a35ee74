import { LastPublication } from './attached-room.js';
import type { Publication } from '../../rooms/broadcast-adapter.js';

function publication(offset: number, text: string): Publication {
  // A view within a larger chunk, as it comes from the network.
  const payload = Buffer.from(`before${text}after`).subarray(6, 6 + text.length);
  return { deviceId: 'd1', epoch: 'e', offset, serverTs: 1_000.5 + offset, payload, meta: Buffer.from('{}') };
}

describe(LastPublication.name, () => {
  it('gives back what it was given, and leaves alone what it gave before', () => {
    const first = publication(1, '"first"');
    const second = publication(2, '"second and longer"');
    const last = LastPublication.keep(null, first);
    const given = last?.get();
    expect(given).toEqual(first);
    expect(LastPublication.keep(last, second)).toBe(last);
    expect(last?.get()).toEqual(second);
    expect(given).toEqual(first);
  });

  it('is none when there is none', () => {
    const last = LastPublication.keep(null, publication(1, '1'));
    expect(LastPublication.keep(last, null)).toBeNull();
    expect(LastPublication.keep(null, null)).toBeNull();
  });
});
