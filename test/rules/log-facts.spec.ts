import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const src = fileURLToPath(new URL('../../src', import.meta.url));

/** Calls of a logger with the text of their arguments. */
function logCalls(text: string): string[] {
  return [...text.matchAll(/\b(?:logger|audit)\.(?:log|warn|error|fatal|debug)\(/g)].map(
    ({ index, 0: begin }) => {
      let depth = 1;
      let at = index + begin.length;
      for (; depth > 0; at += 1) {
        depth += text[at] === '(' ? 1 : text[at] === ')' ? -1 : 0;
      }
      return text.slice(index + begin.length, at - 1);
    },
  );
}

/** Without the text of its templates, what is left says whether fields follow. */
const hasFields = (call: string): boolean => /,\s*(?:\{|facts|factsOf)/.test(call.replace(/`[^`]*`/g, '``'));

describe('a log line', () => {
  // What a line said was in its sentence alone: whoever looked for a device, a reason or a broker had to cut it out of the text.
  it('has the values that its sentence quotes as fields too', () => {
    const bare = (readdirSync(src, { recursive: true }) as string[])
      .filter((name) => name.endsWith('.ts') && !name.endsWith('.spec.ts'))
      .flatMap((name) =>
        logCalls(readFileSync(join(src, name), 'utf8'))
          .filter((call) => /`[^`]*\$\{/.test(call) && !hasFields(call))
          .map((call) => `${name}: ${call.trim().slice(0, 120)}`),
      );
    expect(bare).toEqual([]);
  });
});
