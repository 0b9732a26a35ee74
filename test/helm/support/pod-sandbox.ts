import { chmodSync, chownSync, cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Program } from '../../support/program.js';
import { type Container, type KubeObject, type PodSpec, ofKind, podSpec } from './kube-object.js';

/** User and group of the pod, as the chart's security context says. */
const POD_USER = 1000;

/** Contents of the Secrets that a pod mounts, by name and key: what the operator has put into the cluster. */
export type Secrets = Record<string, Record<string, string>>;

/**
 * What a pod is to its processes: a network and an /etc of its own, so that they meet exactly the ports, host names and
 * mounted files of the rendered Deployment, whatever else runs on this machine. Needs root.
 */
export class PodSandbox {
  readonly directory = mkdtempSync(join(tmpdir(), 'sluice-pod-'));
  private holder: Program | undefined;
  private readonly programs: Program[] = [];

  /** @param hostNames names that lead to the pod's own loopback, where the test's broker and Redis listen */
  static async start(hostNames: readonly string[]): Promise<PodSandbox> {
    const sandbox = new PodSandbox();
    const etc = join(sandbox.directory, 'etc');
    mkdirSync(join(etc, 'sluice'), { recursive: true });
    cpSync('/etc/ssl', join(etc, 'ssl'), { recursive: true, verbatimSymlinks: true });
    writeFileSync(join(etc, 'hosts'), `127.0.0.1 ${['localhost', ...hostNames].join(' ')}\n`);
    writeFileSync(join(etc, 'nsswitch.conf'), 'hosts: files\npasswd: files\ngroup: files\n');
    writeFileSync(join(etc, 'passwd'), 'root:x:0:0::/root:/bin/sh\npod:x:1000:1000::/:/bin/sh\n');
    writeFileSync(join(etc, 'group'), 'root:x:0:\npod:x:1000:\n');
    chmodSync(sandbox.directory, 0o755);
    sandbox.holder = new Program('pod', 'unshare', [
      '--net',
      '--mount',
      '--propagation',
      'private',
      'sh',
      '-c',
      'ip link set lo up && mount --bind "$1" /etc && echo ready && exec sleep infinity',
      'pod',
      etc,
    ]);
    await sandbox.holder.ready(/^ready$/);
    return sandbox;
  }

  /** Network namespace, for a container that joins the pod. */
  get network(): string {
    return `/proc/${this.holder?.pid}/ns/net`;
  }

  /** Starts a program inside, with exactly this environment; as the pod's user unless asked otherwise. */
  run(
    command: string,
    args: string[],
    options: { env?: Record<string, string>; root?: boolean } = {},
  ): Program {
    const user = `${POD_USER}`;
    const asUser = [
      '/usr/bin/setpriv',
      `--reuid=${user}`,
      `--regid=${user}`,
      '--clear-groups',
      '--no-new-privs',
    ];
    const program = new Program(
      command,
      '/usr/bin/nsenter',
      [
        `--target=${this.holder?.pid}`,
        '--net',
        '--mount',
        '--',
        ...(options.root ? [] : [...asUser, '--bounding-set=-all']),
        command,
        ...args,
      ],
      { env: options.env ?? {} },
    );
    this.programs.push(program);
    return program;
  }

  /** @returns HTTP status and text of an address inside the pod, or `undefined` while nobody answers */
  async get(url: string): Promise<{ status: number; text: string } | undefined> {
    const { code, output } = await this.finish('/usr/bin/curl', [
      '-s',
      '-m',
      '5',
      '-w',
      '\n%{http_code}',
      url,
    ]);
    const lines = output.split('\n');
    const status = Number(lines.pop());
    return code === 0 ? { status, text: lines.join('\n') } : undefined;
  }

  /** Waits until a program inside answers 200. One process asks once a second: asking more often would slow down what it waits for. */
  async answers(url: string, program: Program, timeoutSeconds = 60): Promise<void> {
    const retries = ['--retry', `${timeoutSeconds}`, '--retry-delay', '1', '--retry-all-errors'];
    const asking = this.run('/usr/bin/curl', ['-sf', '-m', '5', '-o', '/dev/null', ...retries, url]);
    const { code } = await Promise.race([asking.exited, program.exited.then(() => ({ code: -1 }))]);
    if (code !== 0) {
      throw new Error(`${url} does not answer 200\n${program.output}`);
    }
  }

  async finish(
    ...parameters: Parameters<PodSandbox['run']>
  ): Promise<{ code: number | null; output: string }> {
    const program = this.run(...parameters);
    const { code } = await program.exited;
    return { code, output: program.output };
  }

  /** Writes what the kubelet would mount; each file readable for the pod's group alone. */
  mount({ pod, container, configMaps }: RenderedPod, secrets: Secrets): void {
    for (const { name, mountPath } of container.volumeMounts ?? []) {
      const volume = pod.volumes?.find((candidate) => candidate.name === name);
      const folder = this.hostPath(mountPath);
      mkdirSync(folder, { recursive: true });
      for (const { key, path } of volume?.secret?.items ?? []) {
        const content = secrets[volume?.secret?.secretName ?? '']?.[key];
        if (content === undefined) {
          throw new Error(`no key ${key} in Secret ${volume?.secret?.secretName}`);
        }
        writeFileSync(join(folder, path), content, { mode: 0o440 });
        chownSync(join(folder, path), 0, POD_USER);
      }
      for (const [key, content] of Object.entries(configMaps[volume?.configMap?.name ?? ''] ?? {})) {
        writeFileSync(join(folder, key), content, { mode: 0o644 });
      }
    }
  }

  /** Where a path of the pod's /etc lies outside. */
  hostPath(path: string): string {
    return join(this.directory, path);
  }

  async stop(): Promise<void> {
    for (const program of this.programs.reverse()) {
      await program.stop();
    }
    await this.holder?.kill();
    rmSync(this.directory, { recursive: true, force: true });
  }
}

export interface RenderedPod {
  pod: PodSpec;
  container: Container;
  /** All of the container's environment, ConfigMap and own variables. */
  env: Record<string, string>;
  /** Data of the release's ConfigMaps, by name. */
  configMaps: Record<string, Record<string, string>>;
}

/** Pod, first container and its whole environment, of a Deployment or of a Pod. */
export function renderedPod(object: KubeObject, objects: readonly KubeObject[]): RenderedPod {
  const pod = podSpec(object);
  const container = pod?.containers[0];
  if (pod === undefined || container === undefined) {
    throw new Error(`${object.kind}/${object.metadata.name} has no container`);
  }
  const configMaps = Object.fromEntries(
    ofKind(objects, 'ConfigMap').map(({ metadata, data }) => [metadata.name, data ?? {}]),
  );
  const env: Record<string, string> = {};
  for (const { configMapRef } of container.envFrom ?? []) {
    Object.assign(env, configMaps[configMapRef?.name ?? '']);
  }
  for (const { name, value } of container.env ?? []) {
    env[name] = value ?? '';
  }
  return { pod, container, env, configMaps };
}
