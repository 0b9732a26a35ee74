import { framesOf } from '../../test/support/fake-socket.js';
import { TelemetryTemplate } from './telemetry-frame.js';

const publication = (meta: string | null, more: object = {}) => ({
  deviceId: 'pump "1"',
  epoch: 'e1',
  offset: 7,
  serverTs: 1_700_000_000_000,
  payload: Buffer.from('{"t":"°C"}'),
  meta: meta === null ? null : Buffer.from(meta),
  ...more,
});

describe(TelemetryTemplate.name, () => {
  it('keeps step with metadata that come, change and go', () => {
    const template = new TelemetryTemplate('pump "1"');
    const metaOf = (meta: string | null): unknown => {
      const [text] = framesOf(template.frame(publication(meta), 0));
      return (JSON.parse(text as string) as { meta: unknown }).meta;
    };
    expect([null, '{"unit":"°C"}', '{}', null].map(metaOf)).toEqual([null, { unit: '°C' }, {}, null]);
  });

  it('has all members in the order of the protocol, with and without metadata', () => {
    const template = new TelemetryTemplate('pump "1"');
    const head = '{"type":"telemetry","deviceId":"pump \\"1\\"","payload":{"t":"°C"}';
    const tail = '"serverTs":1700000000000,"epoch":"e1","offset":7';
    expect(framesOf(template.frame(publication(null), 0))).toEqual([`${head},"meta":null,${tail}}`]);
    expect(framesOf(template.frame(publication('{"a":1}'), 2, ',"aggregated":{}'))).toEqual([
      `${head},"meta":{"a":1},${tail},"skipped":2,"aggregated":{}}`,
    ]);
    expect(template.body(publication(null)).toString()).toBe(`${head},"meta":null,${tail}}`);
  });

  it('takes up another epoch', () => {
    const template = new TelemetryTemplate('pump "1"');
    template.frame(publication(null), 0);
    const [text] = framesOf(template.frame(publication(null, { epoch: 'e2', offset: 1 }), 0));
    expect(JSON.parse(text as string)).toMatchObject({ epoch: 'e2', offset: 1 });
  });
});
