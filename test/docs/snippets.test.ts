/** Every ```ts block of docs/library.md, docs/monitoring.md and docs/techniques type-checks under the project's rules and runs; a line that ends in `// prints X` prints X. */
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
// Inside the repository, so that packages are found as for a program of its own.
const folder = join(root, 'build', `snippets-${process.pid}`);
const techniques = join(root, 'docs/techniques');
const pages = [
  join(root, 'docs/library.md'),
  join(root, 'docs/monitoring.md'),
  join(root, 'docs/monitoring-live.md'),
  ...(existsSync(techniques) ? readdirSync(techniques) : [])
    .filter((name) => name.endsWith('.md'))
    .map((name) => join(techniques, name)),
];

interface Snippet {
  readonly name: string;
  readonly program: string;
  readonly printed: readonly string[];
}

const snippets: Snippet[] = pages.flatMap((page) =>
  [...readFileSync(page, 'utf8').matchAll(/^```ts\n(.*?)^```/gms)]
    .map((match) => match[1] as string)
    .filter((program) => !program.includes('// refused:')) // test/typed/docs.test.ts has those
    .map((program, i) => ({
      name: `${basename(page, '.md')}-${i + 1}`,
      program,
      printed: [...program.matchAll(/\/\/ prints (.*)$/gm)].map((m) => (m[1] as string).trim()),
    })),
);

beforeAll(async () => {
  mkdirSync(folder, { recursive: true });
  for (const s of snippets) writeFileSync(join(folder, `${s.name}.mts`), s.program);
  // A loader looks for its thread's file beside its own code.
  for (const name of ['worker.mjs', 'gather.mjs']) copyFileSync(join(root, 'lib/data', name), join(folder, name));
  await build({
    entryPoints: snippets.map((s) => join(folder, `${s.name}.mts`)),
    outdir: folder,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    splitting: true,
    packages: 'external',
    alias: { 'anneal/typed': join(root, 'lib/typed/index.ts'), anneal: join(root, 'lib/index.ts') },
    format: 'esm',
    platform: 'node',
    target: 'node20',
  });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('there are snippets, and pages of techniques have one each', () => {
  expect(snippets.length).toBeGreaterThanOrEqual(4);
  const without = pages.filter((page) => !snippets.some((s) => s.name.startsWith(`${basename(page, '.md')}-`)));
  expect(without).toEqual([]);
});

test('all type-check', () => {
  const config = {
    extends: join(root, 'tsconfig.json'),
    compilerOptions: { typeRoots: [join(root, 'node_modules/@types')] },
    include: [join(folder, '*.mts')],
    exclude: [],
  };
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config));
  const args = [join(root, 'node_modules/typescript/bin/tsc'), '-p', folder, '--pretty', 'false'];
  expect(spawnSync(process.execPath, args, { encoding: 'utf8' }).stdout).toBe('');
});

describe('runs', () => {
  test.for(snippets)('$name', ({ name, printed }) => {
    const cwd = join(folder, name);
    mkdirSync(cwd, { recursive: true });
    const env = { ...process.env, ANNEAL_BINARY: process.env.ANNEAL_BINARY ?? join(root, 'build/Release/anneal.node') };
    const { status, stdout, stderr } = spawnSync(process.execPath, [join(folder, `${name}.mjs`)], {
      cwd,
      env,
      encoding: 'utf8',
      timeout: 50_000,
    });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    for (const text of printed) expect(stdout).toContain(text);
  });
});
