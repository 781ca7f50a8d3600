/** The snippet of docs/library.md compiles, and says what it says; programs that do not ask for typed shapes do not load them. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, expect, test } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'typed-docs-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** What the compiler prints of a program of one file. */
function tsc(program: string, ...options: string[]): string {
  writeFileSync(join(folder, 'program.mts'), program);
  const config = { extends: join(root, 'tsconfig.json'), compilerOptions: { typeRoots: [join(root, 'node_modules/@types')] } };
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ ...config, include: [folder], exclude: [] }));
  const args = [join(root, 'node_modules/typescript/bin/tsc'), '-p', folder, '--pretty', 'false', ...options];
  return spawnSync(process.execPath, args, { encoding: 'utf8' }).stdout;
}

test('the snippet in docs/library.md has the one error that it shows', () => {
  const section = readFileSync(join(root, 'docs/library.md'), 'utf8').split('## Shapes in the types')[1] ?? '';
  const snippet = /```ts\n(.*?)```/s.exec(section)?.[1] ?? '';
  expect(snippet).toContain("from 'anneal/typed'");
  const errors = tsc(snippet).match(/^.*: error.*$/gm) ?? [];
  expect(errors).toHaveLength(1);
  expect(errors[0]).toContain(/\/\/ refused: (.*)/.exec(snippet)?.[1]);
});

test("a program of plain 'anneal' loads no file of lib/typed", () => {
  const files = tsc("import { zeros } from 'anneal';\nzeros([2]);\n", '--listFilesOnly');
  expect(files).toContain('lib/index.ts');
  expect(files).not.toContain('lib/typed');
});
