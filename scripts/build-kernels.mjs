// npm run build:kernels [-- --arch 80,90 | --arch all [--table FILE]]: compiles native/cuda/*.cu with nvcc into build/Release/kernels.
//
//   <family>.ptx     what the simulated GPU executes
//   <family>.fatbin  with --arch: cubins of those architectures and compute_80 PTX, from the same nvcc call as the .ptx
//   index.txt        "<kernel> <family>" a line: where the addon looks for a kernel
//   <family>.stamp   what it was made from, and the architectures with machine code
//   gates.json       with --arch: registers, shared memory, stack and spills of every kernel; stack, spills and warnings fail the build
//
// Only what changed is compiled again. Without nvcc nothing is built, and device('cuda') says so.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { isProgram, locked, main, root, StageError } from './lib/stage.mjs';

const source = join(root, 'native', 'cuda');
const target = join(root, 'build', 'Release', 'kernels');
export const architectures = [80, 86, 89, 90, 100, 120];
const folders = [join(root, 'native'), join(root, 'native', 'src')];
const includes = folders.flatMap((folder) => ['-I', folder]);
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

/** A file and every file of ours that it includes, by whatever way. */
function sourcesOf(path, found = new Set()) {
  if (found.has(path)) return found;
  found.add(path);
  for (const [, name] of readFileSync(path, 'utf8').matchAll(/^#include "([^"]+)"/gm)) {
    const at = [dirname(path), ...folders].map((folder) => join(folder, name)).find(existsSync);
    if (at) sourcesOf(at, found);
  }
  return found;
}

/** A hash over everything that a family's kernels are made of. */
function fingerprint(family) {
  const hash = createHash('sha256').update(JSON.stringify(language));
  for (const path of [...sourcesOf(join(source, `${family}.cu`))].sort()) hash.update(readFileSync(path));
  return hash.digest('hex');
}

/** What stands in build/Release/kernels for a family: its fingerprint, and the architectures with machine code. */
function built(family) {
  const stamp = join(target, `${family}.stamp`);
  if (!existsSync(stamp) || !existsSync(join(target, `${family}.ptx`))) return undefined;
  const [hash, archs = ''] = readFileSync(stamp, 'utf8').split(' ');
  return { hash, archs: archs.split(',').filter(Boolean).map(Number) };
}

/** FNV-1a, 64 bits: by it the simulated GPU knows the fatbin that its PTX belongs to. */
function fnv1a64(bytes) {
  let hash = 0xcbf29ce484222325n;
  for (const byte of bytes) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  return hash.toString(16).padStart(16, '0');
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
    for (const ending of ['fatbin', 'gates']) rmSync(join(target, `${family}.${ending}`), { force: true });
  } else {
    // No kernel has code for one architecture alone: one front end's PTX serves them all.
    const code = archs.flatMap((a) => ['-gencode', `arch=compute_80,code=sm_${a}`]);
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
    const hash = fnv1a64(readFileSync(join(out, 'fatbin')));
    writeFileSync(join(out, 'ptx'), `// fatbin fnv1a64 ${hash}\n${readFileSync(join(out, kept), 'utf8')}`);
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
    const stale = families.filter((family) => {
      const there = built(family);
      return there?.hash !== fingerprint(family) || archs.some((a) => !there.archs.includes(a));
    });
    const waiting = [...stale];
    const failures = [];
    const worker = async () => {
      for (let family = waiting.shift(); family; family = waiting.shift()) {
        try {
          await compile(family, archs);
          writeFileSync(join(target, `${family}.stamp`), `${fingerprint(family)} ${archs}`);
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
      const gates = families.flatMap((family) =>
        JSON.parse(readFileSync(join(target, `${family}.gates`), 'utf8')).map((row) => ({ family, ...row })),
      );
      writeFileSync(join(target, 'gates.json'), JSON.stringify(gates));
    }
    return 0;
  });
}

/** The gates as a page: a line per family, the most that one of its kernels needs on each architecture. */
function tableOf(gates, version) {
  const most = (rows, what) => Math.max(...rows.map((row) => row[what]));
  const lines = [];
  const families = new Map();
  for (const row of gates) families.set(row.family, [...(families.get(row.family) ?? []), row]);
  for (const [family, rows] of families) {
    const registers = architectures.map((a) =>
      most(
        rows.filter((row) => row.arch === `sm_${a}`),
        'registers',
      ),
    );
    const kernels = new Set(rows.map((row) => row.kernel)).size;
    lines.push(
      `| ${[family, kernels, ...registers, most(rows, 'shared'), most(rows, 'stack'), most(rows, 'spills')].join(' | ')} |`,
    );
  }
  const head = ['family', 'kernels', ...architectures.map((a) => `sm_${a}`), 'static shared, bytes', 'stack', 'spills'];
  return `# Static gates of the CUDA kernels

Made by \`npm run build:kernels -- --arch all --table docs/kernels.md\` with ${version}. Registers per thread, shared memory, stack and spills are the most that any
kernel of the family needs, as ptxas says; a stack frame, a spill or a warning fails the build. \`npm test\` holds sm_80 and sm_90 to it, this page all six.

| ${head.join(' | ')} |
|${head.map(() => '---').join('|')}|
${lines.join('\n')}

${new Set(gates.map((row) => row.kernel)).size} kernels, ${gates.length} compilations.
`;
}

if (isProgram(import.meta.url))
  main(async () => {
    const { values } = parseArgs({ options: { arch: { type: 'string', default: '' }, table: { type: 'string' } } });
    const archs = values.arch === 'all' ? architectures : values.arch.split(',').filter(Boolean).map(Number);
    if (values.table && archs.length < architectures.length)
      throw new StageError('--table is of all architectures: add --arch all');
    await buildKernels({ archs });
    if (!values.table) return;
    const version = /release [\d.]+, V[\d.]+/.exec(await output('nvcc', ['--version']))?.[0];
    writeFileSync(
      join(root, values.table),
      tableOf(JSON.parse(readFileSync(join(target, 'gates.json'), 'utf8')), `nvcc ${version}`),
    );
  });
