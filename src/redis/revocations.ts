import {
  type LogPosition,
  MAX_PER_CALL,
  MAX_REVOCATIONS,
  type Revocation,
  type RevocationChange,
  type RevocationPage,
  RevocationStore,
} from '../auth/revocation-store.js';
import type { Metrics } from '../metrics/metrics.js';
import { isObject } from '../protocol/json.js';
import type { StorePlace } from './connection/scripts.js';

/** Time for which Redis keeps a revocation beyond its end: clocks of instances differ, and each judges by its own. */
const KEPT_BEYOND_MS = 900_000;

/** Revocations in Redis, in one hash slot that does not depend on the number of partitions. */
export class RedisRevocationStore extends RevocationStore {
  private readonly key: string;

  constructor(
    private readonly place: StorePlace,
    private readonly metrics: Pick<Metrics, 'redisUnreadable'>,
  ) {
    super();
    this.key = `${place.prefix}revocations`;
  }

  override exchange(
    position: LogPosition,
    changes: readonly RevocationChange[],
  ): Promise<RevocationPage> | null {
    const redis = this.place.connection();
    if (redis === null) {
      return null;
    }
    const space = position.indexOf(' ');
    const [sequence, known] = space < 0 ? ['0', ''] : [position.slice(0, space), position.slice(space + 1)];
    const limits = [String(MAX_PER_CALL), String(MAX_REVOCATIONS), String(KEPT_BEYOND_MS)];
    return redis
      .sluiceRevocations(this.key, sequence, known, ...limits, ...changes.flatMap(encode))
      .then(([anew, last, change, complete, full, ...found]) => ({
        anew: anew === 1,
        position: change === '' ? '' : `${last} ${change}`,
        complete: complete === 1,
        full,
        changes: this.decodeAll(found),
      }));
  }

  private decodeAll(found: readonly string[]): RevocationChange[] {
    const changes: RevocationChange[] = [];
    for (let at = 0; at + 1 < found.length; at += 2) {
      const id = (found[at] as string).slice(1);
      const text = found[at + 1] as string;
      if (found[at]?.startsWith('-')) {
        changes.push({ id, record: null });
      } else if (text !== '') {
        const record = decode(id, text);
        if (record === undefined) {
          this.metrics.redisUnreadable.inc();
        } else {
          changes.push({ id, record });
        }
      } // otherwise it was lifted since, and that change follows
    }
    return changes;
  }
}

function encode({ id, record, keepUntil }: RevocationChange): string[] {
  const end = keepUntil === undefined ? 'inf' : String(keepUntil);
  if (record === null) {
    return [`-${id}`, end, ''];
  }
  const { id: _, ...rest } = record;
  return [`+${id}`, end, JSON.stringify(rest)];
}

/** @returns undefined for what no instance of this release writes */
function decode(id: string, text: string): Revocation | undefined {
  let stored: unknown;
  try {
    stored = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isObject(stored)) {
    return undefined;
  }
  const { jti, userId, issuedBefore, createdAt, expiresAt } = stored;
  if (typeof createdAt !== 'number' || (expiresAt !== undefined && typeof expiresAt !== 'number')) {
    return undefined;
  }
  const rest = { id, createdAt, ...(expiresAt !== undefined && { expiresAt }) };
  if (typeof jti === 'string') {
    return { ...rest, jti };
  }
  return typeof userId === 'string' && typeof issuedBefore === 'number'
    ? { ...rest, userId, issuedBefore }
    : undefined;
}
