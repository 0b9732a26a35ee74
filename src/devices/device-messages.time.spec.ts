import type { DeviceSink } from '../ingest/ports.js';
import type { RetainedState } from '../ingest/retained-state.js';
import { ActiveLayouts } from '../layouts/active-layouts.js';
import { compileLayouts } from '../layouts/compile/compile.js';
import { parseLayoutFile } from '../layouts/compile/layout-file.js';
import { InboundMessage, TopicRouter } from '../mqtt/topic-router.js';
import type { Transformer } from '../transform/transformer.js';
import { DeviceMessages } from './device-messages.js';
import type { SessionStates } from './session-states.js';
import type { StaticMetadata } from './static-metadata.js';

const FILE = `
version: 1
layouts:
  whole:
    device: "w.{device}"
    telemetry: [ { topic: "w/{device}", ts: /t/made } ]
  seconds:
    device: "s.{device}"
    telemetry: [ { topic: "s/{device}", pick: /v, ts: { at: /at, unit: s } } ]
  many:
    device: "m.{device}"
    telemetry: [ { topic: "m", each: "", id: { device: key }, as: merge, ts: /ts } ]
  none:
    device: "n.{device}"
    telemetry: [ { topic: "n/{device}" } ]
`;
const NOW = 1_700_000_060_000;

/** The age of what devices send is measured by their own clock, in telemetry too: a status is sent once in a connection. */
describe('the time that telemetry says', () => {
  const times: [ts: number, receivedAt: number][] = [];
  const published: string[] = [];
  const messages = new DeviceMessages(
    {
      publish: (message) => {
        published.push(message.payload.toString());
        message.settle('accepted');
      },
      fillTelemetry: () => undefined,
    } as Partial<DeviceSink> as DeviceSink,
    {} as RetainedState,
    {} as StaticMetadata,
    { payload: (_deviceId: string, json: Buffer) => json } as Transformer,
    {
      make: () => ({ fields: { applyFields: (message: InboundMessage) => message.finish('accepted') } }),
      saidTime: (ts: number, receivedAt: number) => times.push([ts, receivedAt]),
    } as unknown as SessionStates,
    new ActiveLayouts(compileLayouts(parseLayoutFile(FILE), { ingest: 'leased' })),
    { watchDevices: () => Promise.resolve([]) },
  );
  const router = new TopicRouter(messages.routes, 100);

  /** @returns what it ended as, and the times that were noted */
  function take(topic: string, payload: string, retained = false): unknown[] {
    times.length = 0;
    published.length = 0;
    let outcome: string | undefined;
    const bytes = Buffer.from(topic);
    const destination = router.resolve(bytes, 0, bytes.length);
    const buffer = Buffer.from(payload);
    const message = new InboundMessage(
      destination as ConstructorParameters<typeof InboundMessage>[0],
      buffer,
      0,
      buffer.length,
      NOW,
      1,
      0,
      false,
      retained,
      -1,
      { settled: (_message, as) => void (outcome = as), partSettled: () => undefined },
    );
    destination.route!.handle(message);
    return [outcome, ...times.map(([ts, receivedAt]) => receivedAt - ts)];
  }

  it('is where the layout names it, in ms or s, of the message or of each reading in it', () => {
    expect(take('w/a', `{"t":{"made":${NOW - 40}},"v":1.50}`)).toEqual(['accepted', 40]);
    expect(published).toEqual([`{"t":{"made":${NOW - 40}},"v":1.50}`]); // as it came
    expect(take('s/a', `{"at":${NOW / 1_000 - 2},"v":7}`)).toEqual(['accepted', 2_000]);
    expect(published).toEqual(['7']);
    expect(take('m', `{"a":{"ts":${NOW - 1}},"b":{"ts":${NOW - 2}},"c":{}}`)).toEqual(['accepted', 1, 2]);
  });

  it('is no time of a retained message, and none where there is no number that is one', () => {
    expect(take('w/a', `{"t":{"made":${NOW}}}`, true)).toEqual(['retained']);
    for (const text of [
      '{}',
      '{"t":{"made":"today"}}',
      '{"t":{"made":-1}}',
      '{"t":{"made":1e300}}',
      '{"t":7}',
    ]) {
      expect(take('w/a', text)).toEqual(['accepted']);
    }
    expect(take('w/a', 'no JSON')).toEqual(['not_json']);
    expect(take('n/a', `{"ts":${NOW}}`)).toEqual(['accepted']);
  });
});
