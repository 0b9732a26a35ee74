import { readFile } from 'node:fs/promises';
import { formerSettings, warningsOf } from '../../src/config/former-settings.js';
import { type ConfigError, loadConfig } from '../../src/config/load-config.js';
import { settings as table } from '../../src/config/settings.js';
import { deployed } from './support/deployed.js';
import { chart, helm, root, runTemplate, template, templateArguments } from './support/helm.js';

const values = 'defaults';

interface Allowed {
  enum?: (string | boolean)[];
  anyOf?: { minimum?: number }[];
  pattern?: string;
}

/** Names of the settings that the program complains about. */
function problemsOf(env: Record<string, string>): string[] {
  try {
    loadConfig({ ...env, JWT_SECRET: 'k'.repeat(32) });
    return [];
  } catch (error) {
    return (error as ConfigError).problems.map((problem) => problem.split(':', 1)[0] ?? '');
  }
}

describe('the settings', () => {
  it('are ones with which the product starts', async () => {
    for (const name of ['defaults', 'no-redis']) {
      const objects = await template({ values: name });
      const data = objects.find(({ kind }) => kind === 'ConfigMap')?.data ?? {};
      const password = name === 'no-redis' ? { MQTT_PASSWORD: 'p' } : {};
      const config = loadConfig({ ...data, JWT_SECRET: 'k'.repeat(32), ...password });
      expect(config.production).toBe(true);
      expect(config.http).toMatchObject({ port: 8080, managementPort: 9090 });
    }
  });

  it('may be any that has no value of its own, written as text, number or boolean', async () => {
    const own = (await import(`${root}scripts/chart-docs.js`)) as { OWN_SETTINGS: string[] };
    const names = Object.values(table)
      .flatMap((area) => Object.values(area) as { env: string; secret: boolean }[])
      .filter(({ env, secret }) => !secret && !own.OWN_SETTINGS.includes(env))
      .map(({ env }) => env);
    expect(names).toEqual(
      expect.arrayContaining(['WS_MAX_PATTERN_ROOMS_PER_CONNECTION', 'JWT_CACHE_MAX_BYTES']),
    );
    const allowed = (
      JSON.parse(await readFile(`${chart}/values.schema.json`, 'utf8')) as {
        properties: { settings: { properties: Record<string, Allowed> } };
      }
    ).properties.settings.properties;
    expect(Object.keys(allowed).sort()).toEqual([...names].sort());
    const value = (name: string, index: number): string => {
      const { enum: one, anyOf, pattern } = allowed[name] ?? {};
      const texts = ['some text', '7', 'true'];
      const text =
        pattern === undefined ? texts[index % 3] : ['a', '/a'].find((one) => new RegExp(pattern).test(one));
      return String(one?.[1] ?? anyOf?.[0]?.minimum ?? text);
    };
    const set = names.map((name, index) => `settings.${name}=${value(name, index)}`);
    const { settings } = await deployed({ values, set });
    expect(settings).toMatchObject(
      Object.fromEntries(names.map((name, index) => [name, value(name, index)])),
    );
  });

  // LOG_LEVEL=verbose linted, and the pods crashed in a loop: the schema knew names, and no values.
  it.each(['verbose', '-1', '1.5', 'true', '99999999999999999', '/a path', ''])(
    'are refused by the schema where the program refuses them, and nowhere else: %j',
    async (value) => {
      const own = (await import(`${root}scripts/chart-docs.js`)) as { OWN_SETTINGS: string[] };
      const names = Object.values(table)
        .flatMap((area) => Object.values(area) as { env: string; secret: boolean }[])
        .filter(({ env, secret }) => !secret && !own.OWN_SETTINGS.includes(env))
        .map(({ env }) => env);
      const refusedByProgram = names.filter((name) => problemsOf({ [name]: value }).includes(name));
      // As it stands in a file of values: a number is one.
      const typed = /^-?\d+$/.test(value) ? value : JSON.stringify(value);
      const { stderr } = await runTemplate({
        values,
        set: [],
        json: names.map((name) => `settings.${name}=${typed}`),
      });
      const refusedBySchema = names.filter((name) => stderr.includes(`/settings/${name}'`));
      // What is in a file is for the program alone to say.
      const files = ['METADATA_FILE', 'TRANSFORM_FILE'];
      expect(refusedBySchema).toEqual(refusedByProgram.filter((name) => !files.includes(name)));
      expect(refusedBySchema.length).toBeGreaterThan(value === '' ? -1 : 1);
    },
  );

  it('may be ones of the release before, which the program warns about', async () => {
    const { settings } = await deployed({ values, set: formerSettings.map((name) => `settings.${name}=7`) });
    expect(settings).toMatchObject(Object.fromEntries(formerSettings.map((name) => [name, '7'])));
    const env = { ...settings, JWT_SECRET: 'k'.repeat(32) };
    expect(warningsOf(env, loadConfig(env))).toHaveLength(formerSettings.length);
  });

  it('write large numbers without an exponent', async () => {
    const { settings } = await deployed({ values, set: ['settings.HISTORY_TOTAL_MAX_BYTES=268435456'] });
    expect(settings['HISTORY_TOTAL_MAX_BYTES']).toBe('268435456');
  });

  it('allow the origins of the hosts when no others are named', async () => {
    const set = [
      'websocket.allowedOrigins=null',
      'ingress.enabled=true',
      'ingress.hosts={a.example,b.example}',
    ];
    const { settings } = await deployed({ values, set });
    expect(settings['WS_ALLOWED_ORIGINS']).toBe('https://a.example,https://b.example');
  });

  it('keep two releases on one Redis and broker apart', async () => {
    expect((await deployed({ values })).settings['NAMESPACE']).toBe('iot.live-sluice');
  });

  // A name of more than 64 characters was cut there: two releases in a namespace of 63 characters got the same NAMESPACE, and with it one
  // lease, the same keys and the rooms of each other. What is cut ends in a hash of the whole name now.
  it('keep two releases with long names apart', async () => {
    const namespaceOf = async (name: string) => {
      const { stdout } = await helm([
        ...['template', name, chart, '--namespace', 'n'.repeat(63), '--set', 'fullnameOverride=null'],
        ...templateArguments({ values }),
      ]);
      return /NAMESPACE: "(.*)"/.exec(stdout)?.[1] ?? '';
    };
    const both = [await namespaceOf('blue'), await namespaceOf('green')];
    expect(new Set(both).size).toBe(2);
    both.forEach((name) => expect(name).toMatch(/^n{53}-[0-9a-f]{10}$/));
  });

  it('read every secret from a file that is mounted', async () => {
    const { container, pod } = await deployed({ values: 'production' });
    const files = (container.env ?? []).filter(({ name }) => name.endsWith('_FILE'));
    expect(files.map(({ name }) => name)).toEqual([
      'JWT_PUBLIC_KEY_FILE',
      'MQTT_PASSWORD_FILE',
      'REDIS_URL_FILE',
      'MQTT_CA_FILE',
      'MQTT_CERT_FILE',
      'MQTT_KEY_FILE',
      'REDIS_CA_FILE',
    ]);
    const mounted = (container.volumeMounts ?? []).flatMap(({ name, mountPath }) =>
      (pod?.volumes?.find((volume) => volume.name === name)?.secret?.items ?? []).map(
        ({ path }) => `${mountPath}/${path}`,
      ),
    );
    expect(files.map(({ value }) => value)).toEqual(mounted);
    // The kubelet never swaps what is mounted by subPath: an updated Secret would need a restart.
    expect((container.volumeMounts ?? []).filter((mount) => 'subPath' in mount)).toEqual([]);
  });

  it('take a JWKS of any number of keys from a Secret', async () => {
    const { container } = await deployed({ values: 'production', set: ['jwt.kind=jwks'] });
    expect(container.env).toContainEqual({ name: 'JWT_JWKS_FILE', value: '/etc/sluice/jwt/key' });
    expect((container.env ?? []).map(({ name }) => name)).not.toContain('JWT_PUBLIC_KEY_FILE');
  });
});
