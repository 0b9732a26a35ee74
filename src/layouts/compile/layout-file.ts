import { readFileSync } from 'node:fs';
import { isAlias, isMap, isPair, isScalar, isSeq, LineCounter, type Node, parseDocument, visit } from 'yaml';
import type { z } from 'zod';
import { isObject, type JsonObject } from '../../protocol/json.js';
import { LAYOUT_NAME, layoutSchema, type LayoutText, MAX_LAYOUTS } from './grammar.js';
import { expandPreset, nearest } from '../presets.js';

export const MAX_FILE_BYTES = 1_048_576;
/** More aliases than a person writes: a few lines of them can stand for gigabytes. */
const MAX_ALIASES = 100;

export type Path = readonly (string | number)[];

/** What is wrong with LAYOUT_FILE: each line names the place and what to do. */
export class LayoutFileError extends Error {
  constructor(readonly problems: readonly string[]) {
    super(problems.join('\n'));
    this.name = 'LayoutFileError';
  }
}

/** The layouts of a file, each legal on its own, and where its parts stand. */
export interface LayoutFile {
  readonly layouts: readonly NamedLayout[];
  /** `layouts.plant.telemetry.0 (line 9)` */
  place(path: Path): string;
}

export interface NamedLayout {
  readonly name: string;
  readonly text: LayoutText;
  readonly preset: string | undefined;
  /** Its examples are the preset's, and hold only where nothing of it was replaced. */
  readonly presetExamples: boolean;
}

/** @throws {LayoutFileError} */
export function readLayoutFile(path: string): LayoutFile {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new LayoutFileError([`cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unreadable'})`]);
  }
  return parseLayoutFile(text);
}

/** Reads YAML, of which JSON is a part. @throws {LayoutFileError} naming every mistake */
export function parseLayoutFile(text: string): LayoutFile {
  if (Buffer.byteLength(text) > MAX_FILE_BYTES) {
    throw new LayoutFileError([`may have ${MAX_FILE_BYTES} bytes at most`]);
  }
  const { content, lineOf } = parseYaml(text);
  const place = (path: Path): string => `${path.join('.')} (line ${lineOf(path)})`;
  const problems: string[] = [];
  if (!isObject(content)) {
    throw new LayoutFileError(['must have version: 1 and layouts: {<name>: …}']);
  }
  for (const key of Object.keys(content).filter((one) => one !== 'version' && one !== 'layouts')) {
    problems.push(`${place([key])}: is unknown${suggestion(key, ['version', 'layouts'])}`);
  }
  if (content['version'] !== 1) {
    problems.push(`version (line ${lineOf(['version'])}): must be 1`);
  }
  const { layouts } = content;
  if (!isObject(layouts) || Object.keys(layouts).length === 0) {
    throw new LayoutFileError([
      ...problems,
      `layouts (line ${lineOf(['layouts'])}): must name at least one layout`,
    ]);
  }
  if (Object.keys(layouts).length > MAX_LAYOUTS) {
    problems.push(`layouts (line ${lineOf(['layouts'])}): may have ${MAX_LAYOUTS} layouts at most`);
  }
  const named: NamedLayout[] = [];
  for (const [name, value] of Object.entries(layouts).slice(0, MAX_LAYOUTS)) {
    const layout = readLayout(name, value, place);
    if (Array.isArray(layout)) {
      problems.push(...layout);
    } else {
      named.push(layout);
    }
  }
  if (problems.length > 0) {
    throw new LayoutFileError(problems);
  }
  return { layouts: named, place };
}

function readLayout(name: string, value: unknown, place: (path: Path) => string): NamedLayout | string[] {
  const path = ['layouts', name];
  if (!LAYOUT_NAME.test(name)) {
    return [`${place(path)}: a layout's name has a-z, 0-9 and -, 32 at most`];
  }
  if (!isObject(value)) {
    return [`${place(path)}: must be a layout: {preset: …}, or {device, telemetry, …}`];
  }
  const { preset, with: parameters, ...own } = value;
  let base: JsonObject = {};
  if (preset !== undefined) {
    const expanded = expandPreset(preset, parameters);
    if (typeof expanded === 'string') {
      return [`${place([...path, parameters === undefined ? 'preset' : 'with'])}: ${expanded}`];
    }
    base = expanded;
  } else if (parameters !== undefined) {
    return [`${place([...path, 'with'])}: belongs to a preset`];
  }
  const parsed = layoutSchema.safeParse({ ...base, ...own });
  if (!parsed.success) {
    return problemsOf(parsed.error.issues, path, place);
  }
  const replaced = Object.keys(own).filter((key) => !['silence', 'window'].includes(key));
  return {
    name,
    text: parsed.data,
    preset: typeof preset === 'string' ? preset : undefined,
    presetExamples: preset !== undefined && replaced.length === 0,
    ...(preset !== undefined &&
      replaced.length > 0 &&
      own['examples'] === undefined && { text: { ...parsed.data, examples: [] } }),
  };
}

function problemsOf(
  issues: readonly z.core.$ZodIssue[],
  path: Path,
  place: (path: Path) => string,
): string[] {
  return issues.flatMap((issue) => {
    const at = [...path, ...issue.path.map((part) => (typeof part === 'symbol' ? String(part) : part))];
    if (issue.code === 'unrecognized_keys') {
      return issue.keys.map(
        (key) => `${place([...at, key])}: is unknown${suggestion(key, knownKeys(issue.path))}`,
      );
    }
    return [`${place(at)}: ${issue.code === 'invalid_key' ? keyProblem(issue) : issue.message}`];
  });
}

function keyProblem(issue: z.core.$ZodIssue & { code: 'invalid_key' }): string {
  return issue.issues[0]?.message ?? issue.message;
}

/** Keys that the grammar has where this path leads. */
function knownKeys(path: readonly PropertyKey[]): string[] {
  let schema: unknown = layoutSchema;
  for (const part of path) {
    const inner = unwrapped(schema);
    schema = inner.shape?.[String(part)] ?? inner.element ?? inner.valueType;
  }
  const known = Object.keys(unwrapped(schema).shape ?? {});
  return path.length === 0 ? [...known, 'preset', 'with'] : known;
}

interface Inner {
  readonly shape?: Record<string, unknown>;
  readonly element?: unknown;
  readonly valueType?: unknown;
}

function unwrapped(schema: unknown): Inner {
  let at = schema as {
    unwrap?: () => unknown;
    shape?: unknown;
    element?: unknown;
    def?: { innerType?: unknown };
  };
  while (at?.def?.innerType !== undefined) {
    at = at.def.innerType as typeof at;
  }
  return (at ?? {}) as Inner;
}

function suggestion(key: string, known: readonly string[]): string {
  const near = nearest(key, known);
  return near === undefined ? `; there are ${known.join(', ')}` : `; did you mean ${near}?`;
}

/** Keys whose value is kept as the text of the file, even if YAML reads a number or a word such as `true` in it (`21.50`). */
const TEXT_KEYS = new Set(['online', 'offline', 'payload', 'telemetry', 'device']);
/** Keys whose members all keep their values as text in the same way. */
const TEXT_MAPS = new Set(['only', 'allow', 'with', 'when']);

function parseYaml(text: string): { content: unknown; lineOf: (path: Path) => number } {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, uniqueKeys: true, prettyErrors: false });
  const [fault] = document.errors;
  if (fault !== undefined) {
    const { line } = lines.linePos(fault.pos[0]);
    throw new LayoutFileError([`line ${line}: ${fault.message.split('\n')[0]}`]);
  }
  visit(document, {
    Pair(_key, { key }) {
      const named = isAlias(key) ? key.resolve(document) : key;
      if (!isScalar(named) || (typeof named.value === 'object' && named.value !== null)) {
        // The YAML package would convert the key to text, and print a warning that bypasses the log.
        const { line } = lines.linePos((key as Node | null)?.range?.[0] ?? 0);
        throw new LayoutFileError([`line ${line}: a key must be a text, not a list, a mapping or a date`]);
      }
    },
    Scalar(_key, scalar, ancestors) {
      const keys = ancestors.flatMap((node) =>
        isPair(node) && isScalar(node.key) ? [String(node.key.value)] : [],
      );
      const meant = TEXT_KEYS.has(keys.at(-1) ?? '') || TEXT_MAPS.has(keys.at(-2) ?? '');
      if (
        meant &&
        (typeof scalar.value === 'number' || typeof scalar.value === 'boolean') &&
        scalar.source !== undefined
      ) {
        scalar.value = scalar.source;
      }
    },
  });
  let content: unknown;
  try {
    content = document.toJS({ maxAliasCount: MAX_ALIASES }) as unknown;
  } catch {
    throw new LayoutFileError([
      `has more than ${MAX_ALIASES} aliases (*name), or ones that stand for too much`,
    ]);
  }
  return {
    content,
    lineOf: (path) => {
      const start = startOf(document.contents, path);
      return start === undefined ? 1 : lines.linePos(start).line;
    },
  };
}

/** Where a path leads, or the nearest part of it that is there: its key's place where it is a member. */
function startOf(root: Node | null, path: Path): number | undefined {
  let at: unknown = root;
  let start = root?.range?.[0];
  for (const part of path) {
    if (isMap(at)) {
      const pair = at.items.find(({ key }) => isScalar(key) && String(key.value) === String(part));
      if (pair === undefined) {
        return start;
      }
      start = (pair.key as Node).range?.[0] ?? start;
      at = pair.value;
    } else if (isSeq(at)) {
      const item = at.items[Number(part)] as Node | undefined;
      if (item === undefined) {
        return start;
      }
      start = item.range?.[0] ?? start;
      at = item;
    } else {
      return start;
    }
  }
  return start;
}
