// npm run build:kernels [-- --arch 80,90 | --arch all]: compiles native/cuda/*.cu with nvcc into build/Release/kernels.
//
//   <family>.ptx     what the simulated GPU executes
//   <family>.fatbin  with --arch: cubins of those architectures and compute_80 PTX, from the same nvcc call as the .ptx
//   index.txt        "<kernel> <family>" a line: where the addon looks for a kernel
//   gates.json       with --arch: registers, shared memory, stack and spills of every kernel; stack, spills and warnings fail the build
//
// Only what changed is compiled again. Without nvcc nothing is built, and device('cuda') says so.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { isProgram, locked, main, root, StageError } from './lib/stage.mjs';

const source = join(root, 'native', 'cuda');
const target = join(root, 'build', 'Release', 'kernels');
export const architectures = [80, 86, 89, 90, 100, 120];
const includes = ['-I', join(root, 'native'), '-I', join(root, 'native', 'src')];
const language = ['-std=c++17', '--expt-relaxed-constexpr', '-lineinfo', '--Werror', 'cross-execution-space-call'];

/** Output of a program, both streams together; rejects with it when the program fails. */
function output(command, args, cwd) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'] });
    const parts = [];
    child.stdout.on('data', (part) => parts.push(part));
    child.stderr.on('data', (part) => parts.push(part));
    child.on('error', reject);
    child.on('close', (code) => {
      const text = Buffer.concat(parts).toString();
      code === 0 ? resolve(text) : reject(new StageError(`${command} failed on ${args.at(-1)}:\n${text}`));
    });
  });
}

export async function hasNvcc() {
  return output('nvcc', ['--version']).then(
    () => true,
    () => false,
  );
}

/** A hash over everything that a family's kernels are made of: its file, every header it may include, the command. */
function fingerprint(file, headers, command) {
  const hash = createHash('sha256').update(JSON.stringify(command));
  for (const path of [join(source, file), ...headers]) hash.update(readFileSync(path));
  return hash.digest('hex');
}

function headersOf(dir, ending) {
  return readdirSync(dir)
    .filter((name) => name.endsWith(ending))
    .sort()
    .map((name) => join(dir, name));
}

/** What ptxas said of each kernel on each architecture. */
function gatesOf(log) {
  const rows = [];
  let row;
  for (const line of log.split('\n')) {
    const entry = /Compiling entry function '(\w+)' for '(\w+)'/.exec(line);
    if (entry) {
      row = { kernel: entry[1], arch: entry[2], stack: 0, spills: 0, registers: 0, shared: 0 };
      rows.push(row);
    }
    if (!row) continue;
    const frame = /(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads/.exec(line);
    if (frame) [row.stack, row.spills] = [+frame[1], +frame[2] + +frame[3]];
    const used = /Used (\d+) registers/.exec(line);
    if (used) {
      row.registers = +used[1];
      row.shared = +(/(\d+) bytes smem/.exec(line)?.[1] ?? 0);
    }
  }
  return rows;
}

async function compile(family, archs) {
  const file = `${family}.cu`;
  const out = join(target, `${family}.work`);
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out, { recursive: true });
  if (archs.length === 0) {
    await output('nvcc', [...language, ...includes, '-arch=compute_80', '-ptx', '-o', join(out, 'ptx'), join(source, file)], out);
  } else {
    const code = archs.flatMap((a) => ['-gencode', `arch=compute_${a === 86 || a === 89 ? 80 : a},code=sm_${a}`]);
    const strict = ['-Xptxas=-v,-warn-spills,-warn-lmem-usage,-Werror', '--compress-mode=size', '--keep', '--keep-dir', out];
    const ptx = ['-gencode', 'arch=compute_80,code=compute_80'];
    const log = await output(
      'nvcc',
      [...language, ...includes, ...code, ...ptx, ...strict, '-fatbin', '-o', join(out, 'fatbin'), join(source, file)],
      out,
    );
    const gates = gatesOf(log);
    const bad = gates.filter((g) => g.stack || g.spills);
    if (bad.length) throw new StageError(`${file}: stack or spills: ${bad.map((g) => `${g.kernel} (${g.arch})`).join(', ')}`);
    writeFileSync(join(target, `${family}.gates`), JSON.stringify(gates));
    const kept = readdirSync(out).find(
      (name) => name.endsWith('.ptx') && (!name.includes('compute_') || name.includes('compute_80')),
    );
    renameSync(join(out, kept), join(out, 'ptx'));
    renameSync(join(out, 'fatbin'), join(target, `${family}.fatbin`));
  }
  renameSync(join(out, 'ptx'), join(target, `${family}.ptx`));
  rmSync(out, { recursive: true, force: true });
}

/** @param {{ archs?: number[] }} [options] architectures to build machine code for; none: PTX only */
export async function buildKernels({ archs = [] } = {}) {
  if (!(await hasNvcc())) throw new StageError('nvcc was not found: kernels for CUDA need the CUDA toolkit 13 on PATH.');
  return locked('kernels', async () => {
    mkdirSync(target, { recursive: true });
    const families = readdirSync(source)
      .filter((name) => name.endsWith('.cu'))
      .map((name) => name.slice(0, -3))
      .sort();
    const headers = [
      ...headersOf(source, '.cuh'),
      ...headersOf(join(root, 'native', 'src', 'ops'), '.h'),
      ...headersOf(join(root, 'native', 'src', 'core'), '.h').filter((path) => /(trouble|philox|random)/.test(path)),
    ];
    const stale = families.filter((family) => {
      const stamp = join(target, `${family}.stamp`);
      const wanted = fingerprint(`${family}.cu`, headers, [language, archs]);
      const there = existsSync(join(target, `${family}.ptx`)) && existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted;
      return !there;
    });
    const waiting = [...stale];
    const failures = [];
    const worker = async () => {
      for (let family = waiting.shift(); family; family = waiting.shift()) {
        try {
          await compile(family, archs);
          writeFileSync(join(target, `${family}.stamp`), fingerprint(`${family}.cu`, headers, [language, archs]));
        } catch (error) {
          failures.push(error);
        }
      }
    };
    await Promise.all(Array.from({ length: Math.min(availableParallelism(), stale.length) }, worker));
    if (failures.length) throw new StageError(failures.map((f) => f.message).join('\n'));
    for (const name of readdirSync(target)) {
      const family = /^(\w+)\.(ptx|fatbin|stamp|gates)$/.exec(name)?.[1];
      if (family && !families.includes(family)) rmSync(join(target, name));
    }
    const index = families.flatMap((family) =>
      [...readFileSync(join(target, `${family}.ptx`), 'utf8').matchAll(/\.entry (\w+)\(/g)].map((m) => `${m[1]} ${family}`),
    );
    writeFileSync(join(target, 'index.txt'), `${index.join('\n')}\n`);
    if (archs.length) {
      const gates = families.flatMap((family) => JSON.parse(readFileSync(join(target, `${family}.gates`), 'utf8')));
      writeFileSync(join(target, 'gates.json'), JSON.stringify(gates));
    }
    return 0;
  });
}

if (isProgram(import.meta.url))
  main(() => {
    const at = process.argv.indexOf('--arch');
    const asked = at < 0 ? '' : (process.argv[at + 1] ?? '');
    return buildKernels({ archs: asked === 'all' ? architectures : asked.split(',').filter(Boolean).map(Number) });
  });
