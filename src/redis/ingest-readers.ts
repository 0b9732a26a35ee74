import { IngestReaders } from '../ingest/ports.js';
import { connectionOf, type StorePlace } from './connection/scripts.js';

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
