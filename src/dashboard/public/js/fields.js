const MAX_FIELDS = 24;
const MAX_DEPTH = 3;
const MAX_TEXT = 120;
/** Of a value that is shown as JSON; the server lets devices nest as deep. */
const MAX_LEVELS = 64;

const fixed = [0, 1, 2].map(
  (digits) =>
    new Intl.NumberFormat(undefined, {
      minimumFractionDigits: digits,
      maximumFractionDigits: Math.max(digits, 2),
    }),
);
const integer = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const small = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 3 });
const scientific = new Intl.NumberFormat(undefined, { notation: 'scientific', maximumSignificantDigits: 4 });

/**
 * The fields of a payload, nested ones dotted; a payload that is no object is one field without a name.
 * Bounded, since a device may send anything.
 * @returns {[name: string, value: unknown][]}
 */
export function fieldsOf(payload) {
  if (typeof payload !== 'object' || payload === null || Array.isArray(payload)) {
    return [['', payload]];
  }
  const fields = [];
  collect(payload, '', 1, fields);
  return fields;
}

function collect(object, prefix, depth, fields) {
  for (const [key, value] of Object.entries(object)) {
    if (fields.length >= MAX_FIELDS) {
      return;
    }
    const name = prefix + key.slice(0, MAX_TEXT);
    if (depth < MAX_DEPTH && typeof value === 'object' && value !== null && !Array.isArray(value)) {
      collect(value, `${name}.`, depth + 1, fields);
    } else {
      fields.push([name, value]);
    }
  }
}

/** What a sparkline can draw: numbers, and booleans as steps. */
export function plottable(value) {
  if (typeof value === 'boolean') {
    return value ? 1 : 0;
  }
  return typeof value === 'number' ? value : undefined;
}

/** Digits after the point that people care about, at most. */
const MAX_DECIMALS = 2;

/** How many of them a number has. */
export function decimalsOf(value) {
  const [, fraction = ''] = String(value).split('.');
  return Math.min(MAX_DECIMALS, fraction.length);
}

/** @param {number} decimals shown at least, so that a value does not jump when it happens to be round */
export function formatValue(value, decimals = 0) {
  switch (typeof value) {
    case 'number':
      return formatNumber(value, decimals);
    case 'boolean':
      return value ? 'yes' : 'no';
    case 'string':
      return value.slice(0, MAX_TEXT);
    default:
      return value === undefined || value === null ? '–' : (jsonText(value) ?? '…').slice(0, MAX_TEXT);
  }
}

function formatNumber(value, decimals) {
  const size = Math.abs(value);
  if (size >= 1e9 || (size > 0 && size < 1e-4)) {
    return scientific.format(value);
  }
  if (size > 0 && size < 0.1) {
    return small.format(value);
  }
  return (size >= 10_000 ? integer : fixed[decimals]).format(value);
}

/** "now", "12 s ago", "3 min ago" … */
export function formatAge(ms) {
  const seconds = Math.floor(ms / 1_000);
  if (seconds < 2) {
    return 'now';
  }
  if (seconds < 60) {
    return `${seconds} s ago`;
  }
  if (seconds < 3_600) {
    return `${Math.floor(seconds / 60)} min ago`;
  }
  if (seconds < 86_400) {
    return `${Math.floor(seconds / 3_600)} h ago`;
  }
  return `${Math.floor(seconds / 86_400)} d ago`;
}

/** A string out of metadata, or nothing: metadata is what a device says, not what we expect. */
export function textOf(meta, name) {
  const value = meta?.[name];
  return typeof value === 'string' && value.trim() !== '' ? value.slice(0, MAX_TEXT) : undefined;
}

export function unitOf(meta, field) {
  const units = meta?.units;
  const unit =
    typeof units === 'object' && units !== null && Object.hasOwn(units, field) ? units[field] : undefined;
  return typeof unit === 'string' ? unit.slice(0, 12) : '';
}

/** Commands that the metadata offers, as JSON texts. */
export function suggestedCommands(meta) {
  const commands = Array.isArray(meta?.commands) ? meta.commands.slice(0, 6) : [];
  return commands.map(jsonText).filter((text) => text !== undefined && text.length <= MAX_TEXT);
}

/** JSON of a value, or nothing where it is nested so deep that writing it would overflow the stack. */
function jsonText(value) {
  return isDeeper(value, MAX_LEVELS) ? undefined : JSON.stringify(value);
}

function isDeeper(value, levels) {
  if (typeof value !== 'object' || value === null) {
    return false;
  }
  return levels === 0 || Object.values(value).some((member) => isDeeper(member, levels - 1));
}
