/** Levels of a payload that become fields of their own; what is deeper is one field with its JSON. */
const MAX_DEPTH = 6;
const MAX_NAME = 120;
/** Fields of one device that the page lists. */
export const MAX_FIELDS = 1_000;

export type Field = readonly [name: string, value: unknown];

/**
 * The fields of a payload, nested ones dotted; a payload that is no object is one field without a name.
 * Bounded, since a device may send anything.
 */
export function fieldsOf(payload: unknown, max = MAX_FIELDS): Field[] {
  if (!isMembers(payload)) {
    return [['', payload]];
  }
  const fields: Field[] = [];
  collect(payload, '', 1, fields, max);
  return fields;
}

function collect(
  members: Record<string, unknown>,
  prefix: string,
  depth: number,
  fields: Field[],
  max: number,
): void {
  for (const [key, value] of Object.entries(members)) {
    if (fields.length >= max) {
      return;
    }
    const name = prefix + key.slice(0, MAX_NAME);
    if (depth < MAX_DEPTH && isMembers(value) && Object.keys(value).length > 0) {
      collect(value, `${name}.`, depth + 1, fields, max);
    } else {
      fields.push([name, value]);
    }
  }
}

/** How many fields a payload has, also those that are not listed, up to a bound. */
export function countFields(payload: unknown, depth = 1): number {
  if (!isMembers(payload)) {
    return 1;
  }
  let count = 0;
  for (const value of Object.values<unknown>(payload)) {
    count +=
      depth < MAX_DEPTH && isMembers(value) && Object.keys(value).length > 0
        ? countFields(value, depth + 1)
        : 1;
  }
  return count;
}

/** One field of a payload, without making a list of all of them. */
export function fieldOf(payload: unknown, name: string): unknown {
  if (name === '' || !isMembers(payload)) {
    return name === '' && !isMembers(payload) ? payload : undefined;
  }
  if (Object.hasOwn(payload, name)) {
    return payload[name];
  }
  // A member's name may have dots itself: try each place where the name could part.
  for (let dot = name.indexOf('.'); dot !== -1; dot = name.indexOf('.', dot + 1)) {
    const head = name.slice(0, dot);
    const inner = Object.hasOwn(payload, head) ? payload[head] : undefined;
    if (isMembers(inner)) {
      const value = fieldOf(inner, name.slice(dot + 1));
      if (value !== undefined) {
        return value;
      }
    }
  }
  return undefined;
}

export function isMembers(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** What a chart can draw: numbers, and booleans as steps. */
export function plottable(value: unknown): number | undefined {
  if (typeof value === 'boolean') {
    return value ? 1 : 0;
  }
  return typeof value === 'number' ? value : undefined;
}

/** The field a tile shows big: one that somebody chose, else the first that can be drawn and is no time or place. */
export function primaryOf(fields: readonly Field[], chosen: string | undefined): Field | undefined {
  return (
    fields.find(([name]) => name === chosen) ??
    fields.find(([name, value]) => plottable(value) !== undefined && !isTime(value) && !isCoordinate(name)) ??
    fields.find(([, value]) => plottable(value) !== undefined) ??
    fields[0]
  );
}

/** Between 2001 and 2096 in ms: what a device means by such a number is a time. */
export function isTime(value: unknown): value is number {
  return typeof value === 'number' && value >= 1e12 && value <= 4e12 && Number.isInteger(value);
}

export function isCoordinate(name: string): boolean {
  return /(^|[._-])(lat|lon|lng|latitude|longitude)$/i.test(name);
}

/** A string out of metadata, or nothing: metadata is what a device says, not what we expect. */
export function textOf(meta: unknown, name: string): string | undefined {
  const value = isMembers(meta) && Object.hasOwn(meta, name) ? meta[name] : undefined;
  return typeof value === 'string' && value.trim() !== '' ? value.slice(0, MAX_NAME) : undefined;
}

export function unitOf(meta: unknown, field: string): string {
  const units = isMembers(meta) ? meta['units'] : undefined;
  const unit = isMembers(units) && Object.hasOwn(units, field) ? units[field] : undefined;
  return typeof unit === 'string' ? unit.slice(0, 12) : '';
}
