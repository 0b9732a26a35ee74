import { spawn } from 'node:child_process';
import { root } from './paths.js';

const FORWARDED = ['SIGINT', 'SIGTERM', 'SIGHUP'];

/**
 * Runs a program to its end and passes signals on to it, so that stopping the script leaves nothing behind.
 * @param {string} command
 * @param {string[]} args
 * @param {{ env?: NodeJS.ProcessEnv, quiet?: boolean }} [options] quiet keeps the output and gives it back
 * @returns {Promise<{ code: number, output: string }>} exit code (128 + n after signal n), and what a quiet one said
 */
export function runCommand(command, args, { env = process.env, quiet = false } = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd: root,
      env,
      stdio: ['ignore', quiet ? 'pipe' : 'inherit', quiet ? 'pipe' : 'inherit'],
    });
    const forward = (signal) => child.kill(signal);
    for (const signal of FORWARDED) {
      process.on(signal, forward);
    }
    const chunks = [];
    child.stdout?.on('data', (chunk) => chunks.push(chunk));
    child.stderr?.on('data', (chunk) => chunks.push(chunk));
    const end = (code) => {
      for (const signal of FORWARDED) {
        process.off(signal, forward);
      }
      resolve({ code, output: Buffer.concat(chunks).toString('utf8') });
    };
    child.once('error', (error) => {
      chunks.push(Buffer.from(`${command}: ${error.message}\n`));
      end(127);
    });
    child.once('close', (code, signal) => end(code ?? 128 + (signalNumbers[signal] ?? 1)));
  });
}

const signalNumbers = { SIGHUP: 1, SIGINT: 2, SIGKILL: 9, SIGTERM: 15 };

/** npm itself: the one that runs this script if there is one, else the one on the PATH. */
export function npmCommand() {
  const cli = process.env['npm_execpath'];
  return cli?.endsWith('npm-cli.js') ? [process.execPath, cli] : ['npm'];
}

/** A step that must succeed. Quiet until it fails: then its output is shown. */
export async function mustRun(what, command, args, options = {}) {
  const { code, output } = await runCommand(command, args, { quiet: true, ...options });
  if (code !== 0) {
    process.stderr.write(output);
    console.error(`${what} failed (exit ${code}).`);
    process.exit(code);
  }
}
