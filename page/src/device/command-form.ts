import { isMembers, textOf } from '../core/payload.js';

const MAX_COMMANDS = 20;
const MAX_INPUTS = 20;
const MAX_TEXT = 2_000;

/** A value of a command that a person fills in. */
export interface Input {
  readonly name: string;
  readonly label: string;
  readonly kind: 'number' | 'text' | 'boolean' | 'choice';
  readonly initial: string | number | boolean;
  readonly unit: string;
  readonly min: number | undefined;
  readonly max: number | undefined;
  readonly step: number | undefined;
  readonly options: readonly string[];
}

/** A command that the metadata offers. */
export interface Offer {
  readonly label: string;
  /** Its JSON with the initial values. */
  readonly text: string;
  readonly command: unknown;
  readonly inputs: readonly Input[];
  /** Is asked about before it is sent. */
  readonly confirm: boolean;
}

/**
 * What the metadata says the device understands: `commands` is a list of examples, or of `{"label", "command", "fields"?, "confirm"?}`.
 * Of an example each number and boolean can be changed; `fields` says more: label, unit, min, max, step, options.
 */
export function offersOf(meta: unknown): Offer[] {
  const commands = isMembers(meta) && Array.isArray(meta['commands']) ? (meta['commands'] as unknown[]) : [];
  return commands
    .slice(0, MAX_COMMANDS)
    .map((entry) => offerOf(entry, meta))
    .filter((offer) => offer !== undefined);
}

function offerOf(entry: unknown, meta: unknown): Offer | undefined {
  const isDescribed = isMembers(entry) && typeof entry['label'] === 'string' && 'command' in entry;
  const command: unknown = isDescribed ? entry['command'] : entry;
  const text = textOfJson(command);
  if (text === undefined || text.length > MAX_TEXT) {
    return undefined;
  }
  const fields = isDescribed && isMembers(entry['fields']) ? entry['fields'] : {};
  return {
    label: (isDescribed ? textOf(entry, 'label') : undefined) ?? labelOf(command, text),
    text,
    command,
    inputs: isMembers(command) ? inputsOf(command, fields, meta) : [],
    confirm: isDescribed && entry['confirm'] === true,
  };
}

/** `{"action":"stop"}` is called stop, `{"speed":2400}` speed. */
function labelOf(command: unknown, text: string): string {
  if (isMembers(command)) {
    const all = Object.entries(command);
    // A number that answers come with is no part of its name.
    const members = all.filter(([name]) => name !== 'id' || all.length === 1);
    const words = members.map(([name, value]) => (typeof value === 'string' && value !== '' ? value : name));
    if (members.length > 0 && words.join(' · ').length <= 40) {
      return words.join(' · ');
    }
  }
  return text.slice(0, 40);
}

function inputsOf(command: Record<string, unknown>, fields: Record<string, unknown>, meta: unknown): Input[] {
  const units = isMembers(meta) && isMembers(meta['units']) ? meta['units'] : {};
  const inputs: Input[] = [];
  for (const [name, initial] of Object.entries(command)) {
    const field = Object.hasOwn(fields, name) && isMembers(fields[name]) ? fields[name] : undefined;
    const options = (Array.isArray(field?.['options']) ? (field['options'] as unknown[]) : [])
      .filter((option): option is string => typeof option === 'string')
      .slice(0, 100);
    const isText = typeof initial === 'string';
    // A text that nobody describes is the command's own name.
    if (
      inputs.length < MAX_INPUTS &&
      (typeof initial === 'number' || typeof initial === 'boolean' || (isText && field !== undefined))
    ) {
      const number = (key: string): number | undefined => {
        const value = field?.[key];
        return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
      };
      const unit =
        textOf(field, 'unit') ?? (Object.hasOwn(units, name) ? textOf(units, name) : undefined) ?? '';
      inputs.push({
        name,
        label: textOf(field, 'label') ?? name,
        kind: isText
          ? options.length > 0
            ? 'choice'
            : 'text'
          : typeof initial === 'number'
            ? 'number'
            : 'boolean',
        initial,
        unit: unit.slice(0, 12),
        min: number('min'),
        max: number('max'),
        step: number('step'),
        options,
      });
    }
  }
  return inputs;
}

/** The command with what was filled in, as JSON; numbers as they were typed. */
export function filled(offer: Offer, values: ReadonlyMap<string, string | boolean>): string {
  if (offer.inputs.length === 0 || !isMembers(offer.command)) {
    return offer.text;
  }
  const kinds = new Map(offer.inputs.map(({ name, kind }) => [name, kind]));
  const members = Object.entries(offer.command).map(([name, initial]) => {
    const value = values.get(name);
    const text =
      value === undefined
        ? JSON.stringify(initial)
        : kinds.get(name) === 'number'
          ? numberText(String(value))
          : JSON.stringify(value);
    return `${JSON.stringify(name)}:${text}`;
  });
  return `{${members.join(',')}}`;
}

/** 1.50 stays 1.50. */
function numberText(typed: string): string {
  const text = typed.trim();
  return /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/.test(text) ? text : JSON.stringify(Number(text));
}

function textOfJson(value: unknown): string | undefined {
  try {
    return JSON.stringify(value);
  } catch {
    return undefined;
  }
}
