import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { isDeviceId } from '../protocol/device-id.js';
import { pathsFault } from '../protocol/field-paths.js';
import { normalPattern } from '../protocol/id-pattern.js';

const fieldRule = z.strictObject({
  rename: z.string().min(1).max(256).optional(),
  scale: z.number().optional(),
  offset: z.number().optional(),
  decimals: z.int().min(0).max(15).optional(),
  unit: z.string().max(64).optional(),
});

const fieldRules = z.record(z.string().min(1).max(256), fieldRule).superRefine((rules, context) => {
  const fault = pathsFault(Object.keys(rules));
  if (fault !== undefined) {
    context.addIssue({ code: 'custom', message: `its fields ${fault}` });
  }
});

const file = z.strictObject({
  rules: z
    .array(
      z.strictObject({
        devices: z
          .string()
          .refine(
            (text) => isDeviceId(text) || normalPattern(text) !== undefined,
            'is no device id or pattern',
          ),
        fields: fieldRules,
      }),
    )
    .max(10_000),
});

/** What happens to one field, in this order: value x scale + offset, rounded to decimals, under a new name. */
export type FieldRule = z.infer<typeof fieldRule>;

/** By field: a top-level name, or a dotted path into nested objects. */
export type FieldRules = z.infer<typeof fieldRules>;

/** One entry of TRANSFORM_FILE. */
export interface TransformRule {
  /** A device id or a `*` pattern. */
  devices: string;
  fields: FieldRules;
}

/**
 * Reads TRANSFORM_FILE.
 * @throws an Error whose message says what to correct
 */
export function readTransformFile(path: string): TransformRule[] {
  let content: unknown;
  try {
    content = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new Error(
      error instanceof SyntaxError ? 'must be JSON' : `cannot be read (${code ?? 'unreadable'})`,
      {
        cause: error,
      },
    );
  }
  const parsed = file.safeParse(content);
  if (!parsed.success) {
    const { path: at, message } = parsed.error.issues[0] as z.core.$ZodIssue;
    throw new Error(`${at.length === 0 ? 'the file' : at.join('.')}: ${message}`);
  }
  return parsed.data.rules;
}

/** The rules of a device's own metadata (member `transform`), or null where it has none that are legal. */
export function fieldRulesOf(value: unknown): FieldRules | null {
  const parsed = fieldRules.safeParse(value);
  return parsed.success ? parsed.data : null;
}

/** @returns what is wrong with the file; undefined when it is good */
export function checkTransformFile(path: string): string | undefined {
  try {
    readTransformFile(path);
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}
