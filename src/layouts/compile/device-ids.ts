import { isDeviceId } from '../../protocol/device-id.js';
import type { Captures } from '../../mqtt/topic-router.js';

/** What a device id may not have anywhere; a lone surrogate has no UTF-8 form, so it cannot be written at all. */
const ILLEGAL = /[/+#\p{Cc}\p{Noncharacter_Code_Point}]/gu;
const PART = /\{([^{}]*)\}/;

/** What is wrong with a device template, as the end of a sentence that begins with the template. */
export class DeviceTemplateError extends Error {}

export interface DeviceIdsOptions {
  /** Captures of several levels (`{x...}`): at most one in an id. */
  readonly rests?: ReadonlySet<string>;
  /** Some captures come from payloads, where any text may stand. */
  readonly fromPayload?: boolean;
  /** The last capture, and the literal before it, may be missing (a Sparkplug node's own id). */
  readonly lastIsOptional?: boolean;
}

/**
 * The form of a layout's device ids: captures joined by literals. In a captured value `%`, the first character of each literal between two
 * captures, and what an id may not have are written `%2E`: so no two topics make one id, and an id leads back to its levels, which is how a
 * command finds its topic without a table.
 *
 * A single `{device}` that is a level of the topic is not changed at all.
 */
export class DeviceIds {
  /** Captures in the order of the id. */
  readonly names: readonly string[];
  /** literals[i] stands before names[i]; the last one after all of them. */
  private readonly literals: readonly string[];
  private readonly rest: number;
  private readonly plain: boolean;
  private readonly special: RegExp;
  private readonly specialInRest: RegExp;

  constructor(
    readonly source: string,
    private readonly options: DeviceIdsOptions = {},
  ) {
    const names: string[] = [];
    const literals: string[] = [];
    let text = source;
    for (let found = PART.exec(text); found !== null; found = PART.exec(text)) {
      literals.push(text.slice(0, found.index));
      names.push(found[1]!);
      text = text.slice(found.index + found[0].length);
    }
    literals.push(text);
    this.names = names;
    this.literals = literals;
    const between = literals.slice(1, names.length);
    if (between.includes('')) {
      throw new DeviceTemplateError(
        'two devices could get one id: a literal is missing between two captures',
      );
    }
    if (between.some((literal) => /^[%0-9A-F]/.test(literal))) {
      // The escape of another character has these, so they do not end a capture.
      throw new DeviceTemplateError(
        'two devices could get one id: text between two captures must not begin with %, 0-9 or A-F',
      );
    }
    const wrong = names.find((name) => !/^[A-Za-z][A-Za-z0-9_]*$/.test(name));
    if (wrong !== undefined || /[{}]/.test(literals.join(''))) {
      throw new DeviceTemplateError('must be captures like {name} joined by literals');
    }
    if (new Set(names).size < names.length) {
      throw new DeviceTemplateError('has a capture twice');
    }
    if (!isDeviceId(`${literals.join('x')}x`)) {
      throw new DeviceTemplateError('has text that a device id may not have');
    }
    const rests = names.filter((name) => options.rests?.has(name));
    if (rests.length > 1) {
      throw new DeviceTemplateError(`has {${rests.join('} and {')}}, which are both of several levels`);
    }
    this.rest = names.findIndex((name) => name === rests[0]);
    this.plain = names.length === 1 && rests.length === 0 && !options.fromPayload && literals.join('') === '';
    const firsts = between.map((literal) => [...literal][0]!);
    this.special = anyOf(['%', ...firsts]);
    this.specialInRest = anyOf(['%', '.', ...firsts]);
  }

  /** The literal that every id begins with, and the one that it ends with. */
  get border(): { readonly prefix: string; readonly suffix: string } {
    return { prefix: this.literals[0]!, suffix: this.names.length === 0 ? '' : this.literals.at(-1)! };
  }

  /** The literal after the first capture. */
  get afterFirst(): string {
    return this.literals[1] ?? '';
  }

  /** A captured value as it is written in an id. */
  part(name: string, value: string): string {
    return this.written(value, this.names.indexOf(name));
  }

  /** Whether the last capture may be missing. */
  get lastIsOptional(): boolean {
    return this.options.lastIsOptional === true && this.names.length > 1;
  }

  /** @returns the id, which may be too long; undefined when a capture is missing or empty */
  make(captures: Captures): string | undefined {
    const count =
      this.lastIsOptional && !Object.hasOwn(captures, this.names.at(-1)!)
        ? this.names.length - 1
        : this.names.length;
    let id = '';
    for (let i = 0; i < count; i++) {
      const name = this.names[i]!;
      const value = Object.hasOwn(captures, name) ? captures[name]! : '';
      if (value === '') {
        return undefined;
      }
      id += this.literals[i]! + this.written(value, i);
    }
    id += this.literals.at(-1)!;
    return !this.plain && id.startsWith('$') ? `%24${id.slice(1)}` : id;
  }

  /** @returns the captures that make exactly this id; undefined when none do */
  read(deviceId: string): Captures | undefined {
    if (!isDeviceId(deviceId)) {
      return undefined;
    }
    if (this.plain) {
      return { [this.names[0]!]: deviceId };
    }
    if (this.names.length === 0) {
      return deviceId === this.source ? {} : undefined;
    }
    const whole = this.split(deviceId, this.names.length);
    if (whole !== undefined || !this.lastIsOptional) {
      return whole;
    }
    return this.split(deviceId, this.names.length - 1);
  }

  private written(value: string, index: number): string {
    if (this.plain) {
      return value;
    }
    if (index !== this.rest) {
      return escaped(value, this.special);
    }
    return value
      .split('/')
      .map((level) => escaped(level, this.specialInRest))
      .join('.');
  }

  private split(deviceId: string, count: number): Captures | undefined {
    const suffix = this.literals.at(-1)!;
    if (!deviceId.startsWith(this.literals[0]!) || !deviceId.endsWith(suffix)) {
      return undefined;
    }
    const end = deviceId.length - suffix.length;
    const cuts = this.cuts(deviceId, this.literals[0]!.length, end, count);
    if (cuts === undefined) {
      return undefined;
    }
    const captures: Record<string, string> = {};
    for (const [i, [from, to]] of cuts.entries()) {
      const value = this.readValue(deviceId.slice(from, to), i);
      if (value === undefined) {
        return undefined;
      }
      captures[this.names[i]!] = value;
    }
    return this.make(captures) === deviceId ? captures : undefined;
  }

  /** Where each capture's text lies: from the left up to the one of several levels, then from the right. */
  private cuts(deviceId: string, start: number, end: number, count: number): [number, number][] | undefined {
    const before = this.rest >= 0 && this.rest < count ? this.rest : count - 1;
    const left: [number, number][] = [];
    let from = start;
    for (let i = 0; i < before; i++) {
      const literal = this.literals[i + 1]!;
      const at = deviceId.indexOf(literal, from);
      if (at < 0 || at > end) {
        return undefined;
      }
      left.push([from, at]);
      from = at + literal.length;
    }
    const right: [number, number][] = [];
    let to = end;
    for (let i = count - 1; i > before; i--) {
      const literal = this.literals[i]!;
      const at = deviceId.lastIndexOf(literal, to - literal.length);
      if (at < from) {
        return undefined;
      }
      right.unshift([at + literal.length, to]);
      to = at;
    }
    return to < from ? undefined : [...left, [from, to], ...right];
  }

  private readValue(text: string, index: number): string | undefined {
    return index === this.rest ? allDefined(text.split('.').map(unescaped))?.join('/') : unescaped(text);
  }
}

function anyOf(characters: readonly string[]): RegExp {
  return new RegExp(`[${characters.map((one) => one.replace(/[\\\]^-]/g, '\\$&')).join('')}]`, 'gu');
}

function escaped(value: string, special: RegExp): string {
  return value.replace(special, percent).replace(ILLEGAL, percent);
}

function percent(character: string): string {
  return [...Buffer.from(character)]
    .map((byte) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`)
    .join('');
}

function unescaped(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}

function allDefined(values: readonly (string | undefined)[]): string[] | undefined {
  return values.includes(undefined) ? undefined : (values as string[]);
}
