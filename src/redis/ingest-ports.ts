import { randomBytes } from 'node:crypto';
import {
  IngestLease,
  IngestReaders,
  IngestSlots,
  type LeasePhase,
  type LeaseState,
} from '../ingest/ports.js';
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

/** Slots in Redis: one hash that expires when no instance is left, changed only by redis/lua/slots.lua. */
export class RedisIngestSlots extends IngestSlots {
  private readonly owner = randomBytes(8).toString('hex');
  private readonly headKey: string;

  /**
   * @param leaseMs life of a slot without renewal
   * @param forgetMs time after which slots of a deployment that is gone are forgotten
   */
  constructor(
    private readonly place: StorePlace,
    private readonly leaseMs: number,
    private readonly forgetMs: number,
  ) {
    super();
    this.headKey = `${place.prefix}head`;
  }

  async take(preferred?: number): Promise<number> {
    return (await this.run('take', preferred ?? '')) as number;
  }

  async renew(number: number, up: boolean): Promise<boolean> {
    return (await this.run('renew', number, up ? 1 : 0)) === 1;
  }

  async release(number: number): Promise<void> {
    await this.run('release', number);
  }

  async watch(): Promise<{ abandoned: number; othersUp: number }> {
    const [abandoned, othersUp] = (await this.run('watch')) as [number, number];
    return { abandoned, othersUp };
  }

  async adopt(): Promise<number | null> {
    const number = (await this.run('adopt')) as number;
    return number < 0 ? null : number;
  }

  private async run(what: string, ...more: (string | number)[]): Promise<unknown> {
    const args = [this.owner, this.leaseMs, this.forgetMs, ...more].map(String);
    return connectionOf(this.place).sluiceSlots(this.headKey, what, ...args);
  }
}

/** The instances that may read, in Redis: one hash that expires, changed only by redis/lua/readers.lua. */
export class RedisIngestReaders extends IngestReaders {
  private readonly headKey: string;

  /** @param leaseMs time after which a silent instance is forgotten */
  constructor(
    private readonly place: StorePlace,
    private readonly leaseMs: number,
  ) {
    super();
    this.headKey = `${place.prefix}head`;
  }

  async attend(instance: string, held: number): Promise<Map<string, number>> {
    const living = (await this.run('attend', instance, String(this.leaseMs), String(held))) as string[];
    const readers = new Map<string, number>();
    for (let at = 0; at < living.length; at += 2) {
      readers.set(living[at] as string, Number(living[at + 1]));
    }
    return readers;
  }

  async leave(instance: string): Promise<void> {
    await this.run('leave', instance);
  }

  private async run(what: string, ...args: string[]): Promise<unknown> {
    return connectionOf(this.place).sluiceReaders(this.headKey, what, ...args);
  }
}
