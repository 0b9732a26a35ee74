import { randomBytes } from 'node:crypto';
import { IngestSlots } from '../ingest/ports.js';
import { connectionOf, type StorePlace } from './connection/scripts.js';

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
