import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = fileURLToPath(new URL('../..', import.meta.url));
const PAGE = 'docs/underneath.md';

/** Names without an underscore that are no part of a documented interface. */
const PRIVATE = new Set(['binding', 'onread', 'outgoing', 'setSocket']);

/** Names with an underscore that Node.js documents: what a stream of one's own implements. */
const DOCUMENTED = new Set(['_read', '_write', '_writev', '_final', '_destroy', '_transform', '_flush']);

/** The private names of others in a source, as `property`; what a class of ours calls itself is none. */
function privateNames(path: string, text: string): Set<string> {
  const names = new Set<string>();
  const visit = (node: ts.Node): void => {
    if (ts.isIdentifier(node) && !ts.isParameter(node.parent)) {
      const { parent, text: name } = node;
      const isProperty =
        (ts.isPropertyAccessExpression(parent) && parent.name === node) ||
        (ts.isBindingElement(parent) && parent.propertyName === node) ||
        ts.isClassElement(parent) ||
        ts.isTypeElement(parent) ||
        ts.isPropertyAssignment(parent);
      const isOurs =
        ts.isClassElement(parent) ||
        (ts.isPropertyAccessExpression(parent) && parent.expression.kind === ts.SyntaxKind.ThisKeyword);
      if (isProperty && ((/^_[a-z]/.test(name) && !DOCUMENTED.has(name)) || (PRIVATE.has(name) && !isOurs))) {
        names.add(name);
      }
    }
    ts.forEachChild(node, visit);
  };
  visit(ts.createSourceFile(path, text, ts.ScriptTarget.ES2022, true));
  return names;
}

/** What the rows of the page name: file to names. */
function listed(): Map<string, Set<string>> {
  const files = new Map<string, Set<string>>();
  for (const row of readFileSync(join(root, PAGE), 'utf8').split('\n')) {
    const [, place = '', touched = ''] = row.split('|');
    const [, file] = /\]\(\.\.\/(src\/[^)]+)\)/.exec(place) ?? [];
    if (file !== undefined) {
      const names = [...touched.matchAll(/`([^`]+)`/g)].map(([, name]) =>
        (name as string).split('.').at(-1)!,
      );
      files.set(file, new Set(names));
    }
  }
  return files;
}

const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts') && !name.endsWith('.spec.ts'))
  .map((name) => `src/${name}`);

describe('private parts of Node.js and of libraries', () => {
  it('are touched only where docs/underneath.md has a row for them', () => {
    const rows = listed();
    const unlisted = sources.flatMap((file) =>
      [...privateNames(file, readFileSync(join(root, file), 'utf8'))]
        .filter((name) => rows.get(file)?.has(name) !== true)
        .map((name) => `${file} ${name}`),
    );
    expect(unlisted).toEqual([]);
  });

  it('have no row for a file that is gone', () => {
    expect([...listed().keys()].filter((file) => !sources.includes(file))).toEqual([]);
  });

  it.each([
    ['socket._handle.writeBuffer()', ['_handle']],
    ['const { _peername: name } = socket;', ['_peername']],
    ["process.binding('stream_wrap')", ['binding']],
    ['client.outgoing = {}', ['outgoing']],
    ['class A { outgoing = 1; f() { return this.outgoing; } }', []],
    ['function f(_server: object) {}', []],
    ['class A extends Writable { override _write() {} }', []],
  ])('are seen in %s', (text, names) => {
    expect([...privateNames('a.ts', text)]).toEqual(names);
  });
});
