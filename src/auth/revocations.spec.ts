import { jest } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { ManualClock } from '../../test/auth/manual-clock.js';
import { loadConfig } from '../config/load-config.js';
import { Metrics } from '../metrics/metrics.js';
import type { VerifiedToken } from './claims.js';
import { Grants } from './grants.js';
import { MAX_REVOCATIONS } from './revocation-store.js';
import { RevocationsFullError, RevocationsService } from './revocations.js';

describe(RevocationsService.name, () => {
  let clock: ManualClock;
  let metrics: Metrics;
  let revocations: RevocationsService;

  beforeEach(() => {
    jest.spyOn(Logger.prototype, 'log').mockImplementation(() => undefined);
    clock = new ManualClock();
    metrics = new Metrics();
    revocations = new RevocationsService(loadConfig({ JWT_CLOCK_TOLERANCE_S: '5' }), clock, metrics);
    revocations.onModuleInit();
  });
  afterEach(() => {
    revocations.onModuleDestroy();
    jest.restoreAllMocks();
  });

  const token = (claims: Partial<VerifiedToken> = {}): VerifiedToken => ({
    userId: 'ann',
    expiresAt: clock.now() + 60_000,
    grants: new Grants([]),
    ...claims,
  });

  it('revokes one token by its jti, and no other of its user', async () => {
    expect(await revocations.add({ jti: 'one' })).toMatchObject({ durable: false, pending: false });
    expect(revocations.isRevoked(token({ jti: 'one' }))).toBe(true);
    expect(revocations.isRevoked(token({ jti: 'two' }))).toBe(false);
    expect(revocations.isRevoked(token())).toBe(false);
  });

  it.each([
    ['issued before now', -1, true],
    ['issued now', 0, true],
    ['issued later', 1, false],
    ['that does not say when it was issued', undefined, true],
  ])('revokes, of a user alone, a token %s: %s ms', async (_what, ms, isRevoked) => {
    await revocations.add({ userId: 'ann' });
    const issued = ms === undefined ? {} : { issuedAt: clock.now() + ms };
    expect(revocations.isRevoked(token(issued))).toBe(isRevoked);
    expect(revocations.isRevoked(token({ ...issued, userId: 'bob' }))).toBe(false);
  });

  it('revokes, with issuedBefore, tokens that were issued before it and not those of that moment', async () => {
    const issuedBefore = clock.now() - 10_000;
    await revocations.add({ userId: 'ann', issuedBefore });
    expect(revocations.isRevoked(token({ issuedAt: issuedBefore - 1 }))).toBe(true);
    expect(revocations.isRevoked(token({ issuedAt: issuedBefore }))).toBe(false);
  });

  it('takes user ids and jtis for names of two kinds, whatever they are', async () => {
    await revocations.add({ jti: 'ann' });
    await revocations.add({ userId: '__proto__' });
    expect(revocations.isRevoked(token({ jti: 'two' }))).toBe(false);
    expect(revocations.isRevoked(token({ userId: '__proto__' }))).toBe(true);
  });

  it('tells the listeners of revocations, in the step in which they hold, and not of lifted ones', async () => {
    const told: boolean[] = [];
    revocations.onRevoked(() => told.push(revocations.isRevoked(token({ jti: 'one' }))));
    const { id } = await revocations.add({ jti: 'one' });
    await revocations.remove(id);
    expect(told).toEqual([true]);
  });

  it('goes when the last of its tokens has expired, tolerance included', async () => {
    await revocations.add({ jti: 'one' }, clock.now() + 60_000);
    await revocations.add({ jti: 'two' });
    clock.advance(64_999);
    expect(await revocations.list()).toHaveLength(2);
    clock.advance(10_001);
    expect(await revocations.list()).toMatchObject([{ jti: 'two' }]);
    expect((await metrics.revocations.get()).values[0]?.value).toBe(1);
  });

  it('is lifted by its id; an earlier one of the same user holds on', async () => {
    const before = clock.now() - 10_000;
    const first = await revocations.add({ userId: 'ann', issuedBefore: before });
    const second = await revocations.add({ userId: 'ann' });
    expect(await revocations.remove(second.id)).toMatchObject({ id: second.id });
    expect(revocations.isRevoked(token({ issuedAt: before }))).toBe(false);
    expect(revocations.isRevoked(token({ issuedAt: before - 1 }))).toBe(true);
    await revocations.remove(first.id);
    expect(revocations.isRevoked(token())).toBe(false);
    expect(await revocations.remove(second.id)).toBeNull();
  });

  it('is the same when it says the same again', async () => {
    const first = await revocations.add({ jti: 'one' }, 1_800_000_000_000);
    expect((await revocations.add({ jti: 'one' }, 1_800_000_000_000)).id).toBe(first.id);
    expect((await revocations.add({ jti: 'one' })).id).not.toBe(first.id);
    expect(await revocations.list()).toHaveLength(2);
  });

  it('is refused, counted and not held when there are as many as are held', async () => {
    const ends = clock.now() + 1_000;
    for (let at = 0; at < MAX_REVOCATIONS; at += 1) {
      await revocations.add({ jti: `t-${at}` }, at === 0 ? ends : undefined);
    }
    await expect(revocations.add({ jti: 'more' })).rejects.toThrow(RevocationsFullError);
    expect(revocations.isRevoked(token({ jti: 'more' }))).toBe(false);
    expect(revocations.isRevoked(token({ jti: 't-99999' }))).toBe(true);
    expect((await metrics.revocationsRefused.get()).values[0]?.value).toBe(1);
    clock.advance(6_000);
    await revocations.add({ jti: 'more' });
    expect(revocations.isRevoked(token({ jti: 'more' }))).toBe(true);
  });
});
