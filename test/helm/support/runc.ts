import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Program, pathWithDaemons, Program as Process, runProgram } from '../../support/program.js';
import type { Image } from './image.js';
import type { PodSandbox, RenderedPod } from './pod-sandbox.js';

const MIB = 1024 * 1024;
const CPU_PERIOD_US = 100_000;

/** A container of a pod, as the kubelet would have it started: what the image and the rendered pod say together. */
export class RuncContainer {
  private constructor(
    private readonly name: string,
    private readonly state: string,
    /** Its process 1. */
    readonly program: Program,
  ) {}

  static start(sandbox: PodSandbox, image: Image, rendered: RenderedPod): RuncContainer {
    const bundle = sandbox.hostPath('bundle');
    mkdirSync(bundle);
    writeFileSync(join(bundle, 'config.json'), JSON.stringify(spec(sandbox, image, rendered)));
    const name = `sluice-test-${process.pid}`;
    const state = sandbox.hostPath('runc');
    const program = new Process('runc', 'runc', ['--root', state, 'run', '--bundle', bundle, name], {
      env: pathWithDaemons(),
    });
    return new RuncContainer(name, state, program);
  }

  /** Runs a command in the container, with its user, environment and limits. */
  exec(...command: string[]): Promise<{ code: number | null; output: string }> {
    return runProgram('runc', ['--root', this.state, 'exec', this.name, ...command], {
      env: pathWithDaemons(),
    });
  }

  async stop(): Promise<void> {
    await this.program.stop();
    await runProgram('runc', ['--root', this.state, 'delete', '--force', this.name], {
      env: pathWithDaemons(),
    });
  }
}

function spec(sandbox: PodSandbox, { config, rootfs }: Image, { pod, container, env }: RenderedPod): object {
  const limits = container.resources?.limits ?? {};
  const [uid, gid] = config.User.split(':').map(Number);
  const none: string[] = [];
  const bind = (source: string, destination: string) => ({
    destination,
    source,
    type: 'bind',
    options: ['bind', 'ro'],
  });
  return {
    ociVersion: '1.0.2',
    process: {
      user: { uid, gid },
      args: container.command ?? config.Entrypoint,
      cwd: config.WorkingDir,
      env: [...config.Env, ...Object.entries(env).map(([name, value]) => `${name}=${value}`)],
      capabilities: { bounding: none, effective: none, inheritable: none, permitted: none, ambient: none },
      noNewPrivileges: container.securityContext?.['allowPrivilegeEscalation'] === false,
    },
    root: { path: rootfs, readonly: container.securityContext?.['readOnlyRootFilesystem'] === true },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'noexec', 'nodev', 'ro'] },
      {
        destination: '/sys/fs/cgroup',
        type: 'cgroup',
        source: 'cgroup',
        options: ['nosuid', 'noexec', 'nodev', 'ro'],
      },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755', 'size=64k'] },
      bind(sandbox.hostPath('/etc/hosts'), '/etc/hosts'),
      bind(sandbox.hostPath('/etc/nsswitch.conf'), '/etc/nsswitch.conf'),
      ...(container.volumeMounts ?? []).map(({ mountPath }) => bind(sandbox.hostPath(mountPath), mountPath)),
    ],
    linux: {
      namespaces: [
        ...['pid', 'ipc', 'uts', 'mount', 'cgroup'].map((type) => ({ type })),
        { type: 'network', path: sandbox.network },
      ],
      resources: {
        memory: { limit: mebibytes(limits['memory']) * MIB },
        cpu: { quota: Number(limits['cpu']) * CPU_PERIOD_US, period: CPU_PERIOD_US },
      },
    },
    annotations: { grace: String(pod.terminationGracePeriodSeconds ?? '') },
  };
}

function mebibytes(quantity = ''): number {
  const [, number, unit] = /^(\d+)(Mi|Gi)$/.exec(quantity) ?? [];
  return Number(number) * (unit === 'Gi' ? 1024 : 1);
}
