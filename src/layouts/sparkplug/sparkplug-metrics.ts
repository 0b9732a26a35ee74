import { CodecError } from '../codecs/codec.js';
import {
  type Alias,
  BD_SEQ,
  objectJson,
  type SparkplugMetric,
  type SparkplugPayload,
} from './sparkplug-payload.js';
import { isType, jsonOf, Type, TYPE_NAMES } from './sparkplug-values.js';

/** What a birth said of a metric. */
export interface KnownMetric {
  readonly name: string;
  readonly alias: Alias | undefined;
  readonly type: number;
  /** Of a template's instance: the name of its definition. */
  readonly ref: string | undefined;
  /** The template's instance that it is a member of. */
  readonly parent: string | undefined;
}

/** A metric as it is stored for the next reader. */
export type StoredMetric = readonly [
  name: string,
  type: number,
  alias?: Alias | null,
  ref?: string | null,
  parent?: string,
];

/** Memory of a metric beside its name, estimated. */
const METRIC_BYTES = 160;

/** The metrics of an edge node, or of one of its devices: what the birth said, and what commands and aliases are read with. */
export class MetricTable {
  readonly byName = new Map<string, KnownMetric>();
  /** null: two metrics have this alias, so it says nothing. */
  private readonly byAlias = new Map<Alias, KnownMetric | null>();
  /** By the path of their template; made when it is first asked for. */
  private members: Map<string, KnownMetric[]> | null = null;
  /** Memory, estimated. */
  bytes = 0;

  add(metric: KnownMetric): void {
    const before = this.byName.get(metric.name);
    this.byName.set(metric.name, metric);
    if (before === undefined) {
      this.bytes += METRIC_BYTES + 2 * metric.name.length;
    }
    const { alias } = metric;
    if (alias !== undefined) {
      const other = this.byAlias.get(alias);
      this.byAlias.set(alias, other === undefined || other?.name === metric.name ? metric : null);
    }
  }

  /** The metric that a message speaks of, by its name or by its alias. */
  find(name: string | undefined, alias: Alias | undefined): KnownMetric | undefined {
    if (name !== undefined) {
      return this.byName.get(name);
    }
    return alias === undefined ? undefined : (this.byAlias.get(alias) ?? undefined);
  }

  /** The members of a template. Called when the table is complete. */
  membersOf(template: string): readonly KnownMetric[] {
    if (this.members === null) {
      this.members = new Map();
      for (const metric of this.byName.values()) {
        if (metric.parent !== undefined) {
          const others = this.members.get(metric.parent);
          if (others === undefined) {
            this.members.set(metric.parent, [metric]);
          } else {
            others.push(metric);
          }
        }
      }
    }
    return this.members.get(template) ?? [];
  }

  stored(): StoredMetric[] {
    return [...this.byName.values()].map(({ name, type, alias, ref, parent }): StoredMetric => {
      if (parent !== undefined) {
        return [name, type, alias ?? null, ref ?? null, parent];
      }
      if (ref !== undefined) {
        return [name, type, alias ?? null, ref];
      }
      return alias === undefined ? [name, type] : [name, type, alias];
    });
  }

  /** @returns a table of what {@link stored} gave; what cannot be read is left out */
  static of(metrics: unknown): MetricTable {
    const table = new MetricTable();
    for (const metric of Array.isArray(metrics) ? metrics : []) {
      const [name, type, alias, ref, parent] = metric as StoredMetric;
      if (typeof name === 'string' && typeof type === 'number') {
        table.add({
          name,
          type: isType(type) ? type : 0,
          alias: alias ?? undefined,
          ref: ref ?? undefined,
          // A member's path is longer than its template's, so that a way from member to template always ends.
          parent: typeof parent === 'string' && name.startsWith(`${parent}/`) ? parent : undefined,
        });
      }
    }
    return table;
  }
}

/** The values of one message, by the names of their metrics. */
export interface MetricValues {
  /** JSON text by name; the last one of a name counts. */
  readonly values: ReadonlyMap<string, string>;
  /** Metrics of another time, left out. */
  readonly historical: number;
  /** Metrics of which no birth told, left out where there is an alias alone. */
  readonly unknown: number;
}

/** What belongs to the protocol and is no value of the device. */
export function isControl(name: string): boolean {
  return name === BD_SEQ || name.startsWith('Node Control/') || name.startsWith('Device Control/');
}

/**
 * Reads a birth: what its metrics are, and their values. The members of a template are metrics of their own, `template/member`, so that
 * an instance with some of them changes these alone; definitions are left out.
 * @throws {CodecError}
 */
export function readBirth(payload: SparkplugPayload): { table: MetricTable; values: MetricValues } {
  const table = new MetricTable();
  const learn = (metrics: readonly SparkplugMetric[], parent?: string): void => {
    for (const { name, alias, type, template } of metrics) {
      if (name === undefined || template?.isDefinition === true) {
        continue;
      }
      const path = parent === undefined ? name : `${parent}/${name}`;
      if (parent !== undefined) {
        payload.budget.takePath(path);
      }
      table.add({ name: path, alias, type, ref: template?.ref, parent });
      if (template !== null) {
        learn(template.members, path);
      }
    }
  };
  learn(payload.metrics);
  return { table, values: readValues(payload, table) };
}

/** @throws {CodecError} when a value cannot be read as what the birth said that it is */
export function readValues(payload: SparkplugPayload, table: MetricTable): MetricValues {
  const reader = new ValueReader(payload, table);
  reader.read(payload.metrics, '');
  return reader;
}

class ValueReader implements MetricValues {
  readonly values = new Map<string, string>();
  historical = 0;
  unknown = 0;

  constructor(
    private readonly payload: SparkplugPayload,
    private readonly table: MetricTable,
  ) {}

  read(metrics: readonly SparkplugMetric[], prefix: string): void {
    for (const metric of metrics) {
      const { name, alias, template } = metric;
      if (name === undefined && alias === undefined) {
        throw new CodecError('codec_error', 'a metric without name and alias');
      }
      if (template?.isDefinition === true) {
        continue;
      }
      const said = name === undefined ? undefined : prefix + name;
      if (said !== undefined && prefix !== '') {
        this.payload.budget.takePath(said);
      }
      const known = this.table.find(said, alias);
      const path = known?.name ?? said;
      if (path !== undefined && isControl(path)) {
        continue;
      }
      if (metric.isHistorical) {
        this.historical += 1;
        continue;
      }
      if (known === undefined) {
        this.unknown += 1;
      }
      if (path !== undefined) {
        this.take(metric, path, known);
      }
    }
  }

  private take(metric: SparkplugMetric, path: string, known: KnownMetric | undefined): void {
    const { template, value } = metric;
    if (template !== null) {
      this.read(template.members, `${path}/`);
    } else if (value !== null) {
      this.values.set(path, jsonOf(metric.type || (known?.type ?? 0), value, this.payload.budget));
    } else if ((metric.type || known?.type) === Type.Template) {
      this.takeNothing(path);
    } else {
      this.values.set(path, 'null');
    }
  }

  /** A template that is null: each of its members is. */
  private takeNothing(template: string): void {
    for (const { name, type } of this.table.membersOf(template)) {
      this.payload.budget.take(1);
      if (type === Type.Template) {
        this.takeNothing(name);
      } else {
        this.values.set(name, 'null');
      }
    }
  }
}

/** Largest metadata that a birth gives; over it properties, then types, are left out. */
export const MAX_META_BYTES = 128 * 1024;
/** Where Ignition and others have the unit. */
const UNIT_KEYS = ['engUnit', 'Engineering Units', 'engineeringUnits', 'unit', 'units'];

/** What a birth says of the metrics themselves: `{"units":{…},"types":{…},"properties":{…}}`. */
export function metadataOf(payload: SparkplugPayload, table: MetricTable): Buffer {
  const units = new Map<string, string>();
  const properties = new Map<string, string>();
  const visit = (metrics: readonly SparkplugMetric[], prefix: string): void => {
    for (const metric of metrics) {
      const path = prefix + (metric.name ?? '');
      if (metric.name === undefined || isControl(path) || metric.template?.isDefinition === true) {
        continue;
      }
      if (metric.properties !== null && metric.properties.size > 0) {
        const unitKey = UNIT_KEYS.find((key) => metric.properties?.get(key)?.startsWith('"'));
        if (unitKey !== undefined) {
          units.set(path, metric.properties.get(unitKey) as string);
        }
        properties.set(path, objectJson(metric.properties));
      }
      visit(metric.template?.members ?? [], `${path}/`);
    }
  };
  visit(payload.metrics, '');
  const types = new Map<string, string>();
  for (const { name, type } of table.byName.values()) {
    if (!isControl(name)) {
      types.set(name, `"${TYPE_NAMES[type] as string}"`);
    }
  }
  const parts: [string, string][] = (
    [
      ['units', units],
      ['types', types],
      ['properties', properties],
    ] as const
  )
    .filter(([, part]) => part.size > 0)
    .map(([key, part]) => [key, objectJson(part)]);
  let text = Buffer.from(objectJson(parts));
  while (text.length > MAX_META_BYTES) {
    parts.pop();
    text = Buffer.from(objectJson(parts));
  }
  return text;
}
