import { ExecutionContextHost } from '@nestjs/core/helpers/execution-context-host.js';
import { ManualClock } from '../../test/auth/manual-clock.js';
import { loadConfig } from '../config/load-config.js';
import { Grants } from './grants.js';
import { Metrics } from '../metrics/metrics.js';
import { RevocationsService } from './revocations.js';
import { type Authenticated, WsJwtGuard } from './ws-jwt.guard.js';

describe(WsJwtGuard.name, () => {
  const clock = new ManualClock();
  const config = loadConfig({ JWT_CLOCK_TOLERANCE_S: '5' });
  const guard = new WsJwtGuard(config, clock, new RevocationsService(config, clock, new Metrics()));
  const message = (client: Authenticated): ExecutionContextHost => new ExecutionContextHost([client, {}]);
  const auth = { userId: 'ann', expiresAt: clock.now() + 60_000, grants: new Grants(['a']) };

  it('lets messages of a good connection pass', () => {
    expect(guard.canActivate(message({ auth }))).toBe(true);
  });

  it('refuses messages of a connection without a token', () => {
    expect(() => guard.canActivate(message({}))).toThrow(expect.objectContaining({ reason: 'missing' }));
  });

  it('refuses messages once the token is expired, tolerance included, until it is refreshed', () => {
    const client: { auth: typeof auth } = { auth };
    clock.advance(64_999);
    expect(guard.canActivate(message(client))).toBe(true);
    clock.advance(1);
    expect(() => guard.canActivate(message(client))).toThrow(expect.objectContaining({ reason: 'expired' }));
    client.auth = { ...auth, expiresAt: clock.now() + 60_000 };
    expect(guard.canActivate(message(client))).toBe(true);
  });
});
