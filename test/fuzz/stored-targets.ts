import fc from 'fast-check';
import { readFileSync } from 'node:fs';
import {
  decodeState,
  type FrameSink,
  readDeviceAnnouncement,
  readFrames,
  readHistoryPage,
  readRecord,
  RECORD_HEAD_BYTES,
  writeRecord,
} from '../../src/redis/rooms/wire.js';
import { mutated, mutations, type Target, target, timed } from './target.js';

/** What a release stored and fanned out: the good bytes that are damaged here. */
const recorded = JSON.parse(
  readFileSync(new URL('../redis/recorded-format-1.json', import.meta.url), 'utf8'),
) as {
  keys: Record<string, { type: string; value: string | string[] | Record<string, string> }>;
  messages: { channel: string; hex: string }[];
};
const ofType = (kind: string): string[] =>
  Object.entries(recorded.keys)
    .filter(([key]) => key.includes(`}:${kind}:`))
    .flatMap(([, { value }]) => (typeof value === 'string' ? [value] : (value as string[])));
const [STATE] = ofType('r');
const BLOCKS = ofType('h');
const MESSAGES = recorded.messages.map(({ hex }) => hex);
const EPOCH = 'cw7UyC4nx8DEu.1';

/** Errors that whoever calls these readers takes for an unreadable value. */
const READ_ERRORS = ['UnreadableError', 'RangeError'];
const NOTHING = Buffer.alloc(0);

const damaged = (good: readonly string[]): fc.Arbitrary<Buffer> =>
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc
        .tuple(fc.constantFrom(...good), mutations)
        .map(([hex, damage]) => mutated(Buffer.from(hex, 'hex'), damage)),
    },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)) },
    {
      weight: 1,
      // Numbers of the format at their ends.
      arbitrary: fc
        .tuple(
          fc.constantFrom(...good),
          fc.nat(120),
          fc.constantFrom(0, 1, 0x7fffffff, 0x80000000, 0xffffffff),
        )
        .map(([hex, at, number]) => {
          const bytes = Buffer.from(hex, 'hex');
          if (at + 4 <= bytes.length) {
            bytes.writeUInt32LE(number, at);
          }
          return bytes;
        }),
    },
  );

function readable<T>(run: () => T): T | undefined {
  try {
    return run();
  } catch (error) {
    expect(READ_ERRORS).toContain((error as Error).name);
    return undefined;
  }
}

/** Whether `part` lies within `whole`: a payload is a view, and must not reach into what is another's. */
function isWithin(part: Buffer, whole: Buffer): boolean {
  return (
    part.length === 0 ||
    (part.buffer === whole.buffer &&
      part.byteOffset >= whole.byteOffset &&
      part.byteOffset + part.length <= whole.byteOffset + whole.length)
  );
}

export const storedTargets: Target[] = [
  target(
    'a stored record is read as it was written',
    fc.tuple(fc.uint8Array({ maxLength: 300 }), fc.nat(65_535), fc.nat(40)),
    ([payload, packetId, at]) => {
      const bytes = Buffer.alloc(at + RECORD_HEAD_BYTES + payload.length);
      const end = writeRecord(bytes, at, Buffer.from(payload), 1.5e12, packetId, 7);
      const record = readRecord(bytes, at, RECORD_HEAD_BYTES);
      expect(record.end).toBe(end);
      expect(record.serverTs).toBe(1.5e12);
      expect([...record.payload]).toEqual([...payload]);
    },
  ),
  target(
    'a stored state is read, or said to be unreadable',
    fc.tuple(damaged([STATE!]), damaged(['7b7d'])),
    ([bytes, meta]) => {
      const state = timed(bytes.length, () => readable(() => decodeState('d', bytes, meta, NOTHING)));
      if (state?.telemetry) {
        expect(isWithin(state.telemetry.payload, bytes)).toBe(true);
      }
    },
  ),
  target('what a channel brings is read to an end, or said to be unreadable', damaged(MESSAGES), (bytes) => {
    let calls = 0;
    const count = (): void => {
      calls += 1;
      expect(calls).toBeLessThanOrEqual(bytes.length * 20);
    };
    const sink: FrameSink = {
      onBlock: (block) => {
        count();
        block.each(0, (_offset, _serverTs, payload) => {
          count();
          expect(isWithin(payload, bytes)).toBe(true);
        });
      },
      onTraced: () => undefined,
      onStatus: count,
      onMeta: (_epoch, _version, meta) => {
        count();
        expect(isWithin(meta, bytes)).toBe(true);
      },
      onFilled: (_epoch, _serverTs, payload) => {
        count();
        expect(isWithin(payload, bytes)).toBe(true);
      },
    };
    timed(bytes.length, () => {
      calls = 0;
      readable(() => readFrames(bytes, sink));
    });
    timed(bytes.length, () => readable(() => readDeviceAnnouncement(bytes)));
  }),
  target(
    'a page of history is in order and within its limits, or said to be unreadable',
    fc.record({
      state: damaged([STATE!]),
      blocks: fc.array(damaged(BLOCKS), { maxLength: 3 }),
      newest: fc.constantFrom<Buffer | number>(3, 0, 1e15, Buffer.from('3'), Buffer.from('x')),
      offset: fc.nat(4),
      most: fc.integer({ min: 1, max: 5 }),
    }),
    ({ state, blocks, newest, offset, most }) => {
      const limits = { maxPublications: 1_000, maxAgeMs: Number.MAX_SAFE_INTEGER, maxBytes: 1e9 };
      const answer = [state, Buffer.from('1'), newest, 2, 1, NOTHING, 2, NOTHING, ...blocks] as (
        Buffer | number
      )[];
      const page = timed(500, () =>
        readable(() => readHistoryPage('d', answer, { epoch: EPOCH, offset }, most, limits)),
      );
      if (page) {
        expect(page.publications.length).toBeLessThanOrEqual(most);
        expect(page.publications.map((each) => each.offset)).toEqual(
          page.publications.map((_, index) => offset + 1 + index),
        );
      }
    },
  ),
];
