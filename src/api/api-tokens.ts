import { createHash, timingSafeEqual } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { Inject, Injectable, Logger, Optional } from '@nestjs/common';
import { apiTokensFault, apiTokensOf } from '../config/api-tokens.js';
import { CONFIG, type Config } from '../config/config.js';

/** Age at which API_TOKEN_FILE is read again. */
const MAX_AGE_MS = 5_000;
/** Most bytes of a token file. A larger file is not read, because it is certainly another one, named by mistake. */
const MAX_FILE_BYTES = 64 * 1024;

/** No module provides it: tests replace the clock by it. */
const NOW = 'SLUICE:API_TOKENS_NOW';

interface KnownToken {
  readonly digest: Buffer;
  /** Names it in audit lines: the first 8 hexadecimal digits of its SHA-256, which say nothing of a token of 32 characters. */
  readonly name: string;
}

/**
 * The tokens of the server API. Those of a file are read anew, so that one can be put beside the old one and the old one taken away without a
 * restart. A file that is gone or faulty changes nothing, and is said in the log.
 */
@Injectable()
export class ApiTokens {
  private readonly logger = new Logger('Api');
  private readonly file: string | undefined;
  private tokens: readonly KnownToken[];
  private readAt: number;
  private reading: Promise<void> | null = null;
  private fault = '';

  /** @param now monotonic ms; replaced in tests */
  constructor(
    @Inject(CONFIG) { api, files }: Config,
    @Optional() @Inject(NOW) private readonly now: () => number = () => performance.now(),
  ) {
    this.readAt = now();
    this.file = files['API_TOKEN'];
    this.tokens = api.token === undefined ? [] : apiTokensOf(api.token).map(known);
  }

  /** Without a token there is no API. */
  get any(): boolean {
    return this.tokens.length > 0;
  }

  /** @returns the name of the token in an Authorization header, or null when it is none of these */
  async nameOf(header: string | undefined): Promise<string | null> {
    const token = /^Bearer ([\w\-.~+/]+=*)$/i.exec(header ?? '')?.[1];
    if (token === undefined) {
      return null;
    }
    await this.refresh();
    const { digest } = known(token);
    let name: string | null = null;
    // All are compared, in constant time each: the time says nothing of which one it is like.
    for (const one of this.tokens) {
      name = timingSafeEqual(one.digest, digest) ? one.name : name;
    }
    return name;
  }

  private async refresh(): Promise<void> {
    const { file } = this;
    if (file !== undefined && this.now() - this.readAt >= MAX_AGE_MS) {
      this.reading ??= this.read(file).finally(() => {
        this.readAt = this.now();
        this.reading = null;
      });
      await this.reading;
    }
  }

  private async read(file: string): Promise<void> {
    let fault: string | undefined;
    try {
      const text = await readFile(file, 'utf8');
      fault = text.length > MAX_FILE_BYTES ? 'is too large' : apiTokensFault(text);
      if (fault === undefined) {
        this.tokens = apiTokensOf(text).map(known);
      }
    } catch (error) {
      fault = `cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unreadable'})`;
    }
    if (fault !== undefined && fault !== this.fault) {
      this.logger.error(`API_TOKEN_FILE: ${fault}; the tokens read before stay`, {
        file: 'API_TOKEN_FILE',
        reason: fault,
      });
    }
    this.fault = fault ?? '';
  }
}

function known(token: string): KnownToken {
  const digest = createHash('sha256').update(token).digest();
  return { digest, name: digest.toString('hex', 0, 4) };
}
