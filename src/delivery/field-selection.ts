import { partsIn } from '../protocol/field-paths.js';
import { isObject, type JsonObject } from '../protocol/json.js';

/** Memory of one part: its entry in the parent's map, the object itself, its own map. */
const PART_BYTES = 250;
/** Memory of one character, which is kept three times: in the requested fields, in the key, and in the key of a room's group. */
const TEXT_BYTES = 3;

interface Selection {
  /** Selected as a whole. */
  whole: boolean;
  /** Members selected within. */
  within: Map<string, Selection> | null;
}

/**
 * The `fields` of a subscription: top-level names, or dotted paths into nested objects. A top-level member whose own name contains the dots
 * has precedence. Selected members keep their order and nesting.
 */
export class FieldSelection {
  /** Estimated memory, texts included. */
  readonly bytes: number;
  private readonly literal: ReadonlySet<string>;
  private readonly root: Map<string, Selection> = new Map();

  /** @param key equal for equal fields */
  constructor(
    fields: readonly string[],
    readonly key = JSON.stringify(fields),
  ) {
    this.bytes = partsIn(fields) * PART_BYTES + key.length * TEXT_BYTES;
    this.literal = new Set(fields);
    for (const field of fields) {
      let level = this.root;
      const names = field.split('.');
      names.forEach((name, at) => {
        let selection = level.get(name);
        if (selection === undefined) {
          selection = { whole: false, within: null };
          level.set(name, selection);
        }
        if (at === names.length - 1) {
          selection.whole = true;
        } else {
          selection.within ??= new Map<string, Selection>();
          level = selection.within;
        }
      });
    }
  }

  /** The selected part of a parsed payload, or undefined when none of the fields is present. */
  select(value: unknown): JsonObject | undefined {
    if (!isObject(value)) {
      return undefined;
    }
    for (const name of Object.keys(value)) {
      if (name.includes('.') && this.literal.has(name)) {
        return { ...pick(value, this.root, value), ...pickLiteral(value, this.literal) };
      }
    }
    return pick(value, this.root, null);
  }
}

/** @param own the payload, where a member whose own name is a whole path comes in place of the nested one; null where it has none */
function pick(
  value: JsonObject,
  level: ReadonlyMap<string, Selection>,
  own: JsonObject | null,
  path = '',
): JsonObject | undefined {
  let picked: JsonObject | undefined;
  for (const name of Object.keys(value)) {
    const selection = level.get(name);
    if (selection === undefined) {
      continue;
    }
    const member = value[name];
    const isWhole = selection.whole && (own === null || path === '' || !Object.hasOwn(own, path + name));
    const part = isWhole
      ? member
      : selection.within !== null && isObject(member)
        ? pick(member, selection.within, own, own === null ? '' : `${path}${name}.`)
        : undefined;
    if (part !== undefined) {
      // Without a prototype: `__proto__` is a legal member name.
      picked ??= Object.create(null) as JsonObject;
      picked[name] = part;
    }
  }
  return picked;
}

function pickLiteral(value: JsonObject, names: ReadonlySet<string>): JsonObject {
  return Object.fromEntries(Object.entries(value).filter(([name]) => name.includes('.') && names.has(name)));
}
