import { readFileSync } from 'node:fs';
import { execFileSync } from 'node:child_process';

/** Fields 14 and 15 of /proc/<pid>/stat, counted from the one after the command's closing bracket. */
const UTIME = 11;
const STIME = 12;

let ticksPerSecond;
let pageBytes;

function configuration(name) {
  return Number(execFileSync('getconf', [name], { encoding: 'utf8' }));
}

/**
 * CPU time of a process, user and system, in microseconds.
 *
 * @param {number} pid
 */
export function cpuMicros(pid) {
  ticksPerSecond ??= configuration('CLK_TCK');
  const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return ((Number(fields[UTIME]) + Number(fields[STIME])) * 1e6) / ticksPerSecond;
}

/**
 * CPU time that the machine below a virtual one gave to others, in ticks of all cores; 0 where nothing says it.
 */
export function stolenTicks() {
  try {
    return Number(readFileSync('/proc/stat', 'latin1').split('\n', 1)[0].trim().split(/\s+/)[8] ?? 0);
  } catch {
    return 0;
  }
}

/**
 * Resident memory of a process in KiB.
 *
 * @param {number} pid
 */
export function rssKib(pid) {
  pageBytes ??= configuration('PAGESIZE');
  return (Number(readFileSync(`/proc/${pid}/statm`, 'latin1').split(' ')[1]) * pageBytes) / 1024;
}
