/**
 * npm run bench -- --simulated: what each CUDA kernel does on the simulated GPU, beside the least that its op needs, and the time below which no A100
 * or H100 could be (bytes over bandwidth, operations over peak). Counts are exact; the times are simulated and no measurement.
 */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  attention,
  cast,
  type Device,
  device,
  embedding,
  type FloatDType,
  losses,
  matmul,
  nn,
  optim,
  randn,
  scope,
  setDefaultDevice,
  type Tensor,
  tensor,
} from 'anneal';

/** A line of the simulated GPU's counters (docs/simulated-gpu.md). */
export interface Launch {
  kernel: string;
  grid: number[];
  leastBytes?: number;
  leastFlops?: number;
  globalLoadSectors: number;
  globalStoreSectors: number;
  idealLoadSectors: number;
  idealStoreSectors: number;
  distinctLoadBytes: number;
  distinctStoreBytes: number;
  sharedWavefronts: number;
  idealSharedWavefronts: number;
  mma: number;
  ldmatrix: number;
  flops: number;
  barriers: number;
  instructions: number;
}

/** Bytes per second; operations per second of f32 and of 16-bit tensor-core products, dense. From NVIDIA's data sheets (A100 80 GB SXM, H100 SXM). */
const gpus = {
  A100: { bandwidth: 2.039e12, f32: 19.5e12, mma: 312e12 },
  H100: { bandwidth: 3.35e12, f32: 67e12, mma: 989e12 },
} as const;

/** Of one mma.m16n8k16. */
const MMA_FLOPS = 2 * 16 * 8 * 16;

type Step = () => unknown;
interface Case {
  name: string;
  /** Makes the operands; what it returns is counted. */
  prepare(): Step;
}

const numbers = (shape: number[], dtype: FloatDType = 'bf16'): Tensor =>
  dtype === 'f32' ? randn(shape) : cast(randn(shape), dtype);
const learnt = (t: Tensor): Tensor => {
  t.requiresGrad = true;
  return t;
};
/** A step that adds to no gradient of an earlier one. */
const afresh =
  (leaves: Tensor[], step: Step): Step =>
  () => {
    for (const leaf of leaves) leaf.grad = null;
    return step();
  };
const classes = (n: number, of: number): Tensor =>
  tensor(
    Int32Array.from({ length: n }, (_, i) => (i * 7919) % of),
    { shape: [n] },
  );

/** One operand, forward and backward. */
const unary = (name: string, shape: number[], f: (x: Tensor) => Tensor, dtype: FloatDType = 'bf16'): Case => ({
  name: `${name} [${shape}] ${dtype}`,
  prepare: () => {
    const [x, g] = [learnt(numbers(shape, dtype)), numbers(f(numbers(shape, dtype)).shape as number[], dtype)];
    return afresh([x], () => f(x).backward(g));
  },
});
const product = (m: number, n: number, k: number, dtype: FloatDType): Case => ({
  name: `matmul ${m} x ${n} x ${k} ${dtype}`,
  prepare: () => {
    const [a, b] = [numbers([m, k], dtype), numbers([k, n], dtype)];
    return () => a.matmul(b);
  },
});
/** Rows that do not begin on whole sectors of memory; n and t say whether an operand lies transposed. */
const ragged = (m: number, n: number, k: number, layout: 'nn' | 'nt' | 'tn'): Case => ({
  name: `matmul ragged ${m} x ${n} x ${k}, ${layout}`,
  prepare: () => {
    const [transposeA, transposeB] = [layout[0] === 't', layout[1] === 't'];
    const [a, b] = [numbers(transposeA ? [k, m] : [m, k]), numbers(transposeB ? [n, k] : [k, n])];
    return () => matmul(a, b, { transposeA, transposeB });
  },
});
/** A layer in bf16, forward and backward; its parameters stay f32 masters. */
const layer = (name: string, shape: number[], make: () => nn.Module & { forward(x: Tensor): Tensor }): Case => ({
  name: `${name} [${shape}] bf16`,
  prepare: () => {
    const module = make().to(device('cuda'));
    const x = learnt(numbers(shape));
    const g = numbers(module.forward(x).shape as number[]);
    return afresh([x, ...module.parameters()], () => module.forward(x).backward(g));
  },
});

const cases: Case[] = [
  product(1024, 1024, 1024, 'bf16'),
  ragged(1000, 1000, 1000, 'nn'),
  ragged(1000, 1000, 1000, 'nt'),
  ragged(1000, 1000, 1000, 'tn'),
  ragged(1023, 777, 513, 'nn'),
  ragged(1023, 777, 513, 'nt'),
  ragged(1023, 777, 513, 'tn'),
  product(512, 512, 512, 'f32'),
  {
    name: 'attention, causal [1, 2, 512, 64] bf16',
    prepare: () => {
      const [q, k, v, g] = [1, 2, 3, 4].map(() => learnt(numbers([1, 2, 512, 64]))) as [Tensor, Tensor, Tensor, Tensor];
      return () => attention(q, k, v, { causal: true }).backward(g);
    },
  },
  layer('LayerNorm', [8192, 768], () => new nn.LayerNorm(768)),
  layer('RMSNorm', [8192, 768], () => new nn.RMSNorm(768)),
  layer('BatchNorm2d', [8, 64, 28, 28], () => new nn.BatchNorm2d(64)),
  layer('Conv2d 3x3', [4, 32, 28, 28], () => new nn.Conv2d(32, 64, { kernelSize: 3, padding: 1 })),
  layer('MaxPool2d', [8, 64, 24, 24], () => new nn.MaxPool2d(2)),
  unary('gelu', [1024, 1024], (x) => x.gelu()),
  unary('softmax', [1024, 1000], (x) => x.softmax()),
  unary('sum over rows', [1024, 1024], (x) => x.sum({ axis: 0 }), 'f32'),
  unary('sum over columns', [1024, 1024], (x) => x.sum({ axis: 1 }), 'f32'),
  unary('permute', [512, 768], (x) => x.transpose(0, 1)),
  {
    name: 'crossEntropy [512, 8192] bf16',
    prepare: () => {
      const [x, y] = [learnt(numbers([512, 8192])), classes(512, 8192)];
      return () => losses.crossEntropy(x, y).mean().backward();
    },
  },
  {
    name: 'embedding [4096] of [8192, 256] f32',
    prepare: () => {
      const [w, i, g] = [learnt(numbers([8192, 256], 'f32')), classes(4096, 8192), numbers([4096, 256], 'f32')];
      return () => embedding(i, w).backward(g);
    },
  },
  {
    name: 'AdamW, 20 parameters of 64 K',
    prepare: () => {
      const parameters = Array.from({ length: 20 }, () => new nn.Parameter(numbers([256, 256], 'f32')));
      const optimizer = new optim.AdamW(parameters, { lr: 1e-3 });
      for (const p of parameters) p.grad = numbers([256, 256], 'f32');
      return () => optimizer.step();
    },
  },
];

/** Runs a case once to warm up, then counted. */
async function count(c: Case, file: string, on: Device): Promise<Launch[]> {
  return scope.run(async () => {
    const step = c.prepare();
    await scope.run(async () => {
      await step();
      await on.synchronize();
    });
    const before = readFileSync(file, 'utf8').length;
    await scope.run(async () => {
      await step();
      await on.synchronize();
    });
    const lines = readFileSync(file, 'utf8').slice(before).trim().split('\n').filter(Boolean);
    return lines.map((line) => JSON.parse(line) as Launch);
  });
}

const bound = (l: Launch, gpu: keyof typeof gpus): number => {
  const { bandwidth, f32, mma } = gpus[gpu];
  return Math.max((l.distinctLoadBytes + l.distinctStoreBytes) / bandwidth, l.flops / (l.mma ? mma : f32)) * 1e6;
};

/** Bytes moved between the chip's memory system and its processors, in whole sectors. */
export const movedBytes = (l: Launch): number => 32 * (l.globalLoadSectors + l.globalStoreSectors);

function row(l: Launch): string {
  const moved = movedBytes(l);
  const least = l.leastBytes ?? 0;
  return [
    `  ${l.kernel}`.padEnd(46),
    (moved / 1e6).toFixed(3).padStart(9),
    (least ? (least / 1e6).toFixed(3) : '-').padStart(9),
    (least ? (moved / least).toFixed(2) : '-').padStart(7),
    String(l.sharedWavefronts - l.idealSharedWavefronts).padStart(10),
    (l.ldmatrix ? (l.mma / l.ldmatrix).toFixed(2) : '-').padStart(8),
    (l.flops ? ((100 * MMA_FLOPS * l.mma) / l.flops).toFixed(0) : '-').padStart(6),
    bound(l, 'A100').toFixed(1).padStart(9),
    bound(l, 'H100').toFixed(1).padStart(9),
  ].join('');
}

/** Prints the table; `only` chooses cases by a part of their name, in capitals or not. */
export async function benchSimulated(options: { only?: string; json?: string }): Promise<void> {
  const part = options.only?.toLowerCase() ?? '';
  const chosen = cases.filter(({ name }) => name.toLowerCase().includes(part));
  if (!chosen.length)
    throw new Error(`no case has '${options.only}' in its name. Cases:\n  ${cases.map((c) => c.name).join('\n  ')}`);
  const folder = mkdtempSync(join(tmpdir(), 'anneal-bench-'));
  const file = join(folder, 'counters.jsonl');
  writeFileSync(file, '');
  process.env.ANNEAL_SIM_COUNTERS = file;
  process.env.ANNEAL_CUDA_DRIVER ??= fileURLToPath(new URL('../build/Release/libanneal-sim-cuda.so', import.meta.url));
  try {
    const on = device('cuda');
    if (!on.gpu?.simulated) throw new Error(`${on.gpu?.name} is no simulated GPU: unset ANNEAL_CUDA_DRIVER`);
    setDefaultDevice(on);
    const results: { case: string; launches: Launch[] }[] = [];
    console.log(
      'simulated GPU: counts are exact, times are bounds from data sheets (bytes once over bandwidth, operations over peak), not measurements',
    );
    console.log(`${'kernel'.padEnd(46)} MB moved    least  ratio  conflicts mma/ldm  mma %  A100 us  H100 us`);
    for (const c of chosen) {
      const launches = await count(c, file, on);
      results.push({ case: c.name, launches });
      console.log(c.name);
      for (const l of launches) console.log(row(l));
    }
    if (options.json) writeFileSync(options.json, `${JSON.stringify(results, null, 2)}\n`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
