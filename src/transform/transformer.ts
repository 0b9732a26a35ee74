import { Inject, Injectable } from '@nestjs/common';
import { CONFIG, type Config } from '../config/config.js';
import {
  type FieldRules,
  fieldRulesOf,
  readTransformFile,
  type TransformRule,
} from '../config/transform-file.js';
import { IdPattern, normalPattern } from '../protocol/id-pattern.js';
import { FieldTransform } from './field-transform.js';

interface CompiledRule {
  matches(deviceId: string): boolean;
  fields: FieldRules;
}

/**
 * The operator's transformation of payloads, before they are stored: per field rename, scale, offset, decimals and unit, from TRANSFORM_FILE
 * by device pattern and (TRANSFORM_FROM_META) from the `transform` member of a device's metadata, which wins field by field.
 * Where nothing is configured it is off: one comparison per message.
 */
@Injectable()
export class Transformer {
  /** Whether any message could be concerned. */
  readonly active: boolean;
  private readonly rules: CompiledRule[];
  private readonly fromMeta: boolean;
  /** Compiled once per device; null for devices without a rule. Bounded by MAX_DEVICES. */
  private readonly byDevice = new Map<string, FieldTransform | null>();
  private readonly metaRules = new Map<string, FieldRules>();
  private readonly maxDevices: number;

  constructor(@Inject(CONFIG) { transform, rooms }: Pick<Config, 'transform' | 'rooms'>) {
    this.rules = transform.file === undefined ? [] : readTransformFile(transform.file).map(compile);
    this.fromMeta = transform.fromMeta === 'true';
    this.active = this.rules.length > 0 || this.fromMeta;
    this.maxDevices = rooms.maxDevices;
  }

  /** @param payload valid JSON. @returns the same buffer where no rule concerns it */
  payload(deviceId: string, payload: Buffer): Buffer {
    return this.active ? (this.of(deviceId)?.payload(payload) ?? payload) : payload;
  }

  /** The device's metadata as dashboards see it; learns the device's own rules from it. */
  meta(deviceId: string, meta: Buffer | null): Buffer | null {
    if (!this.active) {
      return meta;
    }
    if (this.fromMeta) {
      this.learn(deviceId, meta);
    }
    return meta === null ? null : (this.of(deviceId)?.meta(meta) ?? meta);
  }

  private learn(deviceId: string, meta: Buffer | null): void {
    const value = meta === null ? null : (JSON.parse(meta.toString()) as { transform?: unknown });
    const rules = value?.transform === undefined ? null : fieldRulesOf(value.transform);
    this.byDevice.delete(deviceId);
    if (rules === null) {
      this.metaRules.delete(deviceId);
    } else if (this.metaRules.has(deviceId) || this.metaRules.size < this.maxDevices) {
      this.metaRules.set(deviceId, rules);
    }
  }

  private of(deviceId: string): FieldTransform | null {
    let transform = this.byDevice.get(deviceId);
    if (transform === undefined) {
      const fields = Object.create(null) as FieldRules; // `__proto__` is a legal field name
      for (const rule of this.rules) {
        if (rule.matches(deviceId)) {
          merge(fields, rule.fields);
        }
      }
      merge(fields, this.metaRules.get(deviceId) ?? {});
      transform = Object.keys(fields).length === 0 ? null : new FieldTransform(fields);
      if (this.byDevice.size >= this.maxDevices) {
        this.byDevice.clear();
      }
      this.byDevice.set(deviceId, transform);
    }
    return transform;
  }
}

/** Later rules add to earlier ones, and win where both speak of the same thing. */
function merge(into: FieldRules, from: FieldRules): void {
  for (const [field, rule] of Object.entries(from)) {
    into[field] = { ...into[field], ...rule };
  }
}

function compile({ devices, fields }: TransformRule): CompiledRule {
  const pattern = normalPattern(devices);
  if (pattern === undefined) {
    return { matches: (deviceId) => deviceId === devices, fields };
  }
  const compiled = new IdPattern(pattern);
  return { matches: (deviceId) => compiled.matches(deviceId), fields };
}
