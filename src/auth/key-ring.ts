import { createHash, createSecretKey, type KeyObject } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { Logger } from '@nestjs/common';
import { checkSecret, JWKS_MAX_BYTES, type NamedKey, readJwks } from '../config/jwks.js';
import { secretIn } from '../config/load-config.js';
import { readPublicKey } from '../config/public-key.js';
import type { Reloads } from '../files/reloads.js';
import { background } from '../logging/walls.js';
import type { Clock } from '../time/clock.js';
import type { TokenKey } from './claims.js';

/** The settings that hold keys. */
export type KeySetting = 'JWT_SECRET' | 'JWT_PUBLIC_KEY' | 'JWT_JWKS';

/** Where keys are read again. */
export interface KeyFile {
  readonly setting: KeySetting;
  readonly path: string;
  /** The content of the file that is in use. */
  text: string;
}

/** A key of the settings. Tokens that it verified refer to it. */
export interface RingKey extends NamedKey, TokenKey {
  isGone: boolean;
}

/** Time between two looks at a file: a change holds within ten seconds. */
const LOOK_EVERY_MS = 4_000;
/** A change is taken when it is still there after this time: a file that is being written is not read half. */
const SETTLED_MS = 1_000;

/** Reads keys as the setting has them. @throws Error with advice; never with a part of a key */
export function keysIn(setting: KeySetting, text: string): { keys: NamedKey[]; ignored: number } {
  switch (setting) {
    case 'JWT_SECRET': {
      const fault = checkSecret(text);
      if (fault !== undefined) {
        throw new Error(fault);
      }
      const key = createSecretKey(Buffer.from(text, 'utf8'));
      return { keys: [{ kid: undefined, algorithm: 'HS256', key }], ignored: 0 };
    }
    case 'JWT_PUBLIC_KEY':
      return { keys: [{ kid: undefined, ...readPublicKey(text) }], ignored: 0 };
    default:
      return readJwks(text);
  }
}

/**
 * The keys of one setting. If a file has them (`<NAME>_FILE`) it is read again when it changes, also where the kubelet swaps a link on the way
 * to it. A key that is not in it any more, or that is another one under the same `kid`, is gone at once, and with it the tokens it has
 * signed. A file that is gone, empty, broken or without a key changes nothing: it is logged, and the keys go on.
 */
export class KeyRing {
  keys: readonly RingKey[];
  /** The algorithms of the keys. */
  algorithms: readonly string[];
  /** Number of times that keys were removed: tokens that were verified before must be verified again. */
  generation = 0;
  private readonly logger = new Logger('KeyAudit');
  /** What the last look at the file found, if that is not in use: new content, or a fault that was logged. */
  private seen: string | undefined;
  private isTold = false;
  private cancelTimer: (() => void) | undefined;
  private removeReload: (() => void) | undefined;
  private stopped = false;

  /**
   * @param keys at the start
   * @param file that they are from, and its content then; null if nothing changes
   * @param gone called in the step in which keys have gone
   */
  constructor(
    keys: readonly NamedKey[],
    private readonly file: KeyFile | null,
    private readonly clock: Clock,
    private readonly reloads: Reloads,
    private readonly gone: () => void,
  ) {
    this.keys = ringOf(keys, []);
    this.algorithms = algorithmsOf(this.keys);
  }

  start(): void {
    if (this.file !== null) {
      this.removeReload = this.reloads.add(this.name, () => this.readNow());
      this.lookAfter(LOOK_EVERY_MS);
    }
  }

  stop(): void {
    this.stopped = true;
    this.cancelTimer?.();
    this.removeReload?.();
  }

  private get name(): string {
    return `${this.file?.setting ?? ''}_FILE`;
  }

  /** Reads the file and takes it, changed or not. @throws Error with advice: the keys go on */
  private async readNow(): Promise<void> {
    const text = await this.read();
    this.take(text);
    this.seen = undefined;
  }

  private lookAfter(delayMs: number): void {
    this.cancelTimer = this.clock.after(delayMs, () => {
      const looked = this.look().then((isSettling) => {
        if (!this.stopped) {
          this.lookAfter(isSettling ? SETTLED_MS : LOOK_EVERY_MS);
        }
      });
      background('auth', looked, () => this.lookAfter(LOOK_EVERY_MS));
    });
  }

  /** @returns whether the content is new, so that it is looked at again soon */
  private async look(): Promise<boolean> {
    let now: string;
    try {
      now = `=${await this.read()}`;
    } catch (error) {
      now = `!${(error as Error).message}`;
    }
    if (this.stopped || now === `=${this.file?.text ?? ''}`) {
      this.seen = undefined;
      return false;
    }
    if (now !== this.seen) {
      this.seen = now;
      this.isTold = false;
      return true;
    }
    if (!this.isTold) {
      this.isTold = true;
      this.settle(now);
    }
    return false;
  }

  private settle(now: string): void {
    try {
      if (now.startsWith('!')) {
        throw new Error(now.slice(1));
      }
      this.take(now.slice(1));
      this.reloads.taken(this.name);
    } catch (error) {
      this.reloads.refused(this.name, error);
    }
  }

  private async read(): Promise<string> {
    try {
      const { path } = this.file as KeyFile;
      if ((await stat(path)).size > JWKS_MAX_BYTES) {
        throw new Error(`has more than ${JWKS_MAX_BYTES} bytes`);
      }
      return secretIn(await readFile(path, 'utf8'));
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      throw new Error(code === undefined ? message : `cannot be read (${code})`, { cause: error });
    }
  }

  /** @throws Error with advice, and nothing has changed */
  private take(text: string): void {
    const file = this.file as KeyFile;
    const { keys: read, ignored } = keysIn(file.setting, text);
    const before = new Set(this.keys);
    const keys = ringOf(read, this.keys);
    const now = new Set(keys);
    const lost = [...before].filter((key) => !now.has(key));
    const added = keys.filter((key) => !before.has(key));
    file.text = text;
    this.keys = keys;
    this.algorithms = algorithmsOf(keys);
    if (lost.length === 0 && added.length === 0) {
      return;
    }
    this.logger.log({
      msg: 'keys of tokens changed',
      file: this.name,
      keys: keys.length,
      added: added.map(kidOf),
      gone: lost.map(kidOf),
      ignored,
    });
    if (lost.length > 0) {
      this.generation += 1;
      for (const key of lost) {
        key.isGone = true;
      }
      this.gone();
    }
  }
}

/** Keys that were there before keep their identity, and with it their tokens. */
function ringOf(keys: readonly NamedKey[], before: readonly RingKey[]): RingKey[] {
  const known = new Map(before.map((key) => [nameOf(key), key]));
  const ring = new Map<string, RingKey>();
  for (const key of keys) {
    const name = nameOf(key);
    ring.set(name, known.get(name) ?? { ...key, isGone: false });
  }
  return [...ring.values()];
}

function algorithmsOf(keys: readonly RingKey[]): string[] {
  return [...new Set(keys.map(({ algorithm }) => algorithm))];
}

const kidOf = ({ kid }: NamedKey): string => kid ?? '(no kid)';

/** Two entries have equal names if they have the same key under the same `kid`. */
function nameOf({ kid, key }: NamedKey): string {
  return `${fingerprint(key)} ${kid ?? ''}`;
}

function fingerprint(key: KeyObject): string {
  const bytes = key.type === 'secret' ? key.export() : key.export({ type: 'spki', format: 'der' });
  return createHash('sha256').update(bytes).digest('base64');
}
