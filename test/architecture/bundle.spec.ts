import { isBuiltin } from 'node:module';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const dist = fileURLToPath(new URL('../../dist', import.meta.url));
const scripts = (folder: string, recursive: boolean): string[] =>
  (readdirSync(folder, { recursive }) as string[])
    .filter((name) => name.endsWith('.js'))
    .map((name) => readFileSync(join(folder, name), 'utf8'));

/** Names of classes, as the compiler writes them (behind the end of a comment, too) and as the bundler does. */
const CLASS = /^(?:.*\*\/)?\s*(?:export )?(?:(?:let|var) (\w+) = (?:\w+ = )?class\b|class (\w+))/gm;
const classes = (text: string): string[] => [...text.matchAll(CLASS)].map(([, one, other]) => one ?? other!);

describe('the bundle', () => {
  const bundle = scripts(dist, false);

  // The bundler gave DrainService and 60 others a number at the end, and the log showed them as DrainService2.
  it('keeps the names of our classes, which the log shows', () => {
    const written = scripts(join(dist, 'modules'), true).flatMap(classes);
    // Of two classes with one name, the second cannot keep it.
    const isTwice = (name: string): boolean => written.filter((other) => other === name).length > 1;
    const names = new Set(written);
    const bundled = bundle
      .flatMap((text) => text.split(/^(?=\s*\/\/ (?:node_modules|dist)\/)/m))
      .filter((part) => part.trimStart().startsWith('// dist/modules/'))
      .flatMap(classes);
    expect(bundled).toEqual(expect.arrayContaining(['DrainService', 'Room', 'RedisBroadcastAdapter']));
    const renamed = bundled.filter((name) => !names.has(name) && !isTwice(name.replace(/\d+$/, '')));
    expect(renamed).toEqual([]);
  });

  it('loads nothing that sends spans unless it is asked to: its part is imported at run time alone', () => {
    const parts = readdirSync(dist).filter((name) => /^otel-.*\.js$/.test(name));
    expect(parts).toHaveLength(1);
    const all = bundle.join('\n');
    expect(all).toContain(`import("./${parts[0]}")`);
    expect(all).not.toContain(`from "./${parts[0]}"`);
    const others = readdirSync(dist).filter((name) => name.endsWith('.js') && !parts.includes(name));
    const sending = others.filter((name) =>
      /class (_?)OTLPTraceExporter\b|class (_?)BatchSpanProcessor/.test(
        readFileSync(join(dist, name), 'utf8'),
      ),
    );
    expect(sending).toEqual([]);
  });

  // It gave Nest's classes and Development a line before their names: the log said _InstanceLoader.
  it('shows no class by the name that the bundler gave it beside its own', () => {
    const renamed = /\b([A-Z]\w*) = (?:\w+_1 = )?class (?:_\1|\1\d+)\b[^{\n]*\{(?! static name = "\1";)/g;
    const all = bundle.join('\n');
    expect(all).toMatch(/InstanceLoader = class _InstanceLoader \{ static name = "InstanceLoader";/);
    expect(all.match(renamed)).toBeNull();
  });

  it('asks for no package but those that may be missing', () => {
    const asked = bundle.flatMap((text) =>
      [...text.matchAll(/^\s*(?:import|export) [^;'"]*?(?:from )?["']([^."'][^"']*)["'];?$/gm)].map(
        ([, name]) => name!,
      ),
    );
    expect([...new Set(asked)].filter((name) => !isBuiltin(name))).toEqual([]);
  });
});
