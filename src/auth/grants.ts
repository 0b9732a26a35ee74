import { isDeviceId } from '../protocol/device-id.js';
import { IdPatternSet, normalPattern } from '../protocol/id-pattern.js';

export type Permission = 'read' | 'command';

const ALL_PERMISSIONS: readonly Permission[] = ['read', 'command'];
const NO_IDS: readonly string[] = Object.freeze([]);
/** Shared, since most tokens have no patterns, and a set is kept per token. */
const NO_PATTERNS = new IdPatternSet([]);
/** Up to this many ids are searched linearly: a set of them would be most of a token's memory. */
const FEW_IDS = 16;

/**
 * The devices that the bearer of a token may read and command. Immutable, compiled once per token and shared by all its connections. `*`
 * may also be a character of a device id; in a grant it is always the wildcard.
 */
export class Grants {
  /** Legal exact ids with read permission, without duplicates and in the token's order; patterns are never expanded. */
  readonly exactIds: readonly string[];
  /** Legal patterns with read permission, runs of `*` reduced to one. */
  readonly patterns: readonly string[];
  private readonly exact: readonly string[] | ReadonlySet<string>;
  private readonly wildcards: IdPatternSet;
  private readonly mayRead: boolean;
  private readonly mayCommand: boolean;

  /**
   * @param deviceIds exact ids and `*` patterns; others grant nothing
   * @param permissions unknown values grant nothing
   */
  constructor(deviceIds: readonly string[], permissions: readonly unknown[] = ALL_PERMISSIONS) {
    this.mayRead = permissions.includes('read');
    this.mayCommand = permissions.includes('command');
    const ids: string[] = [];
    const patterns: string[] = [];
    for (const entry of deviceIds) {
      if (entry.includes('*')) {
        const pattern = normalPattern(entry);
        if (pattern !== undefined) {
          patterns.push(pattern);
        }
      } else if (isDeviceId(entry)) {
        ids.push(entry);
      }
    }
    const set = new Set(ids);
    const distinct = Object.freeze([...set]);
    this.exact = set.size > FEW_IDS ? set : distinct;
    this.wildcards = patterns.length > 0 ? new IdPatternSet(patterns) : NO_PATTERNS;
    this.exactIds = this.mayRead ? distinct : NO_IDS;
    this.patterns = this.mayRead ? this.wildcards.sources : NO_IDS;
    Object.freeze(this);
  }

  /** Whether the device's data may be subscribed to. Illegal ids: no. */
  canRead(deviceId: string): boolean {
    return this.mayRead && this.includes(deviceId);
  }

  /** Whether commands may be sent to the device. Illegal ids: no. */
  canCommand(deviceId: string): boolean {
    return this.mayCommand && this.includes(deviceId);
  }

  /**
   * Whether every present and future device that `pattern` matches may be read: `plant-7.*` covers `plant-7.pump-*`, not
   * `plant-*`. Illegal patterns: no. Text without `*` is one id. See {@link IdPatternSet.covers} for what "every" means.
   */
  coversPattern(pattern: string): boolean {
    if (!pattern.includes('*')) {
      return this.canRead(pattern);
    }
    const normal = normalPattern(pattern);
    return this.mayRead && normal !== undefined && this.wildcards.covers(normal);
  }

  private includes(deviceId: string): boolean {
    const { exact } = this;
    return (
      (exact instanceof Set ? exact.has(deviceId) : (exact as readonly string[]).includes(deviceId)) ||
      this.wildcards.matchesId(deviceId)
    );
  }
}
