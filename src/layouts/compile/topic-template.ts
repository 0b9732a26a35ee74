import type { Captures } from '../../mqtt/topic-router.js';
import { ANY, ONE, REST, TAIL, type TemplateLevel } from '../../mqtt/topic-tree.js';

/** More levels than any broker's topics have in practice. */
const MAX_LEVELS = 32;
const NAME = '[A-Za-z][A-Za-z0-9_]*';
const CAPTURE = new RegExp(`^\\{(${NAME})(\\.\\.\\.)?\\}$`);
const MEMBER = /^\{(\/(?:[^{}~/]|~[01])*(?:\/(?:[^{}~/]|~[01])*)*)\}$/;

/** A slash outside braces: a member of the command (`{/cmd}`) has one inside. */
const BETWEEN_LEVELS = /\/(?![^{}]*\})/;

/** What is wrong with a template, as a sentence that begins with it. */
export class TemplateError extends Error {}

/** A level as the file says it. */
export type WrittenLevel =
  | { readonly kind: 'literal'; readonly text: string }
  | { readonly kind: 'any' }
  | { readonly kind: 'one' | 'rest' | 'member'; readonly name: string };

export interface TemplateRules {
  /** A member of the command may be a level: `{/cmd}`. */
  readonly members?: boolean;
  /** `+` may be a level. */
  readonly any?: boolean;
}

/** A topic with named levels: `{x}` one whole level, `{x...}` one or more, `+` one that does not matter, the rest literal. */
export class TopicTemplate {
  readonly levels: readonly WrittenLevel[];
  /** Captures in order. */
  readonly names: readonly string[];
  /** The capture of several levels. */
  readonly rest: string | undefined;

  constructor(
    readonly source: string,
    { members = false, any = true }: TemplateRules = {},
  ) {
    const levels = source.split(BETWEEN_LEVELS).map((text) => levelOf(text));
    const faulty =
      source === '' ||
      /^\$share\//.test(source) ||
      levels.length > MAX_LEVELS ||
      levels.includes(undefined) ||
      (!members && levels.some((level) => level?.kind === 'member')) ||
      (!any && levels.some((level) => level?.kind === 'any')) ||
      levels.filter((level) => level?.kind === 'rest').length > 1;
    if (faulty) {
      throw new TemplateError(
        `${JSON.stringify(source)} is not a topic template${adviceFor(source, levels.length)}`,
      );
    }
    this.levels = levels as WrittenLevel[];
    this.names = this.levels.flatMap((level) =>
      level.kind === 'one' || level.kind === 'rest' ? [level.name] : [],
    );
    this.rest = this.levels.flatMap((level) => (level.kind === 'rest' ? [level.name] : []))[0];
    const twice = this.names.find((name, i) => this.names.indexOf(name) < i);
    if (twice !== undefined) {
      throw new TemplateError(`${JSON.stringify(source)} has {${twice}} twice`);
    }
  }

  /** Members of the command that are levels, as JSON pointers. */
  get members(): readonly string[] {
    return this.levels.flatMap((level) => (level.kind === 'member' ? [level.name] : []));
  }

  /** Whether a subscription to it begins with a wildcard. */
  get beginsWithCapture(): boolean {
    return this.levels[0]!.kind !== 'literal';
  }

  /** For the tree, with each value of `only` written out. @returns undefined when they are more than `max` */
  patterns(only: Readonly<Record<string, readonly string[]>>, max: number): TemplateLevel[][] | undefined {
    let all: TemplateLevel[][] = [[]];
    for (const level of this.levels) {
      const next = alternatives(level, only);
      if (all.length * next.length > max) {
        return undefined;
      }
      all = all.flatMap((before) => next.map((one): TemplateLevel[] => [...before, one]));
    }
    return all;
  }

  /** The captures of a topic that fits. */
  read(topic: readonly string[]): Captures {
    const captures: Record<string, string> = {};
    const extra = topic.length - this.levels.length;
    let at = 0;
    for (const level of this.levels) {
      if (level.kind === 'rest') {
        captures[level.name] = topic.slice(at, at + extra + 1).join('/');
        at += extra + 1;
      } else {
        if (level.kind === 'one') {
          captures[level.name] = topic[at]!;
        }
        at += 1;
      }
    }
    return captures;
  }

  /**
   * The topic of these captures and members.
   * @returns undefined when one is missing, or is not the text of as many levels as the template has for it
   */
  write(captures: Captures, member: (pointer: string) => string = () => ''): string | undefined {
    const levels: string[] = [];
    for (const level of this.levels) {
      if (level.kind === 'literal') {
        levels.push(level.text);
        continue;
      }
      const text =
        level.kind === 'any'
          ? ''
          : level.kind === 'member'
            ? member(level.name)
            : (captures[level.name] ?? '');
      const parts = level.kind === 'rest' ? text.split('/') : [text];
      if (!parts.every(isLevelText)) {
        return undefined;
      }
      levels.push(...parts);
    }
    return levels.join('/');
  }
}

/** Whether a text can be a whole level of a topic that is published. */
export function isLevelText(text: string): boolean {
  return text !== '' && !/[/+#\p{Cc}\p{Noncharacter_Code_Point}\p{Surrogate}]/u.test(text);
}

/** Levels of an MQTT filter. */
export function filterLevels(filter: string): TemplateLevel[] {
  const levels = filter.split('/');
  const faulty =
    filter === '' ||
    levels.length > MAX_LEVELS ||
    /^\$share\//.test(filter) ||
    levels.some(
      (level, i) => /[+#]/.test(level) && level !== '+' && !(level === '#' && i === levels.length - 1),
    );
  if (faulty) {
    throw new TemplateError(`${JSON.stringify(filter)} is not a topic filter`);
  }
  return levels.map((level) => (level === '+' ? ANY : level === '#' ? TAIL : level));
}

/** The filter to subscribe for a pattern. MQTT has no filter for levels after `#`, so they are left out. */
export function filterOf(levels: readonly TemplateLevel[]): string {
  const several = levels.findIndex((level) => level === REST || level === TAIL);
  return (several < 0 ? levels : [...levels.slice(0, several), TAIL])
    .map((level) => (typeof level === 'string' ? level : level === TAIL ? '#' : '+'))
    .join('/');
}

function alternatives(
  level: WrittenLevel,
  only: Readonly<Record<string, readonly string[]>>,
): TemplateLevel[] {
  switch (level.kind) {
    case 'literal':
      return [level.text];
    case 'any':
      return [ANY];
    case 'rest':
      return [REST];
    default:
      return Object.hasOwn(only, level.name) ? [...only[level.name]!] : [ONE];
  }
}

function levelOf(text: string): WrittenLevel | undefined {
  if (text === '+') {
    return { kind: 'any' };
  }
  const capture = CAPTURE.exec(text);
  if (capture !== null) {
    return { kind: capture[2] === undefined ? 'one' : 'rest', name: capture[1]! };
  }
  const member = MEMBER.exec(text);
  if (member !== null) {
    return { kind: 'member', name: member[1]! };
  }
  return /[{}+#\p{Cc}\p{Noncharacter_Code_Point}\p{Surrogate}]/u.test(text)
    ? undefined
    : { kind: 'literal', text };
}

function adviceFor(source: string, count: number): string {
  if (source.startsWith('$share/')) {
    return ': name the topic alone, shared subscriptions are MQTT_INGEST=shared';
  }
  if (source.includes('#')) {
    return ': write {x...} for one or more levels';
  }
  if (count > MAX_LEVELS) {
    return `: it has more than ${MAX_LEVELS} levels`;
  }
  return ': {x} is one whole level, {x...} one or more (once), + one that does not matter';
}
