import { generateKeyPairSync } from 'node:crypto';
import { Injectable, Module } from '@nestjs/common';
import { Test, type TestingModule } from '@nestjs/testing';
import { ConfigModule } from '../config/config.module.js';
import { loadConfig } from '../config/load-config.js';
import { FilesModule } from '../files/files.module.js';
import { MetricsModule } from '../metrics/metrics.module.js';
import { AuthModule } from './auth.module.js';
import { TokenSigner } from './token-signer.js';
import { TokenVerifier } from './token-verifier.js';
import { WsJwtGuard } from './ws-jwt.guard.js';

/** Stands for the gateway, which gets the guard and the verifier in its own module. */
@Injectable()
class Consumer {
  constructor(
    readonly verifier: TokenVerifier,
    readonly guard: WsJwtGuard,
    readonly signer: TokenSigner,
  ) {}
}

@Module({ imports: [AuthModule], providers: [Consumer] })
class ConsumerModule {}

describe(AuthModule.name, () => {
  let app: TestingModule | undefined;
  const start = async (env: Record<string, string>): Promise<Consumer> => {
    app = await Test.createTestingModule({
      imports: [ConfigModule.forRoot(loadConfig(env)), MetricsModule, FilesModule, ConsumerModule],
    }).compile();
    await app.init();
    return app.get(Consumer);
  };
  const production = {
    NODE_ENV: 'production',
    MQTT_URL: 'mqtt://127.0.0.1:1883',
    WS_ALLOWED_ORIGINS: '*',
  };
  const claims = { userId: 'dev', deviceIds: ['pump-1', '*'], permissions: ['read'] as const };

  afterEach(async () => {
    await app?.close();
    app = undefined;
  });

  it('generates a secret in development and signs tokens with it', async () => {
    const { signer, verifier } = await start({});
    expect(signer.available).toBe(true);
    const token = await verifier.verify(signer.sign(claims, 60));
    expect(token).toMatchObject({ userId: 'dev' });
    expect(token.grants.exactIds).toEqual(['pump-1']);
    expect(token.grants.canCommand('pump-1')).toBe(false);
  });

  it('generates another secret at every start', async () => {
    const token = (await start({})).signer.sign(claims, 60);
    await app?.close();
    await expect((await start({})).verifier.verify(token)).rejects.toMatchObject({ reason: 'invalid' });
  });

  it('signs tokens that its own issuer and audience settings accept', async () => {
    const { signer, verifier } = await start({ JWT_ISSUER: 'me', JWT_AUDIENCE: 'sluice' });
    await expect(verifier.verify(signer.sign(claims, 60))).resolves.toMatchObject({ userId: 'dev' });
  });

  it('signs nothing in production', async () => {
    const { signer } = await start({ ...production, JWT_SECRET: 'x'.repeat(32) });
    expect(signer.available).toBe(false);
    expect(() => signer.sign(claims, 60)).toThrow(/only in development/);
  });

  it('signs nothing where it has only a public key', async () => {
    const { publicKey } = generateKeyPairSync('ed25519');
    const { signer } = await start({
      JWT_PUBLIC_KEY: String(publicKey.export({ type: 'spki', format: 'pem' })),
    });
    expect(signer.available).toBe(false);
  });

  it('starts and stops while the JWKS server is down', async () => {
    const { verifier, signer } = await start({ ...production, JWT_JWKS_URL: 'http://127.0.0.1:9/jwks' });
    expect(signer.available).toBe(false);
    const token = `${Buffer.from('{"alg":"RS256"}').toString('base64url')}.e30.AAAA`;
    await expect(verifier.verify(token)).rejects.toMatchObject({ reason: 'unavailable' });
  });
});
