import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CloseCode } from '../../src/protocol/close-codes.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const read = (path: string): string => readFileSync(join(root, path), 'utf8');

function filesUnder(folder: string, ending: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith(ending))
    .map((name) => join(folder, name));
}

const PAGES = ['README.md', 'CONTRIBUTING.md', 'SECURITY.md', 'CHANGELOG.md', ...filesUnder('docs', '.md')];

/** Targets of links and images; examples in code blocks are none. */
function linksOf(page: string): string[] {
  const text = read(page).replace(/^ *```.*?^ *```/gms, '');
  return [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => target as string);
}

/** The anchors that headings get. */
function anchorsOf(page: string): string[] {
  return [...read(page).matchAll(/^#+ (.+)$/gm)].map(([, heading]) =>
    (heading as string)
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .trim()
      .replace(/\s/g, '-'),
  );
}

function deadLinks(page: string): string[] {
  return linksOf(page).filter((link) => {
    if (/^[a-z]+:/.test(link)) {
      return false; // other sites are not asked
    }
    const [path = '', anchor] = link.split('#');
    const target = path === '' ? page : relative(root, join(root, dirname(page), path));
    return !existsSync(join(root, target)) || (anchor !== undefined && !anchorsOf(target).includes(anchor));
  });
}

function found(files: string[], pattern: RegExp): string[] {
  const names = files.flatMap((file) => [...read(file).matchAll(pattern)].map(([, name]) => name as string));
  return [...new Set(names)];
}

const sources = (folder: string): string[] =>
  filesUnder(folder, '.ts').filter((file) => !file.endsWith('.spec.ts'));

describe('the documents', () => {
  it.each(PAGES)('%s links to what is there', (page) => {
    expect(deadLinks(page)).toEqual([]);
  });
});

describe('docs/protocol.md', () => {
  const page = read('docs/protocol.md');
  const unnamed = (names: string[]): string[] => names.filter((name) => !page.includes(`\`${name}\``));

  it('names every error code', () => {
    const [, union = ''] = /type ErrorCode =([^;]+);/.exec(read('src/protocol/errors.ts')) ?? [];
    const codes = [...union.matchAll(/'(\w+)'/g)].map(([, code]) => code as string);
    expect(codes).toContain('invalid_json');
    expect(unnamed(codes)).toEqual([]);
  });

  it('has a row for every close code', () => {
    const rows = Object.values(CloseCode).filter((code) => !new RegExp(`^\\| ${code} `, 'm').test(page));
    expect(rows).toEqual([]);
  });

  it('names every message type, of both ways', () => {
    const declared = found(sources('src/protocol'), /\btype: '(\w+)'/g);
    const framed = found([...sources('src/delivery'), ...sources('src/rooms')], /\{"type":"(\w+)"/g);
    expect(declared).toEqual(expect.arrayContaining(['subscribe', 'connected']));
    expect(framed).toEqual(expect.arrayContaining(['telemetry', 'snapshot', 'batch', 'device_meta']));
    expect(unnamed([...declared, ...framed, 'device_status'])).toEqual([]);
  });

  it('names every delivery option', () => {
    const [, body = ''] =
      /interface DeliveryOptions \{([^}]+)\}/.exec(read('src/protocol/delivery-options.ts')) ?? [];
    const options = [...body.matchAll(/^ {2}(\w+)\??:/gm)].map(([, option]) => option as string);
    expect(options).toContain('mode');
    expect(unnamed(options)).toEqual([]);
  });
});

describe('the table of what is bounded in docs/operations.md', () => {
  const [, section = ''] = /^## What is bounded$(.*?)^## /ms.exec(read('docs/operations.md')) ?? [];
  const rows = section.split('\n').filter((line) => /^\| (?!-|what can grow)/.test(line));
  const specs = ['src', 'test'].flatMap((folder) => filesUnder(folder, '.spec.ts'));

  it('names a test that is there in each row', () => {
    expect(rows.length).toBeGreaterThan(30);
    const named = rows.map((row) => [...row.matchAll(/([\w.-]+\.spec)\b/g)].map(([name]) => name));
    expect(rows.filter((_, at) => named[at]!.length === 0)).toEqual([]);
    const missing = named.flat().filter((name) => !specs.some((file) => file.endsWith(`/${name}.ts`)));
    expect(missing).toEqual([]);
  });

  it('names metrics that are there', () => {
    const metrics = filesUnder('src/metrics', '.ts').map(read).join('\n');
    const named = new Set([...section.matchAll(/\bsluice_(\w+)/g)].map(([, name]) => name as string));
    expect([...named].filter((name) => !new RegExp(`['}]${name}['\`]`).test(metrics))).toEqual([]);
  });
});
