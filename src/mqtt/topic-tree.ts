/** A level of a template that any text fits, the empty one too. */
export const ANY = Symbol('+');
/** A level that any text but the empty one fits. */
export const ONE = Symbol('{x}');
/** One or more levels, none of them empty. At most one in a template. */
export const REST = Symbol('{x...}');
/** None or more levels, as `#` at the end of a filter. */
export const TAIL = Symbol('#');

export type TemplateLevel = string | typeof ANY | typeof ONE | typeof REST | typeof TAIL;

interface Taker<T> {
  readonly levels: readonly TemplateLevel[];
  readonly value: T;
}

interface Node<T> {
  readonly literals: Map<string, Node<T>>;
  any: Node<T> | undefined;
  /** Templates that go on with REST or TAIL here; those with more levels after it first. */
  readonly rests: Taker<T>[];
  /** Templates that end here. */
  readonly ends: Taker<T>[];
}

const node = <T>(): Node<T> => ({ literals: new Map(), any: undefined, rests: [], ends: [] });

/**
 * Finds the template of a topic, the most exact one: level by level a literal goes before a capture, and a capture before one of several
 * levels. A search visits each template once at most, whatever the topic.
 */
export class TopicTree<T> {
  private readonly root = node<T>();

  /** Of two equally exact templates the one added first is found. */
  add(levels: readonly TemplateLevel[], value: T): void {
    let at = this.root;
    const taker = { levels, value };
    for (const level of levels) {
      if (level === REST || level === TAIL) {
        at.rests.push(taker);
        at.rests.sort((a, b) => b.levels.length - a.levels.length || rank(a.levels) - rank(b.levels));
        return;
      }
      if (typeof level === 'string') {
        let next = at.literals.get(level);
        if (next === undefined) {
          next = node();
          at.literals.set(level, next);
        }
        at = next;
      } else {
        at = at.any ??= node();
      }
    }
    at.ends.push(taker);
  }

  find(topic: readonly string[]): T | undefined {
    return this.search(this.root, topic, 0);
  }

  private search(at: Node<T>, topic: readonly string[], depth: number): T | undefined {
    if (depth === topic.length) {
      const ended = at.ends.find(({ levels }) => fits(levels, topic));
      return (ended ?? at.rests.find(({ levels }) => levels[depth] === TAIL && fits(levels, topic)))?.value;
    }
    const literal = at.literals.get(topic[depth]!);
    const exact = literal === undefined ? undefined : this.search(literal, topic, depth + 1);
    if (exact !== undefined) {
      return exact;
    }
    // A wildcard as the first level does not stand for $SYS and its like, at no broker.
    if (depth === 0 && topic[0]!.startsWith('$')) {
      return undefined;
    }
    const captured = at.any === undefined ? undefined : this.search(at.any, topic, depth + 1);
    return captured ?? at.rests.find(({ levels }) => fits(levels, topic))?.value;
  }
}

/** Literals after the rest go before captures there. */
function rank(levels: readonly TemplateLevel[]): number {
  return levels.filter((level) => typeof level !== 'string').length;
}

/** Whether a template takes a topic, whatever others do. */
export function fits(levels: readonly TemplateLevel[], topic: readonly string[]): boolean {
  const rest = levels.findIndex((level) => level === REST || level === TAIL);
  if (rest < 0) {
    return levels.length === topic.length && levels.every((level, i) => levelFits(level, topic[i]!));
  }
  const after = levels.length - rest - 1;
  const least = levels[rest] === REST ? 1 : 0;
  if (topic.length < rest + least + after) {
    return false;
  }
  const until = topic.length - after;
  return (
    levels.slice(0, rest).every((level, i) => levelFits(level, topic[i]!)) &&
    levels.slice(rest + 1).every((level, i) => levelFits(level, topic[until + i]!)) &&
    (levels[rest] === TAIL || !topic.slice(rest, until).includes(''))
  );
}

function levelFits(level: TemplateLevel, text: string): boolean {
  return typeof level === 'string' ? level === text : level === ANY || text !== '';
}
