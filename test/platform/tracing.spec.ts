import { createServer } from 'node:http';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import mqtt, { type IPublishPacket } from 'mqtt';
import { get } from 'sparkplug-payload';
import { Metrics } from '../../src/metrics/metrics.js';
import { tracing } from '../../src/tracing/tracing.js';
import { stopAfterAll } from '../support/cleanup.js';
import { connect } from '../support/dashboard-client.js';
import { startMosquitto } from '../support/mosquitto.js';
import { eventually, type RunningApp, startApp } from './capture.js';

const TOKEN = 'a-token-of-the-server-api-for-tests-3';
const OF_BACKEND = '0af7651916cd43dd8448eb211c80319c';
const OF_DEVICE = '4bf92f3577b34da6a3ce929d0e0e4736';
const { encodePayload } = get('spBv1.0')!;
const LAYOUTS = `
version: 1
layouts:
  plant: { preset: sparkplug-b, device: 'sp.{group}.{node}.{dev}' }
  parts:
    device: 'parts.{dev}'
    telemetry:
      - { topic: 'parts/{dev}/field/{name}', as: field }
      - { topic: 'parts/{dev}/merge', as: merge }
  lists:
    device: 'lists.{dev}'
    telemetry:
      - { topic: 'lists', each: [''], id: { dev: /dev }, pick: /value }
`;
const traceparent = (traceId: string): string => `00-${traceId}-b7ad6b7169203331-01`;

interface SentSpan {
  name: string;
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  events?: { name: string }[];
  attributes: { key: string; value: { stringValue?: string } }[];
  status: { message?: string };
  links?: { traceId: string; spanId: string }[];
}
interface Sent {
  resourceSpans: {
    resource: { attributes: SentSpan['attributes'] };
    scopeSpans: { spans: SentSpan[] }[];
  }[];
}

/** Spans are bounded as everything is: what no collector takes is counted, and costs nobody memory. */
describe('spans that wait for their collector', () => {
  it('are as many as they may be; what finds no place, and what the collector refuses, is counted', async () => {
    const collector = createServer((request, response) => {
      request.resume();
      response.writeHead(400).end();
    }).listen(0, '127.0.0.1');
    await new Promise((resolve) => collector.once('listening', resolve));
    process.env['OTEL_EXPORTER_OTLP_ENDPOINT'] =
      `http://127.0.0.1:${(collector.address() as AddressInfo).port}`;
    const { openTelemetry } = await import('../../src/tracing/otel.js');
    const stop = tracing.use(openTelemetry(4));
    try {
      for (let span = 0; span < 10; span += 1) {
        tracing.start('x', { kind: 'server' }).end();
      }
      // Four are with the collector, four wait.
      expect(tracing.counts).toEqual({ waiting: 4, full: 2, failed: 0 });
      const text = await new Metrics().registry.metrics();
      expect(text).toContain('sluice_trace_spans_waiting 4');
      expect(text).toContain('sluice_trace_spans_dropped_total{reason="full"} 2');
      await eventually(() => Promise.resolve(tracing.counts.failed === 8));
      expect(tracing.counts).toEqual({ waiting: 0, full: 2, failed: 8 });
    } finally {
      await stop();
      collector.close();
    }
  });
});

/** What a collector of OpenTelemetry hears. */
describe('the spans of OpenTelemetry', () => {
  const shared = stopAfterAll();
  const sent: Sent[] = [];
  let app: RunningApp;
  let broker: string;

  const spans = (name: string): SentSpan[] =>
    sent.flatMap(({ resourceSpans }) =>
      resourceSpans.flatMap(({ scopeSpans }) =>
        scopeSpans.flatMap((scope) => scope.spans.filter((span) => span.name === name)),
      ),
    );
  const valueOf = (attributes: SentSpan['attributes'], wanted: string): string | undefined =>
    attributes.find(({ key }) => key === wanted)?.value.stringValue;

  beforeAll(async () => {
    const collector = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        sent.push(JSON.parse(Buffer.concat(chunks).toString()) as Sent);
        response.end('{}');
      });
    }).listen(0, '127.0.0.1');
    await new Promise((resolve) => collector.once('listening', resolve));
    shared({ stop: () => new Promise((resolve) => collector.close(resolve)) });
    process.env['OTEL_EXPORTER_OTLP_ENDPOINT'] =
      `http://127.0.0.1:${(collector.address() as AddressInfo).port}`;
    process.env['OTEL_SERVICE_NAME'] = 'live-dashboards';
    process.env['OTEL_BSP_SCHEDULE_DELAY'] = '50';
    const { openTelemetry } = await import('../../src/tracing/otel.js');
    const stop = tracing.use(openTelemetry());
    shared({ stop });
    broker = shared(await startMosquitto()).url;
    app = shared(await startApp({ MQTT_URL: broker, MANAGEMENT_PORT: '0', API_TOKEN: TOKEN }));
    await app.app.ready();
  }, 60_000);

  it('follow a command from the backend to the device and back, in the trace of the backend', async () => {
    const device = await mqtt.connectAsync(broker, { protocolVersion: 5 });
    shared({ stop: () => device.endAsync(true) });
    await device.subscribeAsync('devices/d/commands', { qos: 1 });
    const heard = new Promise<IPublishPacket>((resolve) =>
      device.once('message', (_topic, _payload, packet) => {
        resolve(packet);
        const { responseTopic = '', correlationData } = packet.properties ?? {};
        device.publish(responseTopic, '"done"', {
          qos: 1,
          properties: { correlationData: correlationData! },
        });
      }),
    );
    const answer = await fetch(`http://127.0.0.1:${app.ports.managementPort}/api/v1/devices/d/commands`, {
      method: 'POST',
      headers: {
        authorization: `Bearer ${TOKEN}`,
        'content-type': 'application/json',
        traceparent: traceparent(OF_BACKEND),
      },
      body: '{"command":{"on":true},"waitMs":5000}',
    });
    expect(await answer.json()).toMatchObject({ outcome: 'replied', payload: 'done' });
    await eventually(async () => (await Promise.resolve(spans('command'))).length > 0);
    const [api] = spans('api sendCommand');
    const [command] = spans('command');
    expect([api?.traceId, api?.parentSpanId]).toEqual([OF_BACKEND, 'b7ad6b7169203331']);
    expect([command?.traceId, command?.parentSpanId]).toEqual([OF_BACKEND, api?.spanId]);
    expect(command?.events?.map(({ name }) => name)).toEqual(['puback', 'result']);
    expect(valueOf(command?.attributes ?? [], 'sluice.outcome')).toBe('replied');
    expect((await heard).properties?.userProperties).toEqual({
      traceparent: `00-${OF_BACKEND}-${command?.spanId}-01`,
    });
    expect(valueOf(sent[0]?.resourceSpans[0]?.resource.attributes ?? [], 'service.name')).toBe(
      'live-dashboards',
    );
  });

  it('have a connection, and a publication in the trace that its device began', async () => {
    const dashboard = await connect(`ws://127.0.0.1:${app.ports.port}/ws`, {
      claims: { deviceIds: ['traced'] },
    });
    await dashboard.next('subscribed');
    const device = await mqtt.connectAsync(broker, { protocolVersion: 5 });
    await device.publishAsync('devices/traced/telemetry', '{"secret":4711}', {
      qos: 1,
      properties: { userProperties: { unit: 'bar', traceparent: traceparent(OF_DEVICE) } },
    });
    await device.publishAsync('devices/other/telemetry', '1', {
      properties: { userProperties: { traceparent: 'no traceparent' } },
    });
    await device.endAsync();
    await dashboard.next('telemetry');
    await eventually(async () => (await Promise.resolve(spans('publication'))).length >= 2);
    const linked = (): SentSpan | undefined =>
      spans('delivery').find(({ links = [] }) => links.some(({ traceId }) => traceId === OF_DEVICE));
    await eventually(() => Promise.resolve(linked() !== undefined));
    const of = (deviceId: string) =>
      spans('publication').find(({ attributes }) => valueOf(attributes, 'sluice.device') === deviceId);
    expect([of('traced')?.traceId, of('traced')?.parentSpanId]).toEqual([OF_DEVICE, 'b7ad6b7169203331']);
    // The write that sent it to the dashboard: another trace, since one write sends what many devices said.
    expect(linked()?.links).toContainEqual(
      expect.objectContaining({ traceId: OF_DEVICE, spanId: of('traced')?.spanId }),
    );
    expect(linked()?.traceId).not.toBe(OF_DEVICE);
    expect(of('other')?.parentSpanId).toBeUndefined();
    expect(spans('connect').map(({ attributes }) => valueOf(attributes, 'sluice.outcome'))).toContain(
      'accepted',
    );
    expect(JSON.stringify(sent)).not.toContain('4711');
  });

  it('link a delivery to a publication that is a field, a part of a message, or a value of Sparkplug', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'tracing-'));
    shared({ stop: () => Promise.resolve(rmSync(folder, { recursive: true })) });
    const layouts = join(folder, 'layouts.yaml');
    writeFileSync(layouts, LAYOUTS);
    const { app: other, ports } = shared(await startApp({ MQTT_URL: broker, LAYOUT_FILE: layouts }));
    await other.ready();
    const deviceIds = ['parts.a', 'parts.b', 'lists.c', 'sp.G.N.d'];
    const dashboard = await connect(`ws://127.0.0.1:${ports.port}/ws`, { claims: { deviceIds } });
    await dashboard.next('subscribed');
    const birth = { timestamp: Date.now(), seq: 0, metrics: [{ name: 'bdSeq', type: 'Int64', value: 0 }] };
    const dataBirth = { ...birth, seq: 1, metrics: [{ name: 'on', type: 'Boolean', value: true }] };
    const messages: [topic: string, payload: string | Buffer, deviceId: string][] = [
      ['parts/a/field/x', '1', 'parts.a'],
      ['parts/b/merge', '{"x":1}', 'parts.b'],
      ['lists', '[{"dev":"c","value":{"x":1}}]', 'lists.c'],
      ['spBv1.0/G/NBIRTH/N', Buffer.from(encodePayload(birth as never)), ''],
      ['spBv1.0/G/DBIRTH/N/d', Buffer.from(encodePayload(dataBirth as never)), 'sp.G.N.d'],
    ];
    const device = await mqtt.connectAsync(broker, { protocolVersion: 5 });
    shared({ stop: () => device.endAsync(true) });
    for (const [at, [topic, payload, deviceId]] of messages.entries()) {
      const traceId = OF_DEVICE.replace(/^4/, String(at + 5));
      await device.publishAsync(topic, payload, {
        qos: 1,
        properties: { userProperties: { traceparent: traceparent(traceId) } },
      });
      if (deviceId !== '') {
        expect(await dashboard.next('telemetry')).toMatchObject({ deviceId });
        await eventually(() =>
          Promise.resolve(
            spans('delivery').some(({ links = [] }) => links.some((link) => link.traceId === traceId)),
          ),
        );
      }
    }
  });
});
