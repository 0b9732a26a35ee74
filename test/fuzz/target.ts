import fc from 'fast-check';

/** One parser under fuzz: what it is given, and what must hold of it. `check` throws where it does not. */
export interface Target {
  name: string;
  run(parameters: fc.Parameters<[unknown]>): Promise<fc.RunDetails<[unknown]>> | fc.RunDetails<[unknown]>;
}

export function target<T>(name: string, arbitrary: fc.Arbitrary<T>, check: (value: T) => void): Target {
  return {
    name,
    run: (parameters) =>
      fc.check(fc.property(arbitrary, check), parameters as fc.Parameters<[T]>) as fc.RunDetails<[unknown]>,
  };
}

/** CPU time that any input may take, and what it may take for each byte: some hundred times what is usual. */
const BASE_MS = 25;
const MS_PER_BYTE = 0.002;
/** A collection of garbage falls into one run or another, but not into each. */
const ATTEMPTS = 5;

/** Runs it, and fails where its time is out of proportion to the size of its input: what is quadratic shows so. */
export function timed<T>(bytes: number, run: () => T): T {
  const limitMs = BASE_MS + bytes * MS_PER_BYTE;
  let tookMs = 0;
  for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
    const before = process.cpuUsage();
    const result = run();
    const { user, system } = process.cpuUsage(before);
    tookMs = (user + system) / 1_000;
    if (tookMs <= limitMs) {
      return result;
    }
  }
  throw new Error(`${bytes} bytes took ${tookMs} ms of CPU time, again and again`);
}

/** What a function does, so that two ways of calling it can be compared: a result, or the kind of its error. */
export function outcome<T>(run: () => T): { result: T } | { error: string } {
  try {
    return { result: run() };
  } catch (error) {
    return { error: (error as Error).name };
  }
}

/** Cuts bytes at places that are given as parts of the whole. */
export function chunksOf(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const places = [...new Set(cuts.map((cut) => Math.floor(cut * bytes.length)))].sort((a, b) => a - b);
  return [0, ...places].map((from, index) => bytes.subarray(from, places[index] ?? bytes.length));
}

/** Places to cut at: few, or one at every byte of the beginning. */
export const cuts = fc.array(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), {
  maxLength: 12,
});

export type Mutation =
  | { do: 'set' | 'insert'; at: number; byte: number }
  | { do: 'drop' | 'repeat' | 'cut'; at: number; length: number };

/** Small damage to bytes that were good: what is wholly random is refused at its first byte. */
export const mutations: fc.Arbitrary<Mutation[]> = fc.array(
  fc.oneof(
    fc.record({
      do: fc.constantFrom('set' as const, 'insert' as const),
      at: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      byte: fc.oneof(
        fc.nat(255),
        fc.constantFrom(0, 0x22, 0x5b, 0x5c, 0x7b, 0x7d, 0x2c, 0x2d, 0x80, 0xff, 0x0d, 0x0a),
      ),
    }),
    fc.record({
      do: fc.constantFrom('drop' as const, 'repeat' as const, 'cut' as const),
      at: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      length: fc.integer({ min: 1, max: 8 }),
    }),
  ),
  { maxLength: 4 },
);

export function mutated(bytes: Buffer, all: readonly Mutation[]): Buffer {
  let result = bytes;
  for (const mutation of all) {
    const at = Math.floor(mutation.at * (result.length + 1));
    switch (mutation.do) {
      case 'set':
        if (at < result.length) {
          result = Buffer.from(result);
          result[at] = mutation.byte;
        }
        break;
      case 'insert':
        result = Buffer.concat([result.subarray(0, at), Buffer.of(mutation.byte), result.subarray(at)]);
        break;
      case 'drop':
        result = Buffer.concat([result.subarray(0, at), result.subarray(at + mutation.length)]);
        break;
      case 'repeat':
        result = Buffer.concat([result.subarray(0, at + mutation.length), result.subarray(at)]);
        break;
      case 'cut':
        result = Buffer.from(result.subarray(0, at));
        break;
      default:
    }
  }
  return result;
}
