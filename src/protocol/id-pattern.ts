import { DEVICE_ID_MAX_LENGTH, fitsTopicLevel, isDeviceId } from './device-id.js';

/**
 * The pattern with runs of `*` reduced to one, or undefined if it can match no legal device id: it contains an illegal character, a leading
 * `$`, or more than 128 characters without its stars. Text without `*` is no pattern.
 */
export function normalPattern(text: string): string | undefined {
  if (!text.includes('*') || !fitsTopicLevel(text)) {
    return undefined;
  }
  const normal = text.replace(/\*{2,}/g, '*');
  const stars = normal.split('*').length - 1;
  return normal.length - stars <= DEVICE_ID_MAX_LENGTH ? normal : undefined;
}

/**
 * One compiled pattern in which `*` matches any run of characters, also an empty one. Each piece between stars is searched once, left to
 * right: the leftmost place is always right when only stars follow, so it never backtracks, and no text makes it slow as it would a regular
 * expression with several `.*`.
 */
export class IdPattern {
  /** Text before the first star. */
  readonly prefix: string;
  private readonly suffix: string;
  private readonly middles: readonly string[];
  private readonly minLength: number;

  /** @param source a pattern from {@link normalPattern} */
  constructor(readonly source: string) {
    const pieces = source.split('*');
    this.prefix = pieces[0] ?? '';
    this.suffix = pieces[pieces.length - 1] ?? '';
    this.middles = pieces.slice(1, -1);
    this.minLength = pieces.reduce((sum, piece) => sum + piece.length, 0);
  }

  matches(text: string): boolean {
    if (text.length < this.minLength || !text.startsWith(this.prefix) || !text.endsWith(this.suffix)) {
      return false;
    }
    const end = text.length - this.suffix.length;
    let from = this.prefix.length;
    for (const piece of this.middles) {
      const at = text.indexOf(piece, from);
      if (at < 0 || at + piece.length > end) {
        return false;
      }
      from = at + piece.length;
    }
    return from <= end;
  }
}

/**
 * Many patterns matched at once. They are indexed by the text before their first star, so that a token with thousands of `plant-<n>.*`
 * costs one lookup per distinct length of that text (128 at most), not one match per pattern.
 */
export class IdPatternSet {
  /** The patterns, without duplicates and in their order. */
  readonly sources: readonly string[];
  private readonly byPrefix = new Map<string, IdPattern[]>();
  private readonly prefixLengths: readonly number[];
  private readonly everything: boolean;

  /** @param sources patterns from {@link normalPattern} */
  constructor(sources: Iterable<string>) {
    this.sources = Object.freeze([...new Set(sources)]);
    this.everything = this.sources.includes('*');
    for (const source of this.everything ? ['*'] : this.sources) {
      const pattern = new IdPattern(source);
      const bucket = this.byPrefix.get(pattern.prefix);
      if (bucket === undefined) {
        this.byPrefix.set(pattern.prefix, [pattern]);
      } else {
        bucket.push(pattern);
      }
    }
    this.prefixLengths = [...new Set([...this.byPrefix.keys()].map((prefix) => prefix.length))];
  }

  matchesId(deviceId: string): boolean {
    return this.prefixLengths.length > 0 && isDeviceId(deviceId) && this.matches(deviceId);
  }

  /**
   * Whether every id that `pattern` matches is matched by one of these patterns.
   *
   * Exact for each single pattern, over texts of any length: a star of `pattern` stands for all texts, also for a character that occurs in
   * no literal text and that only a star can match. So `pattern` itself, read as text in which `*` is such a character (it is never
   * literal), is matched exactly when all its ids are. Two limits, both towards no: a pattern that only several of these together would
   * cover is not covered, and the length bound of ids is not used (a pattern of 128 literal characters and a star counts as if longer ids
   * existed).
   */
  covers(pattern: string): boolean {
    return this.matches(pattern);
  }

  private matches(text: string): boolean {
    if (this.everything) {
      return true;
    }
    for (const length of this.prefixLengths) {
      if (length <= text.length && this.byPrefix.get(text.slice(0, length))?.some((p) => p.matches(text))) {
        return true;
      }
    }
    return false;
  }
}
