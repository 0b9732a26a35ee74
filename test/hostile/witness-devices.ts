import { encode } from 'cbor2';
import { get } from 'sparkplug-payload';
import type { UMetric } from 'sparkplug-payload/lib/sparkplugbpayload.js';

const { encodePayload } = get('spBv1.0')!;

export interface Message {
  topic: string;
  payload: string | Buffer;
}

/** A device of the witness, as its layout has it speak. What it has said at its birth belongs to every publication after it. */
export interface WitnessDevice {
  deviceId: string;
  begin: Message[];
  /** Its telemetry becomes `{"n":n}`, beside what it began with. */
  say(n: number): Message;
  /** Its whole state for a number. */
  state(n: number): unknown;
  /** Values within the layout's window are one publication. */
  joins: boolean;
}

interface Speech {
  begin?: Message[];
  say: (n: number) => Message;
  state?: (n: number) => unknown;
  joins?: boolean;
}

const device = (deviceId: string, { begin = [], say, state, joins = false }: Speech): WitnessDevice => ({
  deviceId,
  begin,
  say,
  state: state ?? ((n) => ({ n })),
  joins,
});
const ofSluice = (id: string, deviceId: string): WitnessDevice =>
  device(deviceId, {
    say: (n) => ({ topic: `devices/${id}/telemetry`, payload: JSON.stringify({ n }) }),
  });
const cbor = (value: object): Buffer => Buffer.from(encode(value));
const both = (n: number): unknown => ({ k: 'w', n });

/** Of the built-in layout. */
export const BUILT_IN: WitnessDevice[] = ['w-0', 'w-1', 'w-2'].map((id) => ofSluice(id, id));

/** Of each layout of layout-fleets.ts. */
export function layoutDevices(): WitnessDevice[] {
  let seq = 0;
  const edge = (verb: string, rest: string, metrics: UMetric[]): Message => {
    const payload = Buffer.from(encodePayload({ timestamp: Date.now(), seq, metrics }));
    seq = (seq + 1) % 256;
    return { topic: `spBv1.0/Plant/${verb}/w-0${rest}`, payload };
  };
  return [
    ofSluice('w-0', 'w-0.o'),
    device('w-0.f', {
      begin: [{ topic: 'f/w-0/k', payload: 'w' }],
      say: (n) => ({ topic: 'f/w-0/n', payload: String(n) }),
      state: both,
    }),
    device('w-0.b', {
      begin: [{ topic: 'b/w-0/k', payload: 'w' }],
      say: (n) => ({ topic: 'b/w-0/n', payload: String(n) }),
      state: (n) => ({ k: 'w', n: String(n) }),
      joins: true,
    }),
    device('w-0.m', {
      begin: [{ topic: 'm/w-0', payload: '{"k":"w"}' }],
      say: (n) => ({ topic: 'm/w-0', payload: JSON.stringify({ n }) }),
      state: both,
    }),
    device('w-0.c', {
      begin: [{ topic: 'c/w-0', payload: cbor({ k: 'w' }) }],
      say: (n) => ({ topic: 'c/w-0', payload: cbor({ n }) }),
      state: both,
    }),
    device('w-0.l', {
      say: (n) => ({
        topic: 'l/w-0',
        payload: JSON.stringify({ values: [{ id: 'w-0', k: 'a', v: { n } }] }),
      }),
    }),
    device('w-0.a.s', {
      begin: [
        edge('NBIRTH', '', [{ name: 'bdSeq', type: 'Int64', value: 0 }]),
        edge('DBIRTH', '/a', [
          { name: 'k', alias: 1, type: 'String', value: 'w' },
          { name: 'n', alias: 2, type: 'Int32', value: 0 },
        ]),
      ],
      // Data has the alias alone.
      say: (n) => edge('DDATA', '/a', [{ alias: 2, type: 'Int32', value: n } as unknown as UMetric]),
      state: both,
    }),
  ];
}

/** What devices that nobody may see say of themselves: telemetry, status and metadata. */
export const SECRETS: ((n: number) => Message)[] = ['s-0', 's-1', 's-2'].flatMap((id) =>
  ['telemetry', 'status', 'meta'].map((kind) => (n: number) => ({
    topic: `devices/${id}/${kind}`,
    payload: JSON.stringify({ n, online: n % 2 === 0 }),
  })),
);
export const LAYOUT_SECRETS: ((n: number) => Message)[] = [
  ...SECRETS,
  ...['f/s-0/t', 'b/s-0/t', 'fm/s-0/t'].map((topic) => (n: number) => ({ topic, payload: String(n) })),
  (n) => ({ topic: 'm/s-0', payload: JSON.stringify({ n }) }),
  (n) => ({ topic: 'c/s-0', payload: cbor({ n }) }),
  (n) => ({ topic: 'fs/s-0', payload: n % 2 === 0 ? 'up' : 'down' }),
  (n) => ({ topic: 'l/h-0', payload: JSON.stringify({ values: [{ id: 's-0', k: 'a', v: n }] }) }),
  (n) => ({
    topic: 'spBv1.0/Plant/NBIRTH/s-0',
    payload: Buffer.from(
      encodePayload({ timestamp: Date.now(), seq: 0, metrics: [{ name: 'n', type: 'Int32', value: n }] }),
    ),
  }),
];
