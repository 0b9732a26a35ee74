import { testConfig } from '../../../test/support/test-config.js';
import { Metrics } from '../../metrics/metrics.js';
import { type Division, type SharedStore, type StoreIdentity, UNDIVIDED } from '../ports.js';
import { StoreClaims } from './store-claims.js';
import { Upstream } from '../upstream.js';

const LEASE_MS = 1_500;
let now = 0;

/** An instance whose claims the test passes on. */
class Instance {
  readonly sent: string[] = [];
  readonly names: string[] = [];
  readonly upstream: Upstream;
  readonly claims: StoreClaims;

  constructor(
    public store: StoreIdentity,
    mode: 'leased' | 'shared' = 'leased',
    division = UNDIVIDED,
  ) {
    const metrics = new Metrics();
    this.upstream = new Upstream(metrics);
    const config = testConfig({ REDIS_URL: 'redis://r', MQTT_URL: 'mqtt://b', MQTT_INGEST: mode });
    this.claims = new StoreClaims(
      {
        config,
        metrics,
        division,
        upstream: this.upstream,
        store: { identify: () => Promise.resolve(this.store) } as unknown as SharedStore,
      },
      { claim: (payload) => this.sent.push(payload), claimUnder: (name) => this.names.push(name) },
      () => now,
    );
  }

  hears(other: Instance): void {
    this.claims.heard(Buffer.from(other.sent.at(-1) ?? ''));
  }
}

const store = (id: string, bornMs = 1): StoreIdentity => ({ id, bornMs, group: 'g' });

async function reading(...of: ConstructorParameters<typeof Instance>): Promise<Instance> {
  const instance = new Instance(...of);
  await instance.claims.identify();
  instance.claims.renew(0);
  return instance;
}

describe(StoreClaims.name, () => {
  beforeEach(() => (now = 0));

  it('reads for no store that it does not know', () => {
    const instance = new Instance(store('a'));
    expect(instance.claims.free).toBe(false);
    instance.claims.renew(0);
    expect(instance.sent).toEqual([]);
  });

  it('begins where readers of the same store live, and where nobody does', async () => {
    const [one, other] = [await reading(store('a')), new Instance(store('a'))];
    await other.claims.identify();
    expect(other.claims.free).toBe(true);
    other.hears(one);
    expect([other.claims.free, other.upstream.hindrance]).toEqual([true, undefined]);
  });

  it('does not begin while a reader of another store lives, and begins when that one is silent or has left', async () => {
    const one = await reading(store('a'));
    const other = new Instance(store('b', 2));
    other.hears(one); // retained: heard before its own store has answered
    await other.claims.identify();
    expect(other.claims.free).toBe(false);
    expect(other.upstream.hindrance).toMatch(/namespace sluice read under the same names/);
    now = LEASE_MS - 1;
    one.claims.renew(0);
    other.hears(one);
    now = 2 * LEASE_MS - 2;
    expect(other.claims.free).toBe(false);
    now = 2 * LEASE_MS;
    other.claims.tell();
    expect([other.claims.free, other.upstream.hindrance]).toEqual([true, undefined]);
    one.claims.renew(0);
    other.hears(one);
    one.claims.withdraw();
    other.hears(one);
    expect(other.claims.free).toBe(true);
  });

  it('leaves the names to the older store where both read: they began at the same moment', async () => {
    const [older, younger] = [await reading(store('z', 1)), await reading(store('a', 2))];
    older.hears(younger);
    younger.hears(older);
    expect([older.claims.yields, younger.claims.yields]).toEqual([false, true]);
  });

  it('does not begin where instances with another MQTT_INGEST read from the same store', async () => {
    const [leased, shared] = [await reading(store('a')), new Instance(store('a'), 'shared')];
    await shared.claims.identify();
    shared.hears(leased);
    expect(shared.claims.free).toBe(false);
    expect(shared.upstream.hindrance).toMatch(/MQTT_INGEST=leased .* with all instances stopped/);
    expect(shared.names).toEqual(['g']);
  });

  it('does not begin while instances read that divide the topics in another way, and leaves them to those', async () => {
    const dividing = (name: string): Division => ({ ...UNDIVIDED, name });
    const whole = await reading(store('a'));
    const halves = new Instance(store('a'), 'leased', dividing('abc'));
    await halves.claims.identify();
    halves.hears(whole);
    expect([halves.claims.free, halves.claims.otherDivision]).toEqual([false, true]);
    expect(halves.upstream.hindrance).toMatch(/another INGEST_SHARDS.*this one begins when they are gone/);
    const alike = await reading(store('a'), 'leased', dividing('abc'));
    whole.claims.withdraw();
    halves.hears(whole);
    halves.hears(alike);
    expect([halves.claims.free, halves.claims.otherDivision]).toEqual([true, false]);
    // Both began in the same moment: one of them ends, and it is the same one for both.
    halves.claims.renew(0);
    whole.hears(halves);
    whole.claims.renew(0);
    now = LEASE_MS;
    await halves.claims.identify();
    whole.claims.renew(0);
    halves.hears(whole);
    await halves.claims.identify();
    expect([whole.claims.yields, halves.claims.yields]).toEqual([false, true]);
  });

  it('goes on when its Redis comes back empty, whatever claims of before are still under way', async () => {
    const [one, other] = [await reading(store('a')), await reading(store('a'))];
    one.store = other.store = store('b', 9);
    await one.claims.identify();
    one.hears(other); // which has not noticed yet
    expect([one.claims.free, one.claims.yields]).toEqual([true, false]);
    now = 11 * LEASE_MS;
    other.claims.renew(0);
    one.hears(other);
    expect(one.claims.free).toBe(false); // for so long it is no mistake: another server
  });

  // An instance that had not asked yet took the first one's claim for another server's: an error in the log, and not ready for a moment.
  it('asks its store who it is before it says that a claim it does not know is of another one', async () => {
    const [one, other] = [await reading(store('a')), await reading(store('a'))];
    now = LEASE_MS;
    one.store = other.store = store('b', 9);
    await one.claims.identify();
    one.claims.renew(0);
    other.hears(one);
    expect([other.claims.free, other.claims.yields, other.upstream.hindrance]).toEqual([
      false,
      false,
      undefined,
    ]);
    now += 10;
    await other.claims.identify();
    expect([other.claims.free, other.upstream.hindrance]).toEqual([true, undefined]);
  });

  it('claims once for all readers of a store in an interval', async () => {
    const [one, other] = [await reading(store('a')), new Instance(store('a'))];
    await other.claims.identify();
    other.hears(one);
    other.claims.renew(0);
    expect(other.sent).toEqual([]);
    now = LEASE_MS / 3;
    other.claims.renew(0);
    expect(other.sent).toHaveLength(1);
  });

  it.each([
    '',
    'x',
    '1',
    '{}',
    '{"store":"b","bornMs":"1","mode":"leased","namespace":"n","behindMs":0}',
    '{"store":1}',
  ])('ignores what is no claim: %j', async (text) => {
    const instance = await reading(store('a'));
    instance.claims.heard(Buffer.from(text));
    expect(instance.claims.free).toBe(true);
  });

  it('tells all instances what the furthest behind of the readers is', async () => {
    const [one, other] = [await reading(store('a')), await reading(store('a'))];
    other.hears(one);
    other.claims.renew(1_000); // has nothing to add
    other.claims.renew(9_000);
    expect(other.sent).toHaveLength(2);
    one.hears(other);
    expect([one.claims.furthestBehind(5), one.claims.furthestBehind(20_000)]).toEqual([9_000, 20_000]);
    one.claims.renew(9_500); // as far behind as is known
    expect(one.sent).toHaveLength(1);
    now = LEASE_MS;
    expect(one.claims.furthestBehind(5)).toBe(5);
  });

  it('remembers sixteen other readers at most', async () => {
    const instance = await reading(store('a'));
    for (let other = 0; other < 40; other += 1) {
      instance.hears(await reading(store(`other-${other}`)));
    }
    expect((instance.claims as unknown as { others: Map<string, unknown> }).others.size).toBe(16);
  });
});
