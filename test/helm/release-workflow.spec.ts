import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { parse } from 'yaml';
import { root } from './support/helm.js';

interface Step {
  name?: string;
  uses?: string;
  run?: string;
}

interface Job {
  needs?: string | string[];
  permissions?: Record<string, string>;
  'timeout-minutes': number;
  steps: Step[];
}

const read = (path: string): string => readFileSync(`${root}${path}`, 'utf8');
const { releaseProblems } = (await import(`${root}scripts/release-version.js`)) as {
  releaseProblems(tag: string, read: (path: string) => string): string[];
};
const { version } = JSON.parse(read('package.json')) as { version: string };

describe('the workflow that makes a release', () => {
  const workflow = parse(read('.github/workflows/release.yml')) as {
    on: object;
    permissions: Record<string, string>;
    jobs: Record<string, Job>;
  };
  const jobs = Object.values(workflow.jobs);
  const script = jobs.flatMap(({ steps }) => steps.map(({ run = '' }) => run)).join('\n');

  it('runs for a tag alone, after everything that must hold', () => {
    expect(workflow.on).toEqual({ push: { tags: ['v*'] } });
    expect(script).toContain('.ci/run');
    expect(script).toContain('npm run test:releases');
    // The moves of docs/operations.md ran nowhere but where somebody thought of them.
    expect(script).toContain('npm run test:chaos');
    expect([workflow.jobs['image']?.needs, workflow.jobs['chart']?.needs]).toEqual([
      ['check', 'faults'],
      'image',
    ]);
  });

  it('may write packages in the jobs that push them, and nothing else', () => {
    expect(workflow.permissions).toEqual({ contents: 'read' });
    expect(workflow.jobs['check']).not.toHaveProperty('permissions');
    expect(workflow.jobs['faults']).not.toHaveProperty('permissions');
    for (const name of ['image', 'chart']) {
      expect(workflow.jobs[name]?.permissions).toEqual({
        contents: 'read',
        packages: 'write',
        'id-token': 'write',
      });
    }
    jobs.forEach((job) => expect(job['timeout-minutes']).toBeLessThanOrEqual(60));
  });

  it('builds for both architectures on a base by digest, with SBOM and provenance, and signs image and chart', () => {
    for (const part of [
      '--platform linux/amd64,linux/arm64',
      '--build-arg NODE_IMAGE="$base@$digest"',
      '--sbom=true',
      '--provenance=mode=max',
      'cosign sign --yes --recursive "${IMAGE,,}@$DIGEST"',
      'helm push',
      'cosign sign --yes "${CHARTS,,}/sluice@',
    ]) {
      expect(script).toContain(part);
    }
    expect(read('Dockerfile')).toMatch(/^ARG NODE_IMAGE=\S+$/m);
  });

  it('has scripts that a shell can read, with nothing of the event pasted into them', () => {
    for (const { run } of jobs.flatMap(({ steps }) => steps)) {
      if (run !== undefined) {
        execFileSync('bash', ['-n'], { input: run });
        expect(run).not.toContain('${{');
      }
    }
  });

  it('names the image in the chart by a line that is there', () => {
    expect(read('helm/sluice/values.yaml')).toMatch(/^ {2}repository: sluice$/m);
  });
});

describe('the version of a release', () => {
  it('is the same in the tag, the package, the image and the chart', () => {
    expect(releaseProblems(`v${version}`, read)).toEqual([]);
  });

  it('is refused where one of them says another one', () => {
    expect(releaseProblems('v99.0.0', read)).toHaveLength(5);
    expect(releaseProblems('latest', read)).toEqual(['the tag is latest, not v1.2.3']);
    const other = (path: string) => read(path).replace(/^appVersion: .*$/m, 'appVersion: 0.0.1');
    expect(releaseProblems(`v${version}`, other)).toEqual([
      `Chart.yaml, appVersion says 0.0.1, the tag ${version}`,
    ]);
  });
});
