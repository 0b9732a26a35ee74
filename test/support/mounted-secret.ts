import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * A Secret mounted as the kubelet mounts it: each file is a link into `..data`, which is a link to a folder of the current version. An update
 * writes a new folder and swaps `..data` in one step.
 */
export class MountedSecret {
  private readonly folder = mkdtempSync(join(tmpdir(), 'mounted-secret-'));
  private version = 0;

  constructor(content: Record<string, string>) {
    this.update(content);
    for (const name of Object.keys(content)) {
      symlinkSync(join('..data', name), this.path(name));
    }
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  /** What is not named any more is gone, as its link leads nowhere. */
  update(content: Record<string, string>): void {
    const before = `..version_${this.version}`;
    this.version += 1;
    const after = `..version_${this.version}`;
    mkdirSync(join(this.folder, after));
    for (const [name, text] of Object.entries(content)) {
      writeFileSync(join(this.folder, after, name), text, { mode: 0o400 });
    }
    symlinkSync(after, this.path('..data_tmp'));
    renameSync(this.path('..data_tmp'), this.path('..data'));
    rmSync(this.path(before), { recursive: true, force: true });
  }

  stop(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
