import { existsSync, lstatSync, readFileSync, readdirSync } from 'node:fs';
import { validate } from 'dockerfile-utils';
import { stopAfterAll } from '../support/cleanup.js';
import { root, template } from './support/helm.js';
import { Image } from './support/image.js';
import { only } from './support/kube-object.js';
import { PodSandbox, renderedPod } from './support/pod-sandbox.js';
import { describeAsRoot } from './support/as-root.js';
import { RuncContainer } from './support/runc.js';

/** docs/kubernetes.md says "about 12 MB", and under 250 MB in all. */
const MAX_APP_BYTES = 15e6;
const MAX_IMAGE_BYTES = 250e6;

const dockerfile = readFileSync(`${root}Dockerfile`, 'utf8');
const product = JSON.parse(readFileSync(`${root}package.json`, 'utf8')) as {
  version: string;
  license: string;
  scripts: { start: string };
};

describe('the Dockerfile', () => {
  it('is one', () => {
    expect(validate(dockerfile)).toEqual([]);
  });

  it('names the version and the licence of the product', () => {
    expect(dockerfile).toContain(`ARG VERSION=${product.version}\n`);
    expect(dockerfile).toContain(`licenses="${product.license}"`);
  });

  it('gives Node.js the options that npm start, the chart and the benchmarks give it', () => {
    const options = ['--max-semi-space-size=4', '--v8-pool-size=1'];
    const option = options.join(' ');
    const chart = readFileSync(`${root}helm/sluice/templates/deployment.yaml`, 'utf8');
    expect(dockerfile).toContain(`ENV NODE_OPTIONS="${option}"\n`);
    expect(product.scripts.start).toContain(`\${NODE_OPTIONS:-${option}}`);
    expect(chart).toContain(`value: ${option}`);
    expect(readFileSync(`${root}bench/peers/index.js`, 'utf8')).toContain(
      `nodeArguments: ['${options.join("', '")}']`,
    );
  });
});

describeAsRoot('the image', () => {
  const own = stopAfterAll();
  let image: Image;

  beforeAll(async () => {
    image = own(await Image.build());
  }, 900_000);

  it('starts Node itself, as a user that is not root', () => {
    expect(image.config).toMatchObject({
      User: '1000:1000',
      WorkingDir: '/app',
      Entrypoint: ['node', 'dist/main.js'],
      ExposedPorts: { '8080/tcp': {} },
    });
    expect(image.config.Env).toContain('NODE_ENV=production');
    expect(image.config.Healthcheck.Test.slice(0, 3)).toEqual(['CMD', 'node', '-e']);
  });

  it('says what it is', () => {
    expect(image.config.Labels).toMatchObject({
      'org.opencontainers.image.title': 'Sluice',
      'org.opencontainers.image.version': product.version,
      'org.opencontainers.image.revision': '0123abc',
      'org.opencontainers.image.licenses': product.license,
    });
  });

  it('holds what runs and nothing else', () => {
    const app = readdirSync(`${image.rootfs}/app`, { recursive: true }) as string[];
    expect(readdirSync(`${image.rootfs}/app`).sort()).toEqual(['dist', 'node_modules', 'package.json']);
    expect(app.filter((name) => /\.(map|d\.ts)$|^dist.*\.spec\.js$|(^|\/)\.npmrc$/.test(name))).toEqual([]);
    const packages = readdirSync(`${image.rootfs}/app/node_modules`);
    expect(packages).toEqual(expect.arrayContaining(['ws', 'mqtt', 'ioredis']));
    for (const name of ['typescript', 'jest', 'eslint', 'playwright-core', 'kubernetes-models']) {
      expect(packages).not.toContain(name);
    }
    // `.npm` is where this machine's cache was mounted while the base was trimmed: a folder with nothing in it.
    const home = readdirSync(`${image.rootfs}/root`, { recursive: true });
    expect(home.filter((name) => name !== '.npm')).toEqual([]);
    const bytes = app.reduce((sum, name) => sum + lstatSync(`${image.rootfs}/app/${name}`).size, 0);
    expect(bytes).toBeLessThan(MAX_APP_BYTES);
  });

  // 386 MB: layers below held npm, yarn and headers of Node, and deleting them in a layer above does not make an image smaller.
  it('has of its base what runs: no package manager, no headers, under 250 MB in all', () => {
    expect(readdirSync(`${image.rootfs}/usr/local/bin`)).toEqual(['node']);
    for (const name of ['usr/local/include', 'usr/local/lib/node_modules', 'usr/share/doc']) {
      expect([name, existsSync(`${image.rootfs}/${name}`)]).toEqual([name, false]);
    }
    const all = readdirSync(image.rootfs, { recursive: true }) as string[];
    const bytes = all.reduce((sum, name) => sum + lstatSync(`${image.rootfs}/${name}`).size, 0);
    expect(bytes).toBeLessThan(MAX_IMAGE_BYTES);
    expect(bytes).toBeGreaterThan(100e6);
  });

  it('runs as the rendered pod says, and ends in order', async () => {
    const set = ['mqtt.url=mqtt://emqx.iot.svc', 'fullnameOverride=null'];
    const objects = await template({ values: 'no-redis', set });
    const rendered = renderedPod(only(objects, 'Deployment', 'live-sluice'), objects);
    const secret = only(objects, 'Secret', 'live-sluice-secret');
    const data = Object.entries(secret.data ?? {}).map(([key, value]) => [key, atob(value)] as const);

    const sandbox = own(await PodSandbox.start(['emqx.iot.svc']));
    await sandbox.run('/usr/sbin/mosquitto', ['-p', '1883']).ready(/mosquitto version .* running/);
    sandbox.mount(rendered, { [secret.metadata.name]: Object.fromEntries(data) });
    const container = own(RuncContainer.start(sandbox, image, rendered));
    await sandbox.answers('http://127.0.0.1:9090/health/ready', container.program);

    // HEALTHCHECK asks the management port, where there is one.
    const [, ...check] = image.config.Healthcheck.Test;
    expect(await container.exec(...check)).toEqual({ code: 0, signal: null, output: '' });
    const look = async (expression: string) =>
      (await container.exec('node', '-p', expression)).output.trim().split('\n').at(-1);
    expect(await look('fs.readFileSync("/proc/1/cmdline", "utf8").split("\\0").slice(0, 2).join(" ")')).toBe(
      'node dist/main.js',
    );
    expect(await look('/CapEff:\\s*(\\S+)/.exec(fs.readFileSync("/proc/1/status"))[1]')).toBe('0'.repeat(16));
    expect(await look('try { fs.writeFileSync("/app/x", "") } catch (error) { error.code }')).toBe('EROFS');
    expect(await look('process.constrainedMemory()')).toBe(String(1024 ** 3));
    const metrics = (await sandbox.get('http://127.0.0.1:9090/metrics'))?.text ?? '';
    expect(metrics).toContain(`sluice_process_memory_limit_bytes ${1024 ** 3}`);

    container.program.send('SIGTERM');
    expect(await container.program.exited).toEqual({ code: 0, signal: null });
  }, 180_000);
});
