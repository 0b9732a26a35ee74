import { MemoryEdgeNodes } from '../../rooms/edge-nodes.js';
import type { ProtocolError } from '../../protocol/errors.js';
import { LayoutCommandRoutes } from '../command-routes.js';
import type { CompiledLayouts } from '../compiled-layouts.js';
import { compileLayouts } from '../compile/compile.js';
import { type LayoutFileError, parseLayoutFile } from '../compile/layout-file.js';
import { readPayload } from './sparkplug-payload.js';

type Mode = 'leased' | 'shared';

function compile(layout: string, ingest: Mode = 'leased'): CompiledLayouts {
  return compileLayouts(parseLayoutFile(`version: 1\nlayouts:\n  plant: ${layout}\n`), { ingest });
}

function problems(layout: string, ingest: Mode = 'leased'): readonly string[] {
  try {
    compile(layout, ingest);
    return [];
  } catch (error) {
    return (error as LayoutFileError).problems;
  }
}

const PRESET = '{ preset: sparkplug-b }';
const DEVICE = 'device: "{group}.{node}.{dev}"';
const node = (more = ''): string => `{ topic: "spBv1.0/{group}/NDATA/{node}", payload: sparkplug ${more} }`;

describe('a layout of Sparkplug', () => {
  it('reads births and deaths with the data, and nothing else (tck-id-topic-structure)', () => {
    expect(compile(PRESET).subscriptions.map(({ filter }) => filter)).toEqual([
      'spBv1.0/+/NBIRTH/+',
      'spBv1.0/+/NDATA/+',
      'spBv1.0/+/NDEATH/+',
      'spBv1.0/+/DBIRTH/+/+',
      'spBv1.0/+/DDATA/+/+',
      'spBv1.0/+/DDEATH/+/+',
    ]);
    const some = compile('{ preset: sparkplug-b, only: { group: [A, B] } }').subscriptions;
    expect(some.map(({ filter }) => filter)).toContain('spBv1.0/B/DDEATH/+/+');
    expect(some.length).toBe(12);
  });

  it('makes the ids of nodes and devices, which lead back, whatever their names have', () => {
    const [{ ids, sparkplugTopics }] = compile(PRESET).layouts as [CompiledLayouts['layouts'][0]];
    const [ofNode, ofDevice] = sparkplugTopics;
    expect(ids.make(ofNode!.captures({ group: 'G.1', node: 'n', device: '' }))).toBe('G%2E1.n');
    expect(ids.make(ofDevice!.captures({ group: 'G', node: 'n 1', device: 'd/x' }))).toBe('G.n 1.d%2Fx');
    expect(ids.read('G%2E1.n')).toEqual({ group: 'G.1', node: 'n' });
  });

  it.each([
    [
      'other topics',
      `{ ${DEVICE}, telemetry: [ { topic: "x/{group}/{node}/{dev}", payload: sparkplug } ] }`,
      'payload: sparkplug reads spBv1.0/',
    ],
    [
      'topics of commands',
      `{ ${DEVICE}, telemetry: [ { topic: "spBv1.0/{group}/NCMD/{node}", payload: sparkplug } ] }`,
      'payload: sparkplug reads spBv1.0/',
    ],
    ['parts of messages', `{ ${DEVICE}, telemetry: [ ${node(', pick: /x')} ] }`, 'takes whole messages'],
    ['fields by topic', `{ ${DEVICE}, telemetry: [ ${node(', as: merge')} ] }`, 'takes whole messages'],
    [
      'two topics of nodes',
      `{ ${DEVICE}, telemetry: [ ${node()}, ${node(', only: { group: [A] }')} ] }`,
      'one topic of nodes and one of devices',
    ],
    [
      'other topics for commands',
      `{ ${DEVICE}, telemetry: [ ${node()} ], command: { topic: "x/{group}", payload: sparkplug } }`,
      'payload: sparkplug is sent to',
    ],
  ])('is refused with %s', (_what, layout, sentence) => {
    expect(problems(layout).join('\n')).toContain(sentence);
  });

  it('is refused where several instances share the topics', () => {
    expect(problems(PRESET, 'shared').join('\n')).toContain(
      'payload: sparkplug needs one reader: MQTT_INGEST=leased',
    );
  });
});

describe('commands of a layout of Sparkplug', () => {
  const head = JSON.stringify({ v: 1, alive: true, bdSeq: '0', next: 1 });
  const store = new MemoryEdgeNodes(10);

  beforeAll(async () => {
    const metrics = JSON.stringify([['on', 11, 7]]);
    await store.write('A/n', {
      replace: true,
      parts: new Map([
        ['h', head],
        ['d', metrics],
        ['dd 1', metrics],
      ]),
    });
    const dead = JSON.stringify({ v: 1, alive: false });
    await store.write('A/dead', {
      replace: true,
      parts: new Map([
        ['h', dead],
        ['d', metrics],
      ]),
    });
  });

  const routes = (layout = PRESET): LayoutCommandRoutes => new LayoutCommandRoutes(compile(layout), store);
  const refusal = async (deviceId: string, json = '{"on":true}', layout = PRESET): Promise<string> => {
    try {
      await routes(layout).resolve(deviceId, json);
      return 'none';
    } catch (error) {
      return (error as ProtocolError).code;
    }
  };

  it('go to the device or to the node, at QoS 0 (tck-id-topics-dcmd-topic, tck-id-topics-ncmd-topic, tck-id-topics-ncmd-mqtt)', async () => {
    const toDevice = await routes().resolve('A.n.d 1', '{"on":true}');
    expect(toDevice).toMatchObject({ topic: 'spBv1.0/A/DCMD/n/d 1', qos: 0, reply: null });
    expect(readPayload(toDevice.payload, false)).toMatchObject({
      seq: undefined,
      metrics: [{ alias: 7, type: 11 }],
    });
    expect(await routes().resolve('A.n', '{"on":true}')).toMatchObject({ topic: 'spBv1.0/A/NCMD/n' });
  });

  it('are refused where the metrics are not known: no such device, or its node is dead', async () => {
    expect(await refusal('A.n.other')).toBe('invalid_message');
    expect(await refusal('A.other')).toBe('invalid_message');
    expect(await refusal('A.dead')).toBe('invalid_message');
  });

  it('are forbidden to what the layout does not read, and to what cannot be a topic', async () => {
    expect(await refusal('A.n', '{"on":true}', '{ preset: sparkplug-b, only: { group: [B] } }')).toBe(
      'forbidden',
    );
    expect(await refusal('A.n%2Fx')).toBe('forbidden');
    expect(await refusal('A.n%2B')).toBe('forbidden');
    expect(await refusal('A')).toBe('forbidden');
  });

  it('say that the store does not answer', async () => {
    const gone = new LayoutCommandRoutes(compile(PRESET), { read: () => Promise.reject(new Error('gone')) });
    await expect(gone.resolve('A.n', '{"on":true}')).rejects.toMatchObject({ code: 'broker_unavailable' });
  });

  it('may set Node Control where allow names it', async () => {
    const control = JSON.stringify([['Node Control/Reboot', 11]]);
    await store.write('A/c', {
      replace: true,
      parts: new Map([
        ['h', head],
        ['d', control],
      ]),
    });
    const json = '{"Node Control/Reboot":true}';
    expect(await refusal('A.c', json)).toBe('forbidden');
    const allowed = `{ preset: sparkplug-b, command: { topic: "spBv1.0/{group}/DCMD/{node}/{dev}", payload: sparkplug, qos: 0, allow: { "/Node Control~1Reboot": any } } }`;
    expect(await refusal('A.c', json, allowed)).toBe('none');
    const onlyOn = allowed.replace('"/Node Control~1Reboot": any', '/on: [true]');
    expect(await refusal('A.n', '{"on":true}', onlyOn)).toBe('none');
    expect(await refusal('A.n', '{"on":false}', onlyOn)).toBe('forbidden');
  });
});
