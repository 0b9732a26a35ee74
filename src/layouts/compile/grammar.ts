import { z } from 'zod';

/** The grammar of LAYOUT_FILE (docs/layouts.md), as far as one value can be judged alone; what values mean together is checked in compile.ts. */

const UNITS_MS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

function duration(what: string, minMs: number, maxMs: number) {
  const must = `must be a duration such as ${what}`;
  const ms = z.union([z.string(), z.literal(0)], { error: must }).transform((value, context) => {
    if (value === 0) {
      return 0;
    }
    const parts = /^(\d{1,9})(ms|s|m|h|d)$/.exec(value);
    if (parts === null) {
      context.addIssue({ code: 'custom', message: must });
      return 0;
    }
    return Number(parts[1]) * UNITS_MS[parts[2] as keyof typeof UNITS_MS];
  });
  return ms.refine(
    (value) => value >= minMs && value <= maxMs,
    `${must}, at least ${minMs} ms and at most ${maxMs} ms`,
  );
}

const pointer = z
  .string({ error: 'must be a JSON pointer such as /a/b' })
  .max(512, 'must be a JSON pointer of 512 characters at most')
  .regex(/^(\/([^~/]|~[01])*)*$/, 'must be a JSON pointer such as /a/b');

const text = z.union([z.string(), z.number(), z.boolean()], { error: 'must be a text' }).transform(String);
const texts = z
  .union([text, z.array(text).min(1, 'must name at least one').max(1_000, 'may have 1000 texts at most')], {
    error: 'must be a text or a list of texts',
  })
  .transform((value) => (Array.isArray(value) ? value : [value]));

const name = z.string().regex(/^[A-Za-z][A-Za-z0-9_]*$/, 'must be a name of letters, digits and _');
const topic = z.string({ error: 'must be a topic template' }).max(1_024, 'may have 1024 characters at most');
const qos = z.union([z.literal(0), z.literal(1)], { error: 'must be 0 or 1' }).default(1);
const only = z
  .record(
    name,
    z
      .array(text, { error: 'must be a list of texts' })
      .min(1, 'must name at least one')
      .max(1_000, 'may have 1000 texts at most'),
    { error: 'must say which levels are allowed, such as {site: [berlin, ulm]}' },
  )
  .default({});
const payload = z
  .union(
    [
      z.enum(['json', 'scalar', 'text', 'cbor', 'sparkplug']),
      z.strictObject({ module: z.string().min(1, 'must be a path') }),
    ],
    { error: 'must be json, scalar, text, cbor, sparkplug or {module: ./x.mjs}' },
  )
  .default('json');
/** A pointer, or the name of the member that holds the element: `key`, `key0` (the outermost) and so on. */
const place = z.union([pointer, z.string().regex(/^key[0-7]?$/)], {
  error: 'must be a JSON pointer such as /a/b, or key',
});
const each = z.union([pointer.transform((one) => [one]), z.array(pointer).min(1).max(4)], {
  error: 'must be a JSON pointer such as /a/b, or a list of at most 4',
});
const id = z.record(name, place, { error: 'must say where captures are, such as {cell: /id}' });
const when = z.record(place, texts, { error: 'must say what members must be, such as {/_type: location}' });

const routeBase = {
  topic,
  qos,
  only,
  each: each.optional(),
  id: id.optional(),
  when: when.optional(),
};

/** The device's own time. */
const ts = z
  .union(
    [
      pointer.transform((at) => ({ at, unit: 'ms' as const })),
      z.strictObject({ at: pointer, unit: z.enum(['ms', 's']).default('ms') }),
    ],
    { error: 'must be a JSON pointer such as /ts, or {at: /ts, unit: s}' },
  )
  .optional();

const telemetry = z.strictObject({
  ...routeBase,
  as: z.enum(['whole', 'field', 'merge'], { error: 'must be whole, field or merge' }).default('whole'),
  field: z.string({ error: 'must be a text' }).min(1).max(256).optional(),
  payload,
  pick: pointer.optional(),
  ts,
});

const status = z.strictObject({
  ...routeBase,
  at: pointer.optional(),
  online: texts.optional(),
  offline: texts.optional(),
  else: z.enum(['refuse', 'ignore'], { error: 'must be refuse or ignore' }).default('refuse'),
  ts,
  order: pointer.optional(),
  of: z.string({ error: 'must be a pattern of device ids' }).min(1).max(128).optional(),
});

const meta = z.strictObject({
  ...routeBase,
  as: z.enum(['whole', 'field'], { error: 'must be whole or field' }).default('whole'),
  field: z.string({ error: 'must be a text' }).min(1).max(256).optional(),
  payload,
  pick: z
    .union(
      [
        pointer,
        z.record(z.string().min(1).max(128), pointer).refine((all) => Object.keys(all).length <= 100),
      ],
      { error: 'must be a JSON pointer such as /a/b, or members such as {model: /definition/model}' },
    )
    .optional(),
});

const command = z.strictObject({
  topic,
  allow: z
    .record(
      pointer,
      z.union(
        [
          z.literal('any').transform(() => 'any' as const),
          z.array(text).min(1, 'must name at least one').max(1_000),
        ],
        {
          error: 'must be a list of texts, or any',
        },
      ),
      { error: 'must say what may be sent, such as {/cmd: [Power]}' },
    )
    .default({}),
  payload: z
    .union(
      [
        z.enum(['json', 'sparkplug']),
        z.strictObject({ text: pointer }),
        z.strictObject({ json: z.record(z.string(), z.unknown()) }),
      ],
      { error: 'must be json, {text: /value}, {json: {…}} or sparkplug' },
    )
    .default('json'),
  qos,
  reply: z.strictObject({ topic, match: pointer, within: duration('5s', 1, 60_000).optional() }).optional(),
});

const anyJson = z.union([text, z.looseObject({}), z.array(z.unknown())]);

const example = z.strictObject({
  topic: z.string().optional(),
  payload: anyJson.optional(),
  base64: z.string().optional(),
  device: text.optional(),
  telemetry: anyJson.optional(),
  status: z.enum(['online', 'offline']).optional(),
  meta: anyJson.optional(),
  outcome: z.string().optional(),
  command: anyJson.optional(),
});

const list = <T extends z.ZodType>(item: T) =>
  z.array(item, { error: 'must be a list' }).max(100, 'may have 100 entries at most').default([]);

export const layoutSchema = z.strictObject({
  device: z.string({ error: 'must be a text such as "{site}.{cell}"' }).min(1).max(128).default('{device}'),
  only,
  ignore: list(topic),
  telemetry: list(telemetry),
  status: list(status),
  silence: duration('25h', 1_000, 365 * UNITS_MS.d).optional(),
  window: duration('50ms', 0, 60_000).default(0),
  meta: list(meta),
  command: command.optional(),
  sparkplug: z
    .strictObject({
      rebirth: z.enum(['ask', 'never'], { error: 'must be ask or never' }).default('ask'),
      reorder: duration('2s', 0, 60_000).default(2_000),
    })
    .optional(),
  examples: z.array(example, { error: 'must be a list' }).max(1_000).default([]),
});

export const LAYOUT_NAME = /^[a-z0-9-]{1,32}$/;
export const MAX_LAYOUTS = 64;

export type LayoutText = z.infer<typeof layoutSchema>;
export type TelemetryText = z.infer<typeof telemetry>;
export type TimeText = z.infer<typeof ts>;
export type StatusText = z.infer<typeof status>;
export type MetaText = z.infer<typeof meta>;
export type CommandText = z.infer<typeof command>;
export type ExampleText = z.infer<typeof example>;
export type PayloadText = z.infer<typeof payload>;
