import { readdirSync, readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { isObject, type JsonObject } from '../protocol/json.js';

/** A layout that Sluice ships: a file of ./presets/, whose strings may have parameters `<prefix>` in them. */
export interface Preset {
  readonly name: string;
  readonly about: string;
  /** How devices are named and commanded, in words; the table in docs/layouts.md is written by hand. */
  readonly commands: string;
  readonly parameters: Readonly<Record<string, PresetParameter>>;
  /** The parameter that decides between {@link layouts}; undefined when there is only one. */
  readonly choose: string | undefined;
  /** By value of `choose`, or under ''. */
  readonly layouts: Readonly<Record<string, JsonObject>>;
}

export interface PresetParameter {
  /** Without it the parameter has to be given. */
  readonly default?: string;
  readonly choices?: readonly string[];
  readonly about: string;
  /** For the examples of the preset. */
  readonly example?: string;
}

const folder = new URL('./presets/', import.meta.url);
const loaded = new Map<string, Preset>();

/** Names of all presets. */
export function presetNames(): string[] {
  return readdirSync(folder)
    .filter((file) => file.endsWith('.yaml'))
    .map((file) => file.slice(0, -'.yaml'.length))
    .sort();
}

export function readPreset(name: string): Preset {
  const known = loaded.get(name);
  if (known !== undefined) {
    return known;
  }
  const file = parse(readFileSync(new URL(`${name}.yaml`, folder), 'utf8')) as {
    about: string;
    commands: string;
    parameters?: Record<string, PresetParameter>;
    choose?: string;
    layout?: JsonObject;
    layouts?: Record<string, JsonObject>;
  };
  const preset: Preset = {
    name,
    about: file.about,
    commands: file.commands,
    parameters: file.parameters ?? {},
    choose: file.choose,
    layouts: file.layouts ?? { '': file.layout ?? {} },
  };
  loaded.set(name, preset);
  return preset;
}

/** The layout that a preset stands for with these parameters, or what is wrong with them. */
export function expandPreset(name: unknown, given: unknown = {}): JsonObject | string {
  const names = presetNames();
  if (typeof name !== 'string' || !names.includes(name)) {
    const near = nearest(String(name), names);
    return `${JSON.stringify(name)} is no preset; ${near === undefined ? `there are ${names.join(', ')}` : `did you mean ${near}?`}`;
  }
  const preset = readPreset(name);
  if (!isObject(given)) {
    return 'must be the parameters of the preset, such as {prefix: zigbee2mqtt}';
  }
  const known = Object.keys(preset.parameters);
  const values: Record<string, string> = Object.create(null) as Record<string, string>;
  for (const [key, value] of Object.entries(given)) {
    if (!known.includes(key)) {
      const near = nearest(key, known);
      const advice = near === undefined ? `it has ${known.join(', ') || 'none'}` : `did you mean ${near}?`;
      return `${name} has no parameter ${JSON.stringify(key)}; ${advice}`;
    }
    const text = ['string', 'number', 'boolean'].includes(typeof value) ? String(value) : '';
    const { choices } = preset.parameters[key]!;
    if (choices !== undefined && !choices.includes(text)) {
      return `${key} must be one of ${choices.join(', ')}`;
    }
    if (!/^[^+#{}<>\p{Cc}]{1,256}$/u.test(text)) {
      return `${key} must be a text without +, #, braces and angle brackets`;
    }
    values[key] = text;
  }
  for (const [key, { default: fallback }] of Object.entries(preset.parameters)) {
    const value = values[key] ?? fallback;
    if (value === undefined) {
      return `${name} needs the parameter ${key}: with: { ${key}: … }`;
    }
    values[key] = String(value);
  }
  const layout = preset.layouts[preset.choose === undefined ? '' : values[preset.choose]!]!;
  return filled(layout, values) as JsonObject;
}

function filled(value: unknown, values: Readonly<Record<string, string>>): unknown {
  if (typeof value === 'string') {
    return value.replace(/<([a-z]+)>/g, (whole, key: string) => values[key] ?? whole);
  }
  if (Array.isArray(value)) {
    return value.map((item) => filled(item, values));
  }
  return isObject(value)
    ? Object.fromEntries(
        Object.entries(value).map(([key, item]) => [filled(key, values), filled(item, values)]),
      )
    : value;
}

/** The known name that a mistyped one is closest to; undefined when none is close. */
export function nearest(typed: string, known: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(typed.length / 3)) + 1;
  for (const name of known) {
    const distance = editDistance(typed, name);
    if (distance < bestDistance) {
      best = name;
      bestDistance = distance;
    }
  }
  return best;
}

function editDistance(a: string, b: string): number {
  if (a.length > 64 || b.length > 64) {
    return Infinity;
  }
  let row = Array.from({ length: b.length + 1 }, (_one, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)));
    }
    row = next;
  }
  return row[b.length]!;
}
