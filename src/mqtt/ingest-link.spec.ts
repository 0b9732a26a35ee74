import { PassThrough } from 'node:stream';
import { Metrics } from '../metrics/metrics.js';
import { IngestCounters } from './ingest-counters.js';
import { type IngestContext, IngestLink } from './ingest-link.js';
import { type Route, TopicRouter } from './topic-router.js';

describe(IngestLink.name, () => {
  // The lists of devices that say most named markers, `own-…-at-7`: their names stand where other topics have the device.
  it('names devices in the top lists, and no markers of its own', () => {
    const metrics = new Metrics();
    const route = (filter: string, kind: Route['kind']): Route => ({
      filter,
      qos: 1,
      kind,
      handle: (message) => message.finish('accepted'),
    });
    const routes = [route('devices/+/telemetry', 'telemetry'), route('sluice/ingest/own/a/+', 'other')];
    const context = {
      broker: { protocolVersion: 5 },
      limits: { maxPayloadBytes: 1_000 },
      router: new TopicRouter(routes, 10),
      counters: new IngestCounters(metrics),
      trace: { active: false, hasTopics: false },
    } as unknown as IngestContext;
    const link = new IngestLink(context, false, { retained: () => undefined });
    link.attach(new PassThrough());
    link.chunkReceived();
    for (const topic of ['devices/pump-1/telemetry', 'sluice/ingest/own/a/own-a-at-7']) {
      const bytes = Buffer.from(`${topic}{}`);
      link.publish(bytes, 0, 0, 0, topic.length, topic.length, bytes.length);
    }
    const { messages } = metrics.top;
    expect(messages.read(10).entries.map(({ key }) => key)).toEqual(['pump-1']);
  });
});
