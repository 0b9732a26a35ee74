import { isDeviceId } from '../protocol/device-id.js';
import { IdPatternSet, normalPattern } from '../protocol/id-pattern.js';

export type Permission = 'read' | 'command';

const ALL_PERMISSIONS: readonly Permission[] = ['read', 'command'];

/**
 * Which devices the bearer of a token may watch and command. Immutable, compiled once per token and shared by all its connections.
 * `*` may also be a character of a device id; in a grant it is always the wildcard.
 */
export class Grants {
  /** Legal exact ids with read permission, without repeats and in the token's order; patterns are never expanded. */
  readonly exactIds: readonly string[];
  /** Legal patterns with read permission, runs of `*` made one. */
  readonly patterns: readonly string[];
  private readonly exact: ReadonlySet<string>;
  private readonly wildcards: IdPatternSet;
  private readonly mayRead: boolean;
  private readonly mayCommand: boolean;

  /**
   * @param deviceIds exact ids and `*` patterns; what is neither grants nothing
   * @param permissions unknown values grant nothing
   */
  constructor(deviceIds: readonly string[], permissions: readonly unknown[] = ALL_PERMISSIONS) {
    this.mayRead = permissions.includes('read');
    this.mayCommand = permissions.includes('command');
    this.exact = new Set(deviceIds.filter((entry) => !entry.includes('*') && isDeviceId(entry)));
    this.wildcards = new IdPatternSet(
      deviceIds.map(normalPattern).filter((pattern) => pattern !== undefined),
    );
    this.exactIds = Object.freeze(this.mayRead ? [...this.exact] : []);
    this.patterns = this.mayRead ? this.wildcards.sources : Object.freeze([]);
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
    return this.exact.has(deviceId) || this.wildcards.matchesId(deviceId);
  }
}
