import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import ts from 'typescript';

const require = createRequire(import.meta.url);
const LANGUAGE = ['es5', 'es2015.core', 'es2015.collection', 'es2015.iterable', 'es2015.promise'];
/** What the library uses of the browser, beside what it declares itself. */
const BROWSER = ['AbortSignal', 'CloseEvent', 'EventTarget', 'Location', 'MessageEvent', 'Performance'];
const MORE_OF_BROWSER = ['TextEncoder', 'URL', 'URLSearchParams', 'WebSocket'];

/**
 * Names of members that only the library itself uses, for the bundle to shorten: `private`, `@internal`, or of a class or interface that
 * index.ts does not export. A name that also occurs elsewhere (in a message, in what users call, in the browser) is left out.
 */
export function privateNames(folder) {
  const own = new Set();
  const others = new Set([...LANGUAGE.flatMap(namesOfLibrary), ...namesOfBrowser()]);
  const isPublic = exportedNames(readFileSync(join(folder, 'index.ts'), 'utf8'));
  for (const name of readdirSync(folder).filter((file) => /^(?!react|legacy).*(?<!\.spec)\.ts$/.test(file))) {
    const text = readFileSync(join(folder, name), 'utf8');
    visit(ts.createSourceFile(name, text, ts.ScriptTarget.ES2022, true), (member, owner) => {
      const isHidden =
        ts.isClassLike(owner) || ts.isInterfaceDeclaration(owner)
          ? (!isPublic.has(owner.name?.text) && name !== 'messages.ts') || isMarked(member)
          : false;
      (isHidden ? own : others).add(member.name?.text ?? '');
    });
  }
  return [...own].filter((name) => !others.has(name)).sort();
}

/** Calls with each member of a class, interface or type, and that. */
function visit(node, found) {
  if (ts.isClassElement(node) || ts.isTypeElement(node)) {
    found(node, node.parent);
  } else if (ts.isParameter(node) && node.modifiers !== undefined) {
    found(node, node.parent.parent); // of a constructor
  } else if (ts.isObjectLiteralElement(node) && node.parent.properties.some(isType)) {
    found(node, node.parent); // of a message
  }
  ts.forEachChild(node, (child) => visit(child, found));
}

function isType({ name }) {
  return name?.text === 'type';
}

function isMarked(member) {
  return (
    member.modifiers?.some(({ kind }) => kind === ts.SyntaxKind.PrivateKeyword) === true ||
    ts.getJSDocTags(member).some(({ tagName }) => tagName.text === 'internal')
  );
}

/** And what users have through them. */
function exportedNames(text) {
  return new Set([...[...text.matchAll(/\b[A-Z]\w+/g)].map(([name]) => name), 'Emitter']);
}

function library(name) {
  return readFileSync(join(dirname(require.resolve('typescript')), `lib.${name}.d.ts`), 'utf8');
}

const MEMBERS = /^\s+(?:readonly |get |set )?(\w+)[?(:<]/gm;

function namesOfLibrary(name) {
  return [...library(name).matchAll(MEMBERS)].map(([, member]) => member);
}

function namesOfBrowser() {
  const text = library('dom');
  return [...BROWSER, ...MORE_OF_BROWSER].flatMap((name) => {
    const body = text.slice(text.indexOf(`\ninterface ${name} `));
    return [...body.slice(0, body.indexOf('\n}')).matchAll(MEMBERS)].map(([, member]) => member);
  });
}
