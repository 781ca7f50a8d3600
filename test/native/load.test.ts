import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { afterEach, describe, expect, it } from 'vitest';
import { loadAddon } from '../../lib/native/load.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const built = join(root, 'build/Release/anneal.node');
const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;
const here = `${process.platform}-${process.arch}`;
const made: string[] = [];

afterEach(() => {
  for (const dir of made.splice(0)) rmSync(dir, { recursive: true, force: true });
});

/** A package 'anneal' in a temporary folder: our loader, and the files named. 'built' stands for the real addon's bytes. */
function packageWith(files: Record<string, string>): string {
  const dir = mkdtempSync(join(tmpdir(), 'anneal-load-'));
  made.push(dir);
  mkdirSync(join(dir, 'lib/native'), { recursive: true });
  for (const name of ['load.ts', 'errors.ts']) cpSync(join(root, 'lib/native', name), join(dir, 'lib/native', name));
  writeFileSync(join(dir, 'package.json'), '{ "name": "anneal", "type": "module" }');
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(dir, path)), { recursive: true });
    if (content === 'built') cpSync(built, join(dir, path));
    else writeFileSync(join(dir, path), content);
  }
  return dir;
}

interface Outcome {
  loaded: boolean;
  code?: string;
  message?: string;
}

const program = `
const { loadAddon } = await import(process.argv[1]);
try {
  console.log(JSON.stringify({ loaded: typeof loadAddon() === 'object' && loadAddon() === loadAddon() }));
} catch (error) {
  console.log(JSON.stringify({ loaded: false, code: error.code, message: error.message }));
}`;

function load(dir: string, env: Record<string, string> = {}): Promise<Outcome> {
  const module = pathToFileURL(join(dir, 'lib/native/load.ts')).href;
  const args = ['--import', tsx, '--input-type=module', '-e', program, module];
  const { ANNEAL_BINARY: _, ...inherited } = process.env;
  return new Promise((resolve, reject) => {
    execFile(process.execPath, args, { cwd: dir, env: { ...inherited, ...env } }, (error, stdout, stderr) =>
      error ? reject(new Error(`${error.message}\n${stderr}`)) : resolve(JSON.parse(stdout)),
    );
  });
}

describe('loadAddon', () => {
  it('finds the build of this tree, and finds it once', () => {
    expect(typeof loadAddon()).toBe('object');
    expect(loadAddon()).toBe(loadAddon());
  });

  it('loads in a worker thread', async () => {
    // On Node 20 `--import tsx` does not reach a worker; its register() does.
    const source = `import('tsx/esm/api')
      .then(({ register }) => register() && import(${JSON.stringify(pathToFileURL(join(root, 'lib/native/load.ts')).href)}))
      .then(({ loadAddon }) => require('node:worker_threads').parentPort.postMessage(typeof loadAddon()));`;
    const worker = new Worker(source, { eval: true });
    const answer = await new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject));
    await worker.terminate();
    expect(answer).toBe('object');
  });

  it('takes ANNEAL_BINARY before anything else', async () => {
    const dir = packageWith({ 'build/Release/anneal.node': 'not a binary' });
    expect(await load(dir, { ANNEAL_BINARY: built })).toEqual({ loaded: true });
  });

  it('tries nothing else when ANNEAL_BINARY is wrong', async () => {
    const dir = packageWith({ 'build/Release/anneal.node': 'built' });
    const { code, message } = await load(dir, { ANNEAL_BINARY: join(dir, 'nowhere.node') });
    expect(code).toBe('NATIVE_LOAD');
    expect(message).toContain(`${join(dir, 'nowhere.node')}: Cannot find module`);
    expect(message).toContain('ANNEAL_BINARY is set');
    expect(message).not.toContain('build/Release');
  });

  it('takes a local build before the platform package', async () => {
    const dir = packageWith({
      'build/Release/anneal.node': 'built',
      [`node_modules/@anneal/${here}/anneal.node`]: 'not a binary',
    });
    expect(await load(dir)).toEqual({ loaded: true });
  });

  it('takes Debug before Release, as bindings does, and does not hide a broken build behind another', async () => {
    const dir = packageWith({ 'build/Debug/anneal.node': 'not a binary', 'build/Release/anneal.node': 'built' });
    const { code, message } = await load(dir);
    expect(code).toBe('NATIVE_LOAD');
    expect(message).toContain(join(dir, 'build/Debug/anneal.node'));
    expect(message).not.toContain('build/Release');
  });

  it('takes the platform package where there is no local build', async () => {
    const names = [here, `${here}-musl`];
    const files = names.flatMap((name) => [
      [`node_modules/@anneal/${name}/package.json`, JSON.stringify({ name: `@anneal/${name}`, main: 'anneal.node' })],
      [`node_modules/@anneal/${name}/anneal.node`, 'built'],
    ]);
    expect(await load(packageWith(Object.fromEntries(files)))).toEqual({ loaded: true });
  });

  it('lists every place and a remedy where there is nothing', async () => {
    const dir = packageWith({});
    const { code, message } = await load(dir);
    expect(code).toBe('NATIVE_LOAD');
    for (const place of ['build', 'build/Debug', 'build/Release', 'build/default']) {
      expect(message).toContain(`${join(dir, place, 'anneal.node')}: no such file`);
    }
    expect(message).toMatch(new RegExp(`@anneal/${here}(-musl)?: not installed`));
    expect(message).toContain(`npm install @anneal/${here}`);
    expect(message).toContain('--omit=optional');
  });

  it('names the remedy of a clone in a clone', async () => {
    const { message } = await load(packageWith({ 'CMakeLists.txt': '' }));
    expect(message).toContain('npm run setup');
    expect(message).not.toContain('npm install @anneal');
  });

  it('says when a binary is for another platform', async () => {
    const text = 'MZ this is the head of a binary for quite another system, long enough to have a header of its own'.repeat(4);
    const { message } = await load(packageWith({ 'build/Release/anneal.node': text }));
    expect(message).toContain('is for another platform');
  });
});
