import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';

export interface ExitStatus {
  code: number | null;
  signal: NodeJS.Signals | null;
}

export interface ProgramOptions {
  env?: NodeJS.ProcessEnv;
  cwd?: string;
  /** Time from SIGTERM to SIGKILL in {@link Program.stop}. Default 35 s, over the longest drain. */
  stopTimeoutMs?: number;
}

/** The programs of this process that live; ended with it, whatever happens to the test that started them. */
const living = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of living) {
    child.kill('SIGKILL');
  }
});

/** A child process with its output captured line by line, both streams in order of arrival. */
export class Program {
  readonly lines: string[] = [];
  readonly exited: Promise<ExitStatus>;
  private readonly child: ChildProcess;
  private readonly watchers = new Set<() => void>();
  private status: ExitStatus | undefined;
  private readonly stopTimeoutMs: number;

  constructor(
    readonly name: string,
    command: string,
    args: string[],
    { env, cwd, stopTimeoutMs = 35_000 }: ProgramOptions = {},
  ) {
    this.stopTimeoutMs = stopTimeoutMs;
    this.child = spawn(command, args, { env, cwd, stdio: ['ignore', 'pipe', 'pipe'] });
    living.add(this.child);
    for (const stream of [this.child.stdout, this.child.stderr]) {
      createInterface({ input: stream! }).on('line', (line) => {
        this.lines.push(line);
        this.notify();
      });
    }
    this.exited = new Promise((resolve) => {
      const end = (status: ExitStatus): void => {
        living.delete(this.child);
        this.status ??= status;
        this.notify();
        resolve(this.status);
      };
      this.child.once('error', (error) => {
        this.lines.push(`${command}: ${error.message}`);
        end({ code: 127, signal: null });
      });
      this.child.once('close', (code, signal) => end({ code, signal }));
    });
  }

  get pid(): number {
    return this.child.pid ?? -1;
  }

  get running(): boolean {
    return this.status === undefined;
  }

  get output(): string {
    return this.lines.join('\n');
  }

  /** The first line (already there or to come) that matches; rejects when the program ends or the time is over. */
  line(pattern: RegExp, timeoutMs = 15_000): Promise<RegExpExecArray> {
    return this.until(
      () => {
        for (const line of this.lines) {
          const match = pattern.exec(line);
          if (match) {
            return match;
          }
        }
        return undefined;
      },
      `a line like ${pattern}`,
      timeoutMs,
    );
  }

  /** Waits for the line that says it works; a program that never says it is ended. */
  async ready(pattern: RegExp, timeoutMs?: number): Promise<this> {
    try {
      await this.line(pattern, timeoutMs);
      return this;
    } catch (error) {
      await this.kill();
      throw error;
    }
  }

  /**
   * Asks again and again, ten times a second, while the program runs: each question that nobody answers yet costs a millisecond or two of
   * the CPU that the program starts with.
   */
  async poll(check: () => Promise<boolean>, what: string, timeoutMs = 15_000): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    while (!(await check())) {
      if (!this.running || Date.now() > deadline) {
        throw new Error(
          `${this.name}: ${this.running ? `not ${what} in time` : 'ended early'}\n${this.output}`,
        );
      }
      await pause(100);
    }
  }

  send(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  /** SIGTERM, then SIGKILL when that does not end it in time. */
  async stop(): Promise<ExitStatus> {
    if (this.running) {
      this.send('SIGCONT');
      this.send('SIGTERM');
      const force = setTimeout(() => this.send('SIGKILL'), this.stopTimeoutMs);
      await this.exited;
      clearTimeout(force);
    }
    return this.exited;
  }

  async kill(): Promise<ExitStatus> {
    this.send('SIGKILL');
    return this.exited;
  }

  /** Stops executing without closing anything: what a hanging program looks like from outside. */
  freeze(): void {
    this.send('SIGSTOP');
  }

  thaw(): void {
    this.send('SIGCONT');
  }

  private until<T>(read: () => T | undefined, what: string, timeoutMs: number): Promise<T> {
    return new Promise((resolve, reject) => {
      const finish = (settle: () => void): void => {
        clearTimeout(timer);
        this.watchers.delete(look);
        settle();
      };
      const look = (): void => {
        const found = read();
        if (found !== undefined) {
          finish(() => resolve(found));
        } else if (!this.running) {
          finish(() => reject(new Error(`${this.name} ended before ${what}\n${this.output}`)));
        }
      };
      const timer = setTimeout(
        () => finish(() => reject(new Error(`${this.name}: ${what} did not come\n${this.output}`))),
        timeoutMs,
      );
      this.watchers.add(look);
      look();
    });
  }

  private notify(): void {
    for (const look of [...this.watchers]) {
      look();
    }
  }
}

/** Runs a program to its end. */
export async function runProgram(
  command: string,
  args: string[],
  options: ProgramOptions = {},
): Promise<ExitStatus & { output: string }> {
  const program = new Program(command, command, args, options);
  return { ...(await program.exited), output: program.output };
}

/** Debian's daemons lie in sbin, which the PATH of a user who is not root lacks. */
export function pathWithDaemons(): NodeJS.ProcessEnv {
  return { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/usr/local/sbin` };
}
