import type { Captures } from '../mqtt/topic-router.js';
import type { DeviceIds } from './compile/device-ids.js';

/** What every route of a layout shares. */
export interface Layout {
  readonly name: string;
  readonly ids: DeviceIds;
  /** Levels allowed, by capture (`only`); empty where all are. */
  readonly only: Readonly<Record<string, readonly string[]>>;
  /** Values within it become one publication. */
  readonly windowMs: number;
  /** No message for so long: offline; undefined where only status messages say so. */
  readonly silenceMs: number | undefined;
  readonly sparkplug: SparkplugOptions | undefined;
}

export interface SparkplugOptions {
  /** `ask` publishes rebirth requests; `never` only listens. */
  readonly rebirth: 'ask' | 'never';
  /** Time that a gap in the sequence may take to close. */
  readonly reorderMs: number;
}

/** The levels of a device of this layout; undefined for one that is none of its own. No id is of two layouts. */
export function capturesOf({ ids, only }: Layout, deviceId: string): Captures | undefined {
  const captures = ids.read(deviceId);
  const isOwn = Object.entries(captures ?? {}).every(
    ([name, value]) => !Object.hasOwn(only, name) || only[name]!.includes(value),
  );
  return isOwn ? captures : undefined;
}

type AllOfPart = { readonly text: string } | { readonly name: string } | { readonly star: true };

/** A pattern of device ids in which captures of a topic are literal, stars in them too. */
export class AllOf {
  private readonly parts: readonly AllOfPart[];

  constructor(
    source: string,
    private readonly ids: DeviceIds,
  ) {
    this.parts = source.split(/(\{[A-Za-z][A-Za-z0-9_]*\}|\*+)/).map((part, i): AllOfPart => {
      if (i % 2 === 0) {
        return { text: part };
      }
      return part.startsWith('{') ? { name: part.slice(1, -1) } : { star: true };
    });
  }

  get names(): string[] {
    return this.parts.flatMap((part) => ('name' in part ? [part.name] : []));
  }

  /** The ids that a topic with these captures speaks for. */
  meant(captures: Captures): MeantDevices {
    const pieces = this.pieces(captures);
    return { name: JSON.stringify(pieces), matches: (deviceId) => matchesPieces(deviceId, pieces) };
  }

  private pieces(captures: Captures): string[] {
    const pieces: string[] = [''];
    for (const part of this.parts) {
      if ('star' in part) {
        pieces.push('');
      } else {
        pieces[pieces.length - 1] +=
          'text' in part ? part.text : this.ids.part(part.name, captures[part.name] ?? '');
      }
    }
    return pieces;
  }
}

/** Device ids by a pattern. */
export interface MeantDevices {
  /** Equal where the ids are. */
  readonly name: string;
  matches(this: void, deviceId: string): boolean;
}

function matchesPieces(text: string, pieces: readonly string[]): boolean {
  const first = pieces[0]!;
  if (pieces.length === 1) {
    return text === first;
  }
  const last = pieces.at(-1)!;
  if (!text.startsWith(first) || !text.endsWith(last) || text.length < first.length + last.length) {
    return false;
  }
  let from = first.length;
  for (const piece of pieces.slice(1, -1)) {
    const at = text.indexOf(piece, from);
    if (at < 0) {
      return false;
    }
    from = at + piece.length;
  }
  return from <= text.length - last.length;
}
