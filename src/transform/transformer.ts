import { createHash } from 'node:crypto';
import { Inject, Injectable, Logger, type OnModuleDestroy } from '@nestjs/common';
import { CONFIG, type Config } from '../config/config.js';
import {
  type FieldRules,
  fieldRulesOf,
  readTransformFile,
  type TransformRule,
} from '../config/transform-file.js';
import { Reloads } from '../files/reloads.js';
import { tellEach } from '../logging/walls.js';
import { mirrorGauge } from '../metrics/hot-counters.js';
import { Metrics } from '../metrics/metrics.js';
import { IdPattern, normalPattern } from '../protocol/id-pattern.js';
import { FieldTransform } from './field-transform.js';

/** Bound of all compiled rules from metadata, estimated. */
export const MAX_META_RULES_BYTES = 67_108_864;

interface CompiledRule {
  matches(deviceId: string): boolean;
  fields: FieldRules;
}

/** Rules of the file and of metadata, compiled once for all devices with equal rules. */
interface OwnRules {
  readonly key: string;
  /** Those of the metadata alone, to compile them with the rules of another file. */
  readonly rules: FieldRules;
  readonly transform: FieldTransform;
  /** The file that they were compiled with. */
  readonly generation: number;
  users: number;
}

/**
 * The operator's transformation of payloads, before they are stored: per field rename, scale, offset, decimals and unit, from TRANSFORM_FILE
 * by device pattern and (TRANSFORM_FROM_META) from the `transform` member of a device's metadata, which wins field by field.
 * Where nothing is configured it is off: one comparison per message. The file is read again at SIGHUP: its rules apply from the next message on.
 */
@Injectable()
export class Transformer implements OnModuleDestroy {
  /** False if no rule can apply to any message. */
  active: boolean;
  private readonly logger = new Logger(Transformer.name);
  private rules: CompiledRule[];
  /** How often the file was taken. */
  private generation = 0;
  private readonly fromMeta: boolean;
  /** Of devices without rules of their own; null if no rule applies. Bounded by MAX_DEVICES. */
  private readonly byDevice = new Map<string, FieldTransform | null>();
  /** By the matching rules of the file: devices with the same rules share one. */
  private readonly shared = new Map<string, FieldTransform | null>();
  /** Of devices with rules in their metadata. Bounded by MAX_DEVICES and {@link MAX_META_RULES_BYTES}. */
  private readonly own = new Map<string, OwnRules>();
  /** The same by content: a fleet of equal devices has one entry. */
  private readonly ownByRules = new Map<string, OwnRules>();
  private ownBytes = 0;
  private readonly maxDevices: number;
  private told = false;
  private readonly listeners = new Set<() => void>();
  private readonly removeReload: (() => void) | undefined;

  constructor(
    @Inject(CONFIG) { transform, rooms }: Pick<Config, 'transform' | 'rooms'>,
    private readonly metrics: Metrics,
    reloads: Reloads,
  ) {
    this.rules = transform.file === undefined ? [] : readTransformFile(transform.file).map(compile);
    this.fromMeta = transform.fromMeta === 'true';
    this.active = this.rules.length > 0 || this.fromMeta;
    this.maxDevices = rooms.maxDevices;
    mirrorGauge(metrics.transformBytes, () => this.ownBytes);
    const { file } = transform;
    this.removeReload =
      file === undefined
        ? undefined
        : reloads.add('TRANSFORM_FILE', () => this.take(readTransformFile(file)));
  }

  onModuleDestroy(): void {
    this.removeReload?.();
  }

  /** Called when other rules apply than before. @returns removes the listener */
  onChange(listener: () => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  private take(rules: readonly TransformRule[]): void {
    this.rules = rules.map(compile);
    this.generation += 1;
    this.active = this.rules.length > 0 || this.fromMeta;
    this.byDevice.clear();
    this.shared.clear();
    tellEach('lifecycle', [...this.listeners]);
  }

  /** @param payload valid JSON. @returns the same buffer if no rule applies */
  payload(deviceId: string, payload: Buffer): Buffer {
    return this.active ? (this.of(deviceId)?.payload(payload) ?? payload) : payload;
  }

  /** Whether a rule may apply to a payload of this device, also one of metadata that is still to come. */
  concerns(deviceId: string): boolean {
    return this.active && (this.fromMeta || this.of(deviceId) !== null);
  }

  /** The device's metadata as dashboards see it; also stores the device's own rules. */
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
    this.forget(deviceId);
    if (value?.transform === undefined) {
      return;
    }
    const rules = fieldRulesOf(value.transform);
    if (rules === null) {
      this.refuse('illegal');
      return;
    }
    this.keepOwn(deviceId, rules);
  }

  private keepOwn(deviceId: string, rules: FieldRules): void {
    const matching = this.matching(deviceId);
    const key = createHash('sha256')
      .update(`${this.generation} ${this.keyOf(matching)}\n${JSON.stringify(rules)}`)
      .digest('base64');
    const own = this.ownByRules.get(key) ?? this.compileOwn(key, matching, rules);
    if (
      this.own.size >= this.maxDevices ||
      this.ownBytes + (own.users === 0 ? own.transform.bytes : 0) > MAX_META_RULES_BYTES
    ) {
      this.refuse('full');
      return;
    }
    if (own.users === 0) {
      this.ownByRules.set(key, own);
      this.ownBytes += own.transform.bytes;
    }
    own.users += 1;
    this.own.set(deviceId, own);
  }

  private compileOwn(key: string, matching: readonly CompiledRule[], rules: FieldRules): OwnRules {
    const fields = this.merged(matching);
    merge(fields, rules);
    return { key, rules, transform: new FieldTransform(fields), generation: this.generation, users: 0 };
  }

  private forget(deviceId: string): void {
    const own = this.own.get(deviceId);
    if (own === undefined) {
      return;
    }
    this.own.delete(deviceId);
    own.users -= 1;
    if (own.users === 0) {
      this.ownByRules.delete(own.key);
      this.ownBytes -= own.transform.bytes;
    }
  }

  /** The device's metadata is kept; its rules are not applied. */
  private refuse(reason: 'illegal' | 'full'): void {
    this.metrics.transformRefused.inc({ reason });
    if (!this.told) {
      this.told = true;
      this.logger.warn(
        'Rules in the metadata of a device are not applied: illegal, or beyond the bounds of TRANSFORM_FROM_META. This is logged once; see sluice_transform_refused_total',
      );
    }
  }

  private of(deviceId: string): FieldTransform | null {
    let own = this.own.get(deviceId);
    if (own !== undefined && own.generation !== this.generation) {
      this.forget(deviceId);
      this.keepOwn(deviceId, own.rules);
      own = this.own.get(deviceId);
    }
    if (own !== undefined) {
      return own.transform;
    }
    let transform = this.byDevice.get(deviceId);
    if (transform === undefined) {
      transform = this.sharedBy(this.matching(deviceId));
      if (this.byDevice.size >= this.maxDevices) {
        this.byDevice.clear();
        this.shared.clear();
      }
      this.byDevice.set(deviceId, transform);
    }
    return transform;
  }

  private sharedBy(matching: readonly CompiledRule[]): FieldTransform | null {
    const key = this.keyOf(matching);
    let transform = this.shared.get(key);
    if (transform === undefined) {
      const fields = this.merged(matching);
      transform = Object.keys(fields).length === 0 ? null : new FieldTransform(fields);
      this.shared.set(key, transform);
    }
    return transform;
  }

  private keyOf(matching: readonly CompiledRule[]): string {
    return matching.map((rule) => this.rules.indexOf(rule)).join();
  }

  private matching(deviceId: string): CompiledRule[] {
    return this.rules.filter((rule) => rule.matches(deviceId));
  }

  private merged(rules: readonly CompiledRule[]): FieldRules {
    const fields = Object.create(null) as FieldRules; // `__proto__` is a legal field name
    rules.forEach((rule) => merge(fields, rule.fields));
    return fields;
  }
}

/** Adds later rules to earlier ones; for the same property the later rule wins. */
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
