import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { invalid, Problem, type ProblemAt } from './problem.js';

/** The parts of the document that are read here. */
interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, DocumentOperation>>>>;
  readonly components: { readonly schemas: Readonly<Record<string, Schema>> };
}

interface DocumentOperation {
  readonly operationId: string;
  readonly parameters?: readonly {
    readonly name: string;
    readonly in: 'path' | 'query';
    readonly schema: Schema;
  }[];
  readonly requestBody?: { readonly content: { readonly 'application/json': { readonly schema: Schema } } };
}

interface Schema {
  readonly $ref?: string;
  readonly type?: string | readonly string[];
  readonly default?: unknown;
  readonly [keyword: string]: unknown;
}

/** Values of the query: text, or a number where the document says so. */
export type Query = Readonly<Record<string, string | number | undefined>>;

/** One operation of the document, with what its requests are checked by. */
export interface Operation {
  readonly id: string;
  readonly method: string;
  /** A name in braces stands for a parameter. */
  readonly segments: readonly string[];
  readonly parameters: readonly Parameter[];
  /** Null where it takes no body. */
  readonly body: z.ZodType | null;
}

interface Parameter {
  readonly name: string;
  readonly in: 'path' | 'query';
  readonly check: z.ZodType;
  readonly isInteger: boolean;
  readonly fallback: string | number | undefined;
}

/** Most faults that one answer names: further ones rarely help, and would only make the answer long. */
const MAX_ERRORS = 10;

/**
 * Matches and validates requests by `openapi.json`, so that paths, parameters and schemas are written in one place. A test checks that the
 * document itself is valid.
 */
export class ApiDocument {
  readonly text: Buffer;
  readonly operations: readonly Operation[];
  private readonly schemas: Document['components']['schemas'];

  constructor() {
    this.text = readFileSync(new URL('./openapi.json', import.meta.url));
    const document = JSON.parse(this.text.toString()) as Document;
    this.schemas = document.components.schemas;
    this.operations = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => this.compile(path, method, operation)),
    );
  }

  /**
   * @param path below the server's, with its leading slash
   * @throws {Problem} not_found, method_not_allowed
   */
  match(method: string, path: string): { operation: Operation; segments: readonly string[] } {
    const segments = path.split('/').slice(1);
    const fitting = this.operations.filter((operation) => fits(operation.segments, segments));
    // A path without parameters is more exact than one with.
    const operation = fitting
      .filter((one) => one.method === method)
      .sort((a, b) => namesIn(a.segments) - namesIn(b.segments))[0];
    if (operation !== undefined) {
      return { operation, segments };
    }
    if (fitting.length === 0) {
      throw new Problem('not_found', 'There is no such path');
    }
    const allow = fitting.map((one) => one.method).join(', ');
    throw new Problem('method_not_allowed', `This path takes ${allow}`, { headers: { allow } });
  }

  /** @throws {Problem} invalid_request; not_found where the path cannot be decoded */
  readPath(operation: Operation, segments: readonly string[]): Readonly<Record<string, string>> {
    const values: Record<string, string> = Object.create(null) as Record<string, string>;
    operation.segments.forEach((segment, at) => {
      if (isName(segment)) {
        values[segment.slice(1, -1)] = decoded(segments[at] as string);
      }
    });
    const errors = operation.parameters
      .filter((parameter) => parameter.in === 'path')
      .flatMap(({ name, check }) => faultsOf(check, values[name], name));
    throwIf(errors);
    return values;
  }

  /** @throws {Problem} invalid_request */
  readQuery({ parameters }: Operation, text: string): Query {
    const values: Record<string, string | number | undefined> = Object.create(null) as Record<string, string>;
    const errors: ProblemAt[] = [];
    for (const [name, value] of new URLSearchParams(text)) {
      const parameter = parameters.find((one) => one.in === 'query' && one.name === name);
      if (parameter === undefined) {
        errors.push({ at: name.slice(0, 64), message: 'is no parameter of this operation' });
      } else if (values[name] !== undefined) {
        errors.push({ at: name, message: 'is there twice' });
      } else {
        values[name] = parameter.isInteger && /^\d{1,16}$/.test(value) ? Number(value) : value;
        errors.push(...faultsOf(parameter.check, values[name], name));
      }
      if (errors.length >= MAX_ERRORS) {
        break;
      }
    }
    throwIf(errors);
    for (const { name, fallback } of parameters) {
      values[name] ??= fallback;
    }
    return values;
  }

  /** @throws {Problem} invalid_request */
  checkBody(check: z.ZodType, body: unknown): void {
    throwIf(faultsOf(check, body, ''));
  }

  private compile(path: string, method: string, operation: DocumentOperation): Operation {
    const body = operation.requestBody?.content['application/json'].schema;
    return {
      id: operation.operationId,
      method: method.toUpperCase(),
      segments: path.split('/').slice(1),
      parameters: (operation.parameters ?? []).map((parameter) => {
        const schema = this.resolve(parameter.schema) as Schema;
        return {
          name: parameter.name,
          in: parameter.in,
          check: compiled(schema),
          isInteger: schema.type === 'integer',
          fallback: schema.default as string | number | undefined,
        };
      }),
      body: body === undefined ? null : compiled(this.resolve(body) as Schema),
    };
  }

  /** The value with every `$ref` replaced by what it names. */
  private resolve(value: unknown): unknown {
    if (Array.isArray(value)) {
      return value.map((one) => this.resolve(one));
    }
    if (typeof value !== 'object' || value === null) {
      return value;
    }
    const { $ref } = value as Schema;
    if ($ref !== undefined) {
      return this.resolve(this.schemas[$ref.split('/').pop() as string]);
    }
    return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, this.resolve(one)]));
  }
}

const compiled = (schema: Schema): z.ZodType => z.fromJSONSchema(schema as never);

const isName = (segment: string): boolean => segment.startsWith('{');

const namesIn = (segments: readonly string[]): number => segments.filter(isName).length;

const fits = (template: readonly string[], segments: readonly string[]): boolean =>
  template.length === segments.length &&
  template.every((segment, at) => (isName(segment) ? segments[at] !== '' : segment === segments[at]));

function decoded(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    throw invalid('path', 'is not percent-encoded UTF-8');
  }
}

function faultsOf(check: z.ZodType, value: unknown, at: string): ProblemAt[] {
  const parsed = check.safeParse(value);
  return parsed.success
    ? []
    : parsed.error.issues.map(({ path, message }) => ({
        at:
          [at, ...path]
            .filter((part) => part !== '')
            .join('.')
            .slice(0, 200) || 'body',
        message: message.slice(0, 200),
      }));
}

function throwIf(errors: readonly ProblemAt[]): void {
  const [first] = errors;
  if (first !== undefined) {
    throw new Problem('invalid_request', `${first.at}: ${first.message}`, {
      errors: errors.slice(0, MAX_ERRORS),
    });
  }
}
