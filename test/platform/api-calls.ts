import { readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';
import type { RunningApp } from './capture.js';

export const TOKEN = 'a-token-of-the-server-api-for-tests-1';
export const document = JSON.parse(
  readFileSync(new URL('../../src/api/openapi.json', import.meta.url), 'utf8'),
) as Document;
const ajv = new Ajv2020({ strict: false });
ajv.addSchema(document, 'api');

interface Document {
  paths: Record<string, Record<string, { responses: Record<string, { $ref?: string }> }>>;
}

/** An answer; its body is held against the document. */
export interface Answer {
  status: number;
  body: Record<string, any>;
  headers: Headers;
}

const pointerOf = (text: string): string => text.replace(/~/g, '~0').replace(/\//g, '~1');

/** Finds what the document says of the answer. Statuses that belong to every path are not in each operation. */
function check(method: string, path: string, status: number, type: string, body: unknown): void {
  if ([405].includes(status) || body === undefined) {
    return;
  }
  const plain = path.split('?')[0] as string;
  const template = Object.keys(document.paths).find((one) =>
    new RegExp(`^${one.replace(/\{\w+\}/g, '[^/]+')}$`).test(plain),
  );
  const operation = template === undefined ? undefined : document.paths[template]?.[method.toLowerCase()];
  if (operation === undefined) {
    return;
  }
  const response = operation.responses[String(status)];
  expect({ path, status, documented: response !== undefined }).toEqual({ path, status, documented: true });
  const at =
    response?.$ref ?? `#/paths/${pointerOf(template as string)}/${method.toLowerCase()}/responses/${status}`;
  const isValid = ajv.validate({ $ref: `api${at}/content/${pointerOf(type)}/schema` }, body);
  expect({ path, status, errors: isValid ? null : ajv.errors }).toEqual({ path, status, errors: null });
}

/** A request to the server API of an instance, with its answer as the document has it. */
export async function call(
  app: RunningApp,
  method: string,
  path: string,
  {
    token = TOKEN,
    body,
    headers = {},
  }: { token?: string | null; body?: unknown; headers?: Record<string, string> } = {},
): Promise<Answer> {
  const response = await fetch(`http://127.0.0.1:${app.ports.managementPort}/api/v1${path}`, {
    method,
    headers: {
      ...(token !== null && { authorization: `Bearer ${token}` }),
      ...(body !== undefined && { 'content-type': 'application/json' }),
      ...headers,
    },
    ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  const text = await response.text();
  const answer = JSON.parse(text) as Answer['body'];
  const [type = ''] = (response.headers.get('content-type') ?? '').split(';');
  check(method, path, response.status, type, answer);
  return { status: response.status, body: answer, headers: response.headers };
}
