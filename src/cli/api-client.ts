import { readFileSync } from 'node:fs';
import type { ConnectionList, DeviceList, RevocationList } from '../api/openapi.types.js';
import { shown } from './tables.js';

/** Exit status: the answer is whole. */
export const DONE = 0;
const REFUSED = 1;
export const WRONG_USE = 2;
const NOT_REACHED = 3;
/** Some instances did not answer, or follow when Redis is back. */
const IN_PART = 4;

/** Entries of one page: the most that the API gives. */
export const PAGE = 1_000;
/** The API waits for other instances and for devices; nobody looks at a terminal for longer than this. */
const TIMEOUT_MS = 70_000;

type Json = Record<string, unknown>;

/** What has pages, and the member that has its entries. */
interface Lists {
  connections: ConnectionList;
  devices: DeviceList;
  revocations: RevocationList;
}
type Entry<Name extends keyof Lists> = (Lists[Name] & Record<Name, unknown[]>)[Name][number];

export interface Options {
  readonly url: string;
  readonly token?: string;
  readonly tokenFile?: string;
  readonly json?: boolean;
}

/** What the API refused, or that it was not reached. */
export class CliError extends Error {
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message);
  }
}

/** The server API as the command line asks it: with the token, page by page, and with errors that name an exit status. */
export class Api {
  constructor(private readonly options: Options) {}

  /** @returns as the document of the API says: it is held to that by its own tests */
  async call<T extends object>(method: string, path: string, body?: object): Promise<T> {
    const url = new URL(`/api/v1${path}`, this.options.url);
    const token = this.token();
    let response: Response;
    let text: string;
    try {
      response = await fetch(url, {
        method,
        headers: {
          authorization: `Bearer ${token}`,
          ...(body !== undefined && { 'content-type': 'application/json' }),
        },
        ...(body !== undefined && { body: JSON.stringify(body) }),
        signal: AbortSignal.timeout(TIMEOUT_MS),
        // A redirect could take the token elsewhere.
        redirect: 'error',
      });
      text = await response.text();
    } catch (error) {
      const { cause, message } = error as Error & { cause?: { code?: string } };
      throw new CliError(
        `${url.origin} cannot be reached: ${cause?.code ?? message} (--url or SLUICE_URL names the management port of an instance)`,
        NOT_REACHED,
      );
    }
    const answer = parsed(text);
    if (!response.ok) {
      throw new CliError(refusal(response.status, answer), REFUSED);
    }
    if (response.status === 202 || (Array.isArray(answer['silent']) && answer['silent'].length > 0)) {
      process.exitCode = IN_PART;
    }
    return answer as T;
  }

  /** All entries of a list, page by page. */
  async list<Name extends keyof Lists>(
    name: Name,
    query: Readonly<Record<string, string | undefined>>,
    most: number,
  ): Promise<{ entries: Entry<Name>[]; silent: string[]; isCut: boolean }> {
    const entries: Entry<Name>[] = [];
    const silent = new Set<string>();
    let cursor: string | undefined;
    do {
      const parameters = new URLSearchParams({ limit: String(Math.min(PAGE, most - entries.length)) });
      for (const [parameter, value] of Object.entries({ ...query, cursor })) {
        if (value !== undefined) {
          parameters.set(parameter, value);
        }
      }
      const answer = await this.call<Lists[Name]>('GET', `/${name}?${parameters.toString()}`);
      entries.push(...(answer as Record<Name, Entry<Name>[]>)[name]);
      if ('silent' in answer) {
        answer.silent.forEach((instance) => silent.add(instance));
      }
      ({ cursor } = answer);
    } while (cursor !== undefined && entries.length < most);
    return { entries, silent: [...silent].sort(), isCut: cursor !== undefined };
  }

  private token(): string {
    const { token, tokenFile } = this.options;
    if (token === undefined && tokenFile === undefined) {
      throw new CliError(
        'there is no token: set API_TOKEN or API_TOKEN_FILE as the instances have it, or give --token-file (in the chart it is api.existingSecret)',
        WRONG_USE,
      );
    }
    const text = token ?? readFileSync(tokenFile as string, 'utf8');
    // While tokens are replaced there are several; the last one is the newest.
    return text.split(/\s+/).filter(Boolean).at(-1) ?? '';
  }
}

function parsed(text: string): Json {
  try {
    return JSON.parse(text) as Json;
  } catch {
    return {};
  }
}

function refusal(status: number, answer: Json): string {
  const detail = answer['detail'] ?? answer['title'] ?? answer['message'] ?? 'refused';
  const hint = status === 404 && answer['code'] === undefined ? ' (is API_TOKEN set on the instance?)' : '';
  return `${status} ${shown(answer['code'] ?? '')} ${shown(detail)}${hint}`.replace(/ {2,}/, ' ');
}
