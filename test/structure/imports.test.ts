/** Imports point one way (docs/architecture.md): what stands below never knows what stands above. */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
const walk = (folder: string): string[] =>
  readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? walk(join(folder, entry.name)) : [join(folder, entry.name)],
  );

/** Floors from the ground up. A room may import from floors below, and from itself; `beside`: also from these of its own floor. */
const floors: readonly (readonly string[])[] = [
  ['native'],
  ['tensor'],
  ['autograd'],
  ['ops'],
  ['nn', 'optim', 'schedule', 'precision'],
  ['data', 'train', 'distributed', 'monitor'],
  ['cli', 'typed'],
];
const beside: { readonly [room: string]: readonly string[] } = {
  optim: ['nn', 'schedule', 'precision'],
  train: ['data', 'monitor', 'distributed'],
  distributed: ['data'],
};

const floorOf = (room: string) => floors.findIndex((rooms) => rooms.includes(room));
const allowed = (from: string, to: string) =>
  from === to || floorOf(to) < floorOf(from) || (floorOf(to) === floorOf(from) && (beside[from]?.includes(to) ?? false));

const importsOf = (text: string): string[] =>
  [
    ...text.matchAll(
      /(?:^|\n)\s*(?:import|export)\b[^'"`;]*?from\s*['"]([^'"]+)['"]|\bimport\(\s*['"]([^'"]+)['"]\s*\)|(?:^|\n)import\s+['"]([^'"]+)['"]/g,
    ),
  ].map((m) => (m[1] ?? m[2] ?? m[3]) as string);

describe('lib', () => {
  const files = walk('lib').filter((f) => /\.m?ts$|\.mjs$/.test(f));
  const edges = files.flatMap((file) =>
    importsOf(readFileSync(join(root, file), 'utf8'))
      .filter((to) => to.startsWith('.'))
      .map((to) => ({ file, to: relative(root, resolve(root, dirname(file), to)) })),
  );
  const room = (path: string) => path.split('/')[1] as string;

  test('every folder has a floor', () => {
    expect([...new Set(files.filter((f) => f.split('/').length > 2).map(room))].filter((r) => floorOf(r) < 0)).toEqual([]);
  });

  test('imports point down', () => {
    const wrong = edges
      .filter(({ file }) => file !== 'lib/index.ts')
      .filter(({ file, to }) => to.startsWith('lib/') && !allowed(room(file), room(to)))
      .map(({ file, to }) => `${file} imports ${to}`);
    expect(wrong).toEqual([]);
  });

  test('nothing imports index.ts of the package, nor leaves lib', () => {
    const wrong = edges
      .filter(({ to }) => to === 'lib/index.ts' || !to.startsWith('lib/'))
      .map(({ file, to }) => `${file} imports ${to}`);
    expect(wrong.filter((line) => !line.endsWith('package.json'))).toEqual([]);
  });

  test('imports name files that exist, with their ending', () => {
    const known = new Set(walk('lib'));
    expect(
      edges.filter(({ to }) => to.startsWith('lib/') && !known.has(to)).map(({ file, to }) => `${file} imports ${to}`),
    ).toEqual([]);
  });

  test('the tape knows no op, and tensors neither tape nor op', () => {
    const of = (name: string) => edges.filter(({ file }) => room(file) === name).map(({ to }) => room(to));
    expect(of('autograd').filter((r) => !['native', 'tensor', 'autograd'].includes(r))).toEqual([]);
    expect(of('tensor').filter((r) => !['native', 'tensor'].includes(r))).toEqual([]);
  });

  test('there are no circles', () => {
    const next = new Map<string, string[]>();
    for (const file of files) {
      const text = readFileSync(join(root, file), 'utf8').replace(/(?:^|\n)\s*(?:import|export) type [^;]*;/g, '');
      next.set(
        file,
        importsOf(text)
          .filter((to) => to.startsWith('.'))
          .map((to) => relative(root, resolve(root, dirname(file), to))),
      );
    }
    const done = new Set<string>();
    const circles: string[] = [];
    const visit = (file: string, path: readonly string[]) => {
      if (path.includes(file)) circles.push([...path.slice(path.indexOf(file)), file].join(' -> '));
      else if (!done.has(file)) {
        for (const to of next.get(file) ?? []) visit(to, [...path, file]);
        done.add(file);
      }
    };
    for (const file of files) visit(file, []);
    expect(circles).toEqual([]);
  });
});

describe('native', () => {
  // core -> cpu, cuda, comm, data -> ops -> binding -> addon; headers of ops hold what every device shares (functors.h).
  const below: { readonly [room: string]: readonly string[] } = {
    core: ['core'],
    cpu: ['core', 'cpu'],
    cuda: ['core', 'cuda'],
    comm: ['core', 'comm'],
    data: ['core', 'data'],
    ops: ['core', 'cpu', 'cuda', 'comm', 'ops'],
    binding: ['core', 'cpu', 'cuda', 'comm', 'data', 'ops', 'binding'],
  };
  const files = walk('native/src').filter((f) => /\.(cc|h)$/.test(f));
  const includes = files.flatMap((file) =>
    [...readFileSync(join(root, file), 'utf8').matchAll(/^\s*#\s*include\s+["<]([^">]+)[">]/gm)].map((m) => ({
      file,
      to: m[1] as string,
    })),
  );
  const roomOf = (file: string) => (file.split('/').length > 3 ? (file.split('/')[2] as string) : 'addon');
  const lines = (found: readonly { file: string; to: string }[]) => found.map(({ file, to }) => `${file} includes ${to}`);

  test('includes point down', () => {
    const wrong = includes.filter(({ file, to }) => {
      const target = to.split('/')[0] as string;
      if (!to.includes('/') || !(target in below) || roomOf(file) === 'addon') return false;
      return !/^ops\/\w+\.h$/.test(to) && !below[roomOf(file)]?.includes(target);
    });
    expect(lines(wrong)).toEqual([]);
  });

  test('only binding and addon.cc know Node-API', () => {
    const wrong = includes.filter(
      ({ file, to }) =>
        /^(napi|node_api|node|js_native_api|uv|v8)[\w-]*\.h$/.test(to) && !['binding', 'addon'].includes(roomOf(file)),
    );
    expect(lines(wrong)).toEqual([]);
  });

  test('core knows neither the CUDA toolkit nor oneDNN', () => {
    expect(lines(includes.filter(({ file, to }) => roomOf(file) === 'core' && /cuda|dnnl|omp_/.test(to)))).toEqual([]);
  });

  test('kernels that are compiled once per instruction set use no std containers', () => {
    const kernels = files.filter((f) => /^native\/src\/cpu\/[^/]+\.(cc|h)$/.test(f));
    const wrong = kernels.filter((f) =>
      /std::(vector|map|unordered_map|function|deque|list)\b/.test(readFileSync(join(root, f), 'utf8')),
    );
    expect(wrong).toEqual([]);
  });
});

describe('sizes', () => {
  test('no file grows past what one reads in one go', () => {
    const files = [...walk('lib'), ...walk('native/src')].filter((f) => /\.(ts|mjs|cc|h|cu)$/.test(f));
    const long = files.map((f) => ({ f, n: readFileSync(join(root, f), 'utf8').split('\n').length })).filter(({ n }) => n > 420);
    expect(long.map(({ f, n }) => `${f}: ${n} lines`)).toEqual([]);
  });
});
