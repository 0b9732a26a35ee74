import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

export const root = fileURLToPath(new URL('../..', import.meta.url));

/** A place where somebody else's code calls ours, or where nobody hears of a failure, without a wall (src/logging/walls.ts). */
export interface Finding {
  /** `src/…/file.ts callee`, as it stands in a list of exceptions. */
  readonly place: string;
  readonly line: number;
  readonly what: string;
}

const PROMISES = new Set(['Promise', 'PromiseLike']);
const HELPERS = new Set(['walled', 'background']);
/** Callbacks that are called before the call returns, or whose failure is that of a promise: the language's own. */
const LANGUAGE = /\/typescript\/lib\/lib\.(es\d|es5|esnext|decorators)[^/]*\.d\.ts$/;
/** It is not called by these: they end the listening. */
const TAKES_BACK = /\.(off|removeListener)$/;
/** Properties by which Node.js and libraries call back. */
const EVENT_PROPERTY = /^on[a-z]+$/;

/**
 * Reads all of src in one program, which takes a while: call it once.
 * @param probes further sources by path, as if they lay in src; for tests of the scan itself
 */
export function scan(probes: Readonly<Record<string, string>> = {}): Finding[] {
  const config = ts.readConfigFile(join(root, 'tsconfig.json'), (path) => ts.sys.readFile(path));
  const { options } = ts.parseJsonConfigFileContent(
    { ...config.config, include: ['src/main.ts'] },
    ts.sys,
    root,
  );
  options.types = ['node'];
  const added = new Map(Object.entries(probes).map(([path, text]) => [join(root, path), text]));
  const files = [
    ...added.keys(),
    ...ts.sys
      .readDirectory(join(root, 'src'), ['.ts'])
      .filter((file) => !/\.(spec|fixture|d)\.ts$/.test(file)),
  ];
  const host = ts.createCompilerHost({ ...options, noEmit: true });
  const { fileExists, readFile, getSourceFile } = host;
  host.fileExists = (path) => added.has(path) || fileExists(path);
  host.readFile = (path) => added.get(path) ?? readFile(path);
  host.getSourceFile = (path, ...rest) => {
    const text = added.get(path);
    return text === undefined
      ? getSourceFile.call(host, path, ...rest)
      : ts.createSourceFile(path, text, ts.ScriptTarget.ES2022, true);
  };
  const program = ts.createProgram(files, { ...options, noEmit: true, skipLibCheck: true }, host);
  const scanner = new Scanner(program.getTypeChecker());
  for (const file of files) {
    const source = program.getSourceFile(file);
    if (source === undefined) {
      throw new Error(`${file} is not part of the program`);
    }
    scanner.visit(source);
  }
  return scanner.findings;
}

class Scanner {
  readonly findings: Finding[] = [];

  constructor(private readonly checker: ts.TypeChecker) {}

  visit(node: ts.Node): void {
    if (ts.isCallExpression(node) || ts.isNewExpression(node)) {
      this.call(node);
    } else if (ts.isExpressionStatement(node)) {
      this.statement(node.expression);
    } else if (ts.isArrowFunction(node) || ts.isFunctionExpression(node)) {
      this.unheardResult(node);
    } else if (ts.isClassLike(node)) {
      this.overrides(node);
    } else if (ts.isBinaryExpression(node) && node.operatorToken.kind === ts.SyntaxKind.EqualsToken) {
      this.assignment(node);
    }
    ts.forEachChild(node, (child) => this.visit(child));
  }

  /** A function handed to code that is not ours. */
  private call(node: ts.CallExpression | ts.NewExpression): void {
    const callee = node.expression.getText().replace(/\s+/g, '');
    if (!this.isForeign(node) || TAKES_BACK.test(callee)) {
      return;
    }
    for (const argument of node.arguments ?? []) {
      this.handedOver(argument, callee);
    }
  }

  private handedOver(argument: ts.Expression, callee: string): void {
    const value = skip(argument);
    if (ts.isObjectLiteralExpression(value)) {
      for (const property of value.properties) {
        if (ts.isMethodDeclaration(property)) {
          if (!isTry(property.body)) {
            this.report(property, callee, `method ${property.name.getText()}`);
          }
        } else if (ts.isPropertyAssignment(property)) {
          this.handedOver(property.initializer, `${callee}.${property.name.getText()}`);
        }
      }
      return;
    }
    const type = this.checker.getTypeAtLocation(value);
    const isFunction = type.getCallSignatures().length > 0 && type.getConstructSignatures().length === 0;
    if (isFunction && !this.isWalled(value)) {
      this.report(value, callee, 'callback');
    }
  }

  /** A promise that nobody waits for. */
  private statement(expression: ts.Expression): void {
    const value = skip(ts.isVoidExpression(expression) ? expression.expression : expression);
    if (ts.isBinaryExpression(value)) {
      return; // kept: for somebody who waits for it
    }
    if (this.isPromise(value) && !ts.isAwaitExpression(value)) {
      this.report(value, shortText(value), 'promise that nobody hears of');
    }
  }

  /** A function that returns a promise to somebody who expects nothing. */
  private unheardResult(node: ts.ArrowFunction | ts.FunctionExpression): void {
    const contextual = this.checker.getContextualType(node)?.getCallSignatures()[0];
    if (contextual === undefined || !isVoid(contextual.getReturnType())) {
      return;
    }
    const body = ts.isBlock(node.body) ? undefined : skip(node.body);
    const isAsync = node.modifiers?.some(({ kind }) => kind === ts.SyntaxKind.AsyncKeyword) === true;
    const result = body !== undefined && ts.isVoidExpression(body) ? skip(body.expression) : body;
    const callee = ts.isCallExpression(node.parent) ? node.parent.expression.getText() : '';
    if (!HELPERS.has(callee) && (isAsync || (result !== undefined && this.isPromise(result)))) {
      this.report(node, shortText(node), 'promise that nobody hears of');
    }
  }

  /** A method that a library calls on our object. */
  private overrides(node: ts.ClassLikeDeclaration): void {
    const base = node.heritageClauses?.find(({ token }) => token === ts.SyntaxKind.ExtendsKeyword)?.types[0];
    const symbol = base === undefined ? undefined : this.symbolOf(base.expression);
    if (base === undefined || symbol === undefined || !isForeignSymbol(symbol)) {
      return;
    }
    const type = this.checker.getTypeAtLocation(base);
    for (const member of node.members) {
      if (ts.isMethodDeclaration(member) && !isTry(member.body)) {
        const name = member.name.getText();
        if (type.getProperty(name) !== undefined) {
          this.report(member, `${node.name?.text ?? 'class'}.${name}`, 'override');
        }
      }
    }
  }

  private assignment({ left, right }: ts.BinaryExpression): void {
    const name = ts.isPropertyAccessExpression(left) ? left.name.text : '';
    if (EVENT_PROPERTY.test(name) && this.checker.getTypeAtLocation(right).getCallSignatures().length > 0) {
      if (!this.isWalled(skip(right))) {
        this.report(left, left.getText().replace(/\s+/g, ''), 'callback by property');
      }
    }
  }

  private isForeign(node: ts.CallExpression | ts.NewExpression): boolean {
    const declaration = this.checker.getResolvedSignature(node)?.declaration;
    const file = declaration?.getSourceFile().fileName;
    return file !== undefined && isForeignFile(file);
  }

  private isWalled(value: ts.Expression): boolean {
    if (ts.isCallExpression(value)) {
      return value.expression.getText() === 'walled';
    }
    if (ts.isArrowFunction(value) || ts.isFunctionExpression(value)) {
      return isTry(value.body) || this.isHarmless(value);
    }
    const declaration = this.symbolOf(value)?.valueDeclaration;
    if (declaration === undefined) {
      return false;
    }
    if (ts.isParameter(declaration)) {
      return this.isSettler(declaration);
    }
    if (ts.isFunctionDeclaration(declaration) || ts.isMethodDeclaration(declaration)) {
      return isTry(declaration.body);
    }
    if (ts.isVariableDeclaration(declaration) || ts.isPropertyDeclaration(declaration)) {
      return declaration.initializer !== undefined && this.isWalled(skip(declaration.initializer));
    }
    return false;
  }

  /** `resolve` or `reject` of a promise. */
  private isSettler(parameter: ts.ParameterDeclaration): boolean {
    const executor = parameter.parent;
    return ts.isNewExpression(executor.parent) && executor.parent.expression.getText() === 'Promise';
  }

  /** It does nothing, or settles a promise. */
  private isHarmless({ body }: ts.ArrowFunction | ts.FunctionExpression): boolean {
    if (ts.isBlock(body)) {
      return body.statements.length === 0;
    }
    const value = skip(body);
    if (ts.isCallExpression(value)) {
      return this.isWalled(value.expression) && value.arguments.every((one) => !ts.isCallExpression(one));
    }
    return ts.isLiteralExpression(value) || value.getText() === 'undefined';
  }

  private isPromise(value: ts.Expression): boolean {
    const type = this.checker.getTypeAtLocation(value).getNonNullableType();
    const parts = type.isUnion() ? type.types : [type];
    return parts.some((part) => PROMISES.has(part.symbol?.name ?? ''));
  }

  private symbolOf(value: ts.Expression): ts.Symbol | undefined {
    const symbol = this.checker.getSymbolAtLocation(
      ts.isPropertyAccessExpression(value) ? value.name : value,
    );
    return symbol !== undefined && (symbol.flags & ts.SymbolFlags.Alias) !== 0
      ? this.checker.getAliasedSymbol(symbol)
      : symbol;
  }

  private report(node: ts.Node, where: string, what: string): void {
    const source = node.getSourceFile();
    const file = relative(root, source.fileName);
    const line = source.getLineAndCharacterOfPosition(node.getStart()).line + 1;
    this.findings.push({ place: `${file} ${where}`, line, what });
  }
}

function isForeignFile(file: string): boolean {
  return file.includes('/node_modules/') && !LANGUAGE.test(file);
}

function isForeignSymbol(symbol: ts.Symbol): boolean {
  return (symbol.declarations ?? []).some((declaration) =>
    isForeignFile(declaration.getSourceFile().fileName),
  );
}

/** The whole body is one `try` with a `catch`. */
function isTry(body: ts.Node | undefined): boolean {
  if (body === undefined || !ts.isBlock(body) || body.statements.length === 0) {
    return false;
  }
  return body.statements.every(
    (statement) => ts.isTryStatement(statement) && statement.catchClause !== undefined,
  );
}

function isVoid(type: ts.Type): boolean {
  return (type.flags & (ts.TypeFlags.Void | ts.TypeFlags.Undefined)) !== 0;
}

function skip(expression: ts.Expression): ts.Expression {
  return ts.isParenthesizedExpression(expression) ||
    ts.isAsExpression(expression) ||
    ts.isNonNullExpression(expression) ||
    ts.isSatisfiesExpression(expression)
    ? skip(expression.expression)
    : expression;
}

function shortText(node: ts.Node): string {
  return node.getText().replace(/\s+/g, '').slice(0, 60);
}
