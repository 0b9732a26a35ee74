import type { DeviceSink } from '../ingest/ports.js';
import type { RetainedState } from '../ingest/retained-state.js';
import { ActiveLayouts } from '../layouts/active-layouts.js';
import type { Transformer } from '../transform/transformer.js';
import { DeviceMessages } from './device-messages.js';
import type { SessionStates } from './session-states.js';
import type { StaticMetadata } from './static-metadata.js';

describe('the numbers that order statuses', () => {
  it('are kept of as many devices as there may be; those of others are all taken', () => {
    const messages = new DeviceMessages(
      {} as DeviceSink,
      { maxDevices: 2 } as RetainedState,
      {} as StaticMetadata,
      {} as Transformer,
      { make: () => ({}) } as unknown as SessionStates,
      new ActiveLayouts(null),
      { watchDevices: () => Promise.resolve([]) },
    );
    const taken = (['a', 'b', 'c'] as const).map((deviceId) =>
      [2, 1, 3].map((order) => messages.isNewer('aws', deviceId, order)),
    );
    expect(taken).toEqual([
      [true, false, true],
      [true, false, true],
      [true, true, true],
    ]);
  });
});
