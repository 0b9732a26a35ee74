import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chart, helm, runTemplate, template, templateArguments } from './support/helm.js';

/** Layouts in three parts, as far as the second topic lets them. */
function divided(topic: string): string[] {
  return [
    'layouts.plant.device=d-{site}-{dev}',
    'layouts.plant.only.site={ulm,bonn,kiel}',
    'layouts.plant.telemetry[0].topic=t/{site}/{dev}',
    `layouts.plant.status[0].topic=${topic}`,
  ];
}

/** Values that cannot work, on top of ci/defaults-values.yaml, and the sentence that the installer reads. */
const combinations: [string, string[], string][] = [
  [
    'several pods without Redis',
    ['replicaCount=2'],
    '2 pods without Redis would each have rooms of their own: set redis.existingSecret or redis.url, or run one pod (replicaCount=1, autoscaling.enabled=false)',
  ],
  [
    'autoscaling without Redis',
    ['autoscaling.enabled=true'],
    '10 pods without Redis would each have rooms of their own: set redis.existingSecret or redis.url',
  ],
  [
    'autoscaling without limits',
    ['autoscaling.enabled=true', 'redis.url=redis://redis', 'resources.limits=null'],
    'autoscaling needs something to measure against: set resources.limits.cpu, resources.limits.memory and resources.requests.cpu',
  ],
  [
    'autoscaling without a CPU request',
    ['autoscaling.enabled=true', 'redis.url=redis://redis', 'resources.requests=null'],
    'set resources.limits.cpu, resources.limits.memory and resources.requests.cpu, or autoscaling.enabled=false',
  ],
  [
    'autoscaling without a target',
    [
      'autoscaling.enabled=true',
      'redis.url=redis://redis',
      'autoscaling.targetCPUUtilizationPercentage=null',
    ],
    'autoscaling has no target: set autoscaling.targetCPUUtilizationPercentage or autoscaling.connections.targetPerPod',
  ],
  [
    'more pods at least than at most',
    ['autoscaling.enabled=true', 'redis.url=redis://redis', 'autoscaling.minReplicas=11'],
    'autoscaling.minReplicas is greater than autoscaling.maxReplicas',
  ],
  [
    'a container without limits',
    ['resources.limits=null'],
    'a container without limits can take its node down: set resources.limits.cpu and resources.limits.memory',
  ],
  [
    'a drain longer than the grace period',
    ['drain.terminationGracePeriodSeconds=20'],
    'the drain is longer than the grace period: set drain.terminationGracePeriodSeconds to at least 30 (preStopSeconds + timeoutSeconds), leave it null, or lower drain.timeoutSeconds',
  ],
  [
    'a Redis password in a value',
    ['redis.url=redis://:pass@redis'],
    'a URL holds a user or password, which would stand readable in a ConfigMap',
  ],
  [
    'a broker password in a value',
    ['mqtt.url=mqtt://user:pass@broker'],
    'use mqtt.username with mqtt.existingSecret, and redis.existingSecret',
  ],
  ['no broker', ['mqtt.url='], 'mqtt.url is not set: give the broker of the devices'],
  ['nothing that checks tokens', ['jwt.existingSecret='], 'nothing checks tokens: set jwt.existingSecret'],
  [
    'two things that check tokens',
    ['jwt.jwksUrl=https://login.example.com/jwks'],
    'jwt.existingSecret and jwt.jwksUrl are both set',
  ],
  [
    'keys of tokens that are not encrypted on their way',
    ['jwt.existingSecret=', 'jwt.jwksUrl=http://login.example.com/jwks'],
    'jwt.jwksUrl is not encrypted, and who is on the way could put in a key: use https://',
  ],
  [
    'a password in the address of keys',
    ['jwt.existingSecret=', 'jwt.jwksUrl=https://user:pass@login.example.com/jwks'],
    'jwt.jwksUrl holds a user or password',
  ],
  [
    'a public key without a Secret',
    ['jwt.kind=publicKey', 'jwt.existingSecret=', 'secret.create=true'],
    'jwt.kind is publicKey but there is no key: name the Secret',
  ],
  [
    'a JWKS without a Secret',
    ['jwt.kind=jwks', 'jwt.existingSecret=', 'secret.create=true'],
    'jwt.kind is jwks but there are no keys: name the Secret',
  ],
  [
    'a short key',
    ['jwt.existingSecret=', 'secret.create=true', 'secret.jwtSecret=short'],
    'secret.jwtSecret is shorter than 32 bytes',
  ],
  [
    'no origin',
    ['websocket.allowedOrigins=null'],
    'no page may connect: set websocket.allowedOrigins to a list of origins',
  ],
  [
    'a password without a user',
    ['mqtt.existingSecret=mqtt'],
    'there is a password for the broker but no user: set mqtt.username',
  ],
  [
    'certificates for a broker without TLS',
    ['mqtt.tls.existingSecret=tls'],
    'mqtt.tls.existingSecret is set but mqtt.url is not encrypted',
  ],
  [
    'certificates for a Redis without TLS',
    ['redis.url=redis://redis', 'redis.tls.existingSecret=tls'],
    'redis.tls.existingSecret is set but redis.url is not encrypted',
  ],
  [
    'certificates without a Redis',
    ['redis.tls.existingSecret=tls'],
    'redis.tls.existingSecret is set but there is no Redis',
  ],
  [
    'a file that nobody mounts',
    ['settings.METADATA_FILE=/etc/sluice/files/meta.json', 'files.metadata\\.json=x'],
    'settings.METADATA_FILE names /etc/sluice/files/meta.json, which nobody mounts: put its content under files, as "meta.json", or correct the name',
  ],
  [
    'layouts beside a file of layouts',
    ['layouts.z.preset=zigbee2mqtt', 'settings.LAYOUT_FILE=/etc/sluice/files/l.yaml', 'files.l\\.yaml=x'],
    'layouts and settings.LAYOUT_FILE are both set',
  ],
  [
    'layouts beside a file of their name',
    ['layouts.z.preset=zigbee2mqtt', 'files.layouts\\.yaml=x'],
    'layouts and a file layouts.yaml are both set',
  ],
  [
    'a key of a Redis Secret without the Secret',
    ['redis.url=redis://redis', 'redis.passwordKey=p'],
    'no Secret is named: set redis.existingSecret',
  ],
  [
    'a Redis password without an address',
    ['redis.existingSecret=r', 'redis.passwordKey=p'],
    'there is no address: set redis.url (without a password in it), or redis.hostKey',
  ],
  [
    'two hosts of Redis',
    ['redis.existingSecret=r', 'redis.hostKey=h', 'redis.url=redis://redis'],
    'write $(REDIS_HOST) into redis.url where the host belongs',
  ],
  [
    'a host of Redis that nothing gives',
    ['redis.url=redis://$(REDIS_HOST)'],
    'redis.url has a variable, but there is no redis.hostKey',
  ],
  [
    'two users of Redis',
    ['redis.existingSecret=r', 'redis.url=redis://redis', 'redis.usernameKey=u', 'redis.username=u'],
    'redis.username and redis.usernameKey are both set',
  ],
  [
    'roles without a Redis',
    ['ingest.enabled=true'],
    'ingest.enabled is true but there is no Redis, in which pods that read and pods that serve dashboards meet',
  ],
  // Shards without what they need were taken, and refused by the program: pods crashed in a loop.
  [
    'shards without a Redis',
    ['settings.INGEST_SHARDS=2'],
    'settings.INGEST_SHARDS is 2 but there is no Redis, in which each reader has a lease: set redis.existingSecret or redis.url',
  ],
  [
    'shards of what all share',
    ['settings.INGEST_SHARDS=2', 'redis.url=redis://redis', 'mqtt.ingest=shared'],
    'settings.INGEST_SHARDS is 2 but mqtt.ingest is shared: set mqtt.ingest=leased',
  ],
  [
    'shards without layouts',
    ['settings.INGEST_SHARDS=2', 'redis.url=redis://redis'],
    'settings.INGEST_SHARDS is 2 but there are no layouts, whose only says how topics are divided: set layouts',
  ],
  [
    'more shards than layouts divide into',
    ['settings.INGEST_SHARDS=4', 'redis.url=redis://redis', ...divided('a/{site}/{dev}')],
    'settings.INGEST_SHARDS is 4 but the topics of layouts come in 3: name more values in only',
  ],
  [
    'shards by a level that is not in each topic',
    ['settings.INGEST_SHARDS=2', 'redis.url=redis://redis', ...divided('a/{dev}')],
    'settings.INGEST_SHARDS is 2 but the topics of layouts come in 1: name more values in only, of a level that is in device and in each topic',
  ],
  ['a user without a Redis', ['redis.username=u'], 'redis.username is set but there is no Redis'],
  [
    'a path that does not lead to the WebSocket',
    ['ingress.enabled=true', 'ingress.hosts={a.example}', 'ingress.path=/live'],
    'ingress.path is /live, which does not lead to websocket.path /ws',
  ],
  [
    'an exact path beside the WebSocket',
    ['ingress.enabled=true', 'ingress.hosts={a.example}', 'ingress.pathType=Exact'],
    'ingress.path is /, exactly, which does not lead to websocket.path /ws',
  ],
  [
    'a Secret of certificates of which nothing is used',
    ['mqtt.url=mqtts://broker', 'mqtt.tls.existingSecret=tls', 'mqtt.tls.caKey='],
    'mqtt.tls.existingSecret is set but nothing is taken from it',
  ],
  [
    'an address that probes do not reach',
    ['settings.HOST=127.0.0.1'],
    'settings.HOST is 127.0.0.1, where neither',
  ],
  [
    'address ranges of no load balancer',
    ['service.loadBalancerSourceRanges={10.0.0.0/8}'],
    'service.loadBalancerClass and service.loadBalancerSourceRanges need service.type=LoadBalancer',
  ],
  [
    'a traffic policy inside the cluster',
    ['service.externalTrafficPolicy=Local'],
    'service.externalTrafficPolicy needs service.type LoadBalancer or NodePort',
  ],
  ['an Ingress without a host', ['ingress.enabled=true'], 'set ingress.hosts'],
  ['an HTTPRoute without a Gateway', ['httpRoute.enabled=true'], 'set httpRoute.parentRefs'],
  [
    'a budget that blocks node drains',
    ['podDisruptionBudget.maxUnavailable=0'],
    'podDisruptionBudget.maxUnavailable is 0, which blocks every node drain for ever',
  ],
];

/** Values of a wrong type, and where values.schema.json says so. */
const types: [string, string[], RegExp][] = [
  ['text for a number', ['replicaCount=two'], /replicaCount.*want integer/s],
  ['a misspelt value', ['replicaCuont=2'], /'replicaCuont' not allowed/],
  ['a misspelt value further down', ['mqtt.tls.caCert=x'], /mqtt\/tls.*'caCert' not allowed/s],
  ['a setting that does not exist', ['settings.LOG_LEVLE=debug'], /settings.*'LOG_LEVLE' not allowed/s],
  ['a secret among the settings', ['settings.JWT_SECRET=x'], /settings.*'JWT_SECRET' not allowed/s],
  ['a setting that a value derives', ['settings.PORT=1'], /settings.*'PORT' not allowed/s],
  ['a file name with a path', ['files.a/b=x'], /files.*'a\/b' not allowed/s],
  ['an unknown scheme', ['mqtt.url=amqp://broker'], /mqtt\/url.*pattern/s],
  ['a drain over 30 s', ['drain.timeoutSeconds=31'], /drain\/timeoutSeconds.*maximum/s],
  [
    'an origin with a path',
    ['websocket.allowedOrigins={https://a.example/b}'],
    /allowedOrigins\/0.*pattern/s,
  ],
  ...['https://A.example', 'https://a.example:443', 'http://a.example:80', 'https://a.example?b'].map(
    (origin): [string, string[], RegExp] => [
      `an origin that no page has, ${origin}`,
      [`websocket.allowedOrigins={${origin}}`],
      /allowedOrigins\/0/,
    ],
  ),
  ['a tag in place of a digest', ['image.digest=v1'], /image\/digest.*pattern/s],
  ['an Ingress that cuts heartbeats', ['ingress.timeoutSeconds=30'], /ingress\/timeoutSeconds.*minimum/s],
  ['the management port on the client port', ['managementService.port=8080'], /managementService\/port/],
  ['a level that the log does not have', ['settings.LOG_LEVEL=verbose'], /settings\/LOG_LEVEL/],
  ['text for a number of a setting', ['settings.MAX_DEVICES=abc'], /settings\/MAX_DEVICES/],
  ['a setting below its least value', ['settings.MAX_DEVICES=0'], /settings\/MAX_DEVICES/],
  ['an unknown MQTT version', ['mqtt.protocolVersion=3'], /mqtt\/protocolVersion/],
];

describe('the chart', () => {
  it.each(combinations)('refuses %s and says what to change', async (_, set, sentence) => {
    const { status, stderr } = await runTemplate({ values: 'defaults', set });
    expect(stderr).toContain(sentence);
    expect(status).not.toBe(0);
  });

  it.each(types)('refuses %s', async (_, set, message) => {
    const { status, stderr } = await runTemplate({ values: 'defaults', set });
    expect(stderr).toMatch(message);
    expect(status).not.toBe(0);
  });

  // What is missing is no mistake of the chart's; and `helm lint` puts a default back where a value is null.
  const lintable = combinations.filter(
    ([name, set]) => !/^(no|nothing) /.test(name) && !set.some((pair) => pair.endsWith('=null')),
  );
  it.each(lintable)('does not lint with %s', async (_, set, sentence) => {
    const { status, stdout } = await helm(['lint', chart, ...templateArguments({ values: 'defaults', set })]);
    expect(stdout.replaceAll('\\"', '"')).toContain(sentence);
    expect(status).not.toBe(0);
  });

  const shards = ['settings.INGEST_SHARDS=3', 'redis.url=redis://redis'];
  it.each([
    ['as many shards as layouts divide into', divided('s/{site}/{dev}')],
    ['shards of a file that the operator mounts', ['settings.LAYOUT_FILE=/etc/own/layouts.yaml']],
    [
      'shards of a file that a variable names',
      ['extraEnv[0].name=LAYOUT_FILE', 'extraEnv[0].value=/own.yaml'],
    ],
    ['one reader, said as text', ['settings.INGEST_SHARDS=1', 'redis.url=']],
    ['keys of tokens from the pod itself', ['jwt.existingSecret=', 'jwt.jwksUrl=http://localhost:8181/jwks']],
  ])('takes %s', async (_, set) => {
    const base = set.some((pair) => /LAYOUT_FILE|layouts/.test(pair)) ? shards : [];
    const { status, stderr } = await runTemplate({ values: 'defaults', set: [...base, ...set] });
    expect([stderr, status]).toEqual(['', 0]);
  });

  it('lints without values', async () => {
    expect((await helm(['lint', '--strict', chart])).status).toBe(0);
  });

  it('names every mistake at once', async () => {
    const { stderr } = await runTemplate({});
    expect(stderr).toContain('These values cannot work, 3 to correct:');
  });

  it('shows a demo with one value', async () => {
    expect(await template({ set: ['demo.enabled=true'] })).not.toHaveLength(0);
  });

  it('installs nothing of a refused release, even where the schema is skipped', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'sluice-values-'));
    try {
      const file = join(folder, 'values.yaml');
      await writeFile(file, 'replicaCount: 3\nmqtt: { url: "mqtt://broker" }\n');
      const { status, stdout } = await helm([
        'template',
        'live',
        chart,
        '--skip-schema-validation',
        '--values',
        file,
      ]);
      expect([status, stdout]).toEqual([1, '']);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});
