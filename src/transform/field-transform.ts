import type { FieldRule, FieldRules } from '../config/transform-file.js';
import { partsIn } from '../protocol/field-paths.js';
import { isObject, type JsonObject } from '../protocol/json.js';

/** Memory of a part of a path: its entry in the parent's map, the object itself, its own map. */
const PART_BYTES = 250;
/** Memory of a field: its rule, its new name and its unit in two maps. */
const RULE_BYTES = 250;
/** Memory of a character of a field's path, name or unit. */
const CHARACTER_BYTES = 4;

interface Step {
  rule: FieldRule | null;
  within: Map<string, Step> | null;
}

/** Reliable digits of a double; the rest is rounding error, as in 21.3 * 0.1. */
const CERTAIN_DIGITS = 15;

/** The compiled rules of one device, for its payloads and the units in its metadata. */
export class FieldTransform {
  /** Estimated memory. */
  readonly bytes: number;
  private readonly root = new Map<string, Step>();
  /** Units by the new names of fields. */
  private readonly units = new Map<string, string>();
  private readonly renamed = new Map<string, string>();

  constructor(rules: FieldRules) {
    this.bytes = bytesOf(rules);
    for (const [field, rule] of Object.entries(rules)) {
      this.add(field, rule);
      const name = renamedPath(field, rule.rename);
      if (name !== field) {
        this.renamed.set(field, name);
      }
      if (rule.unit !== undefined) {
        this.units.set(name, rule.unit);
      }
    }
  }

  /** Applies the rules to a payload; returns the same buffer if it has none of the fields. */
  payload(payload: Buffer): Buffer {
    const value: unknown = JSON.parse(payload.toString());
    if (!isObject(value) || !this.concerns(value)) {
      return payload;
    }
    return Buffer.from(JSON.stringify(apply(value, this.root)));
  }

  /** Metadata whose `units` match the renamed and scaled fields. */
  meta(meta: Buffer): Buffer {
    if (this.units.size === 0 && this.renamed.size === 0) {
      return meta;
    }
    const value = JSON.parse(meta.toString()) as JsonObject;
    const own = isObject(value['units']) ? value['units'] : {};
    const units = new Map<string, unknown>();
    for (const [field, unit] of Object.entries(own)) {
      units.set(this.renamed.get(field) ?? field, unit);
    }
    for (const [field, unit] of this.units) {
      units.set(field, unit);
    }
    return Buffer.from(
      JSON.stringify(units.size === 0 ? value : { ...value, units: Object.fromEntries(units) }),
    );
  }

  private add(field: string, rule: FieldRule): void {
    let level = this.root;
    const names = field.split('.');
    names.forEach((name, at) => {
      let step = level.get(name);
      if (step === undefined) {
        step = { rule: null, within: null };
        level.set(name, step);
      }
      if (at === names.length - 1) {
        step.rule = rule;
      } else {
        step.within ??= new Map<string, Step>();
        level = step.within;
      }
    });
  }

  private concerns(value: JsonObject): boolean {
    return Object.keys(value).some((name) => this.root.has(name));
  }
}

function bytesOf(rules: FieldRules): number {
  const fields = Object.keys(rules);
  let characters = 0;
  for (const field of fields) {
    const { rename = '', unit = '' } = rules[field] as FieldRule;
    // A new name is stored with the path before it.
    characters += (rename === '' ? 1 : 3) * field.length + rename.length + unit.length;
  }
  return partsIn(fields) * PART_BYTES + fields.length * RULE_BYTES + characters * CHARACTER_BYTES;
}

function apply(value: JsonObject, level: ReadonlyMap<string, Step>): JsonObject {
  // Without a prototype: `__proto__` is a legal member name. Members keep their order.
  const result = Object.create(null) as JsonObject;
  for (const name of Object.keys(value)) {
    const step = level.get(name);
    const member = value[name];
    if (step === undefined) {
      result[name] = member;
      continue;
    }
    const inner = step.within !== null && isObject(member) ? apply(member, step.within) : member;
    result[step.rule?.rename ?? name] = step.rule === null ? inner : convert(inner, step.rule);
  }
  return result;
}

function convert(value: unknown, { scale = 1, offset = 0, decimals }: FieldRule): unknown {
  if (typeof value !== 'number') {
    return value;
  }
  const converted =
    scale === 1 && offset === 0 ? value : Number((value * scale + offset).toPrecision(CERTAIN_DIGITS));
  const rounded = decimals === undefined ? converted : Number(converted.toFixed(decimals));
  // JSON has no infinity: a value that would overflow is left as the device sent it.
  return Number.isFinite(rounded) ? rounded : value;
}

function renamedPath(field: string, rename: string | undefined): string {
  if (rename === undefined) {
    return field;
  }
  const parent = field.lastIndexOf('.');
  return parent < 0 ? rename : `${field.slice(0, parent + 1)}${rename}`;
}
