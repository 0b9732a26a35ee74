import { IngestLease, type LeasePhase, type LeaseState } from '../ingest/ports.js';
import { connectionOf, type StorePlace } from './connection/scripts.js';

/** The ingest lease in Redis: one key that expires, changed only by redis/lua/lease.lua, which compares the token. */
export class RedisIngestLease extends IngestLease {
  private readonly headKey: string;
  private readonly shard: string;

  /**
   * @param place of the first partition, whose fence tokens must exceed
   * @param leaseMs life of the lease without renewal
   * @param shard the first one has the names of the only one
   */
  constructor(
    private readonly place: StorePlace,
    private readonly leaseMs: number,
    shard = 0,
  ) {
    super();
    this.shard = shard === 0 ? '' : `:${shard}`;
    this.headKey = `${place.prefix}head`;
  }

  async acquire(replacing: number, lastSeen: number): Promise<number | null> {
    const token = await this.run('acquire', replacing, lastSeen, this.leaseMs);
    return token === null ? null : Number(token);
  }

  async renew(token: number, phase: LeasePhase): Promise<boolean> {
    return (await this.run('renew', token, phase, this.leaseMs)) === 1;
  }

  async release(token: number): Promise<void> {
    await this.run('release', token);
  }

  async read(): Promise<LeaseState | null> {
    const answer = await this.run('read');
    const [token, phase, expiresInMs] = answer as [string | null, LeasePhase, number];
    return token === null ? null : { token: Number(token), phase, expiresInMs };
  }

  private async run(what: string, ...args: (string | number)[]): Promise<unknown> {
    return connectionOf(this.place).sluiceLease(this.headKey, what, this.shard, ...args.map(String));
  }
}
