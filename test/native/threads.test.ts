/** One budget of threads; results that do not depend on it; environments that do not see each other. */
import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { afterAll, describe, expect, test } from 'vitest';
import { native } from '../../lib/native/run.ts';
import { conv2d } from '../../lib/ops/conv.ts';
import { linear } from '../../lib/ops/linear.ts';
import { crossEntropy } from '../../lib/ops/loss.ts';
import { matmul } from '../../lib/ops/matmul.ts';
import { layerNorm } from '../../lib/ops/norm.ts';
import { mean, sum } from '../../lib/ops/reduce.ts';
import { softmax } from '../../lib/ops/softmax.ts';
import { gelu } from '../../lib/ops/unary.ts';
import { tensor } from '../../lib/tensor/create.ts';
import { device } from '../../lib/tensor/device.ts';
import { scope } from '../../lib/tensor/scope.ts';
import type { Tensor } from '../../lib/tensor/tensor.ts';

const cpu = device('cpu');
const before = cpu.threads;
afterAll(() => {
  cpu.threads = before;
});

const wave = (shape: number[], requiresGrad = false) => {
  const size = shape.reduce((a, b) => a * b, 1);
  return tensor(
    Float32Array.from({ length: size }, (_, i) => Math.sin(i * 12.9898) * 0.7),
    { shape, requiresGrad },
  );
};

/** Ops large enough to be split, each with its gradient. */
const work: { readonly [name: string]: (x: Tensor, w: Tensor) => Tensor } = {
  gelu: (x) => gelu(x),
  sum: (x) => sum(x),
  'mean over rows': (x) => mean(x, { axis: 0 }),
  softmax: (x) => softmax(x, { axis: 1 }),
  layerNorm: (x, w) => layerNorm(x, w.sum({ axis: 0 }), null, { normalizedShape: [300] }),
};

async function results(threads: number, op: (x: Tensor, w: Tensor) => Tensor): Promise<ArrayLike<number>[]> {
  cpu.threads = threads;
  const x = wave([400, 300], true);
  const w = wave([200, 300], true);
  return Promise.all(
    scope(() => {
      const y = op(x, w);
      y.backward(y.size === 1 ? undefined : wave([...y.shape]));
      return [y.data(), (x.grad as Tensor).data(), ...(w.grad ? [w.grad.data()] : [])];
    }),
  );
}

/** Equal to the last bit; long arrays are compared as bytes. */
function expectSame(a: readonly unknown[], b: readonly unknown[]): void {
  const bytes = (t: unknown) => Buffer.from((t as Float32Array).buffer);
  expect(a.length).toBe(b.length);
  expect(a.map((t, i) => bytes(t).equals(bytes(b[i])))).toEqual(a.map(() => true));
}

describe('the number of threads', () => {
  for (const [name, op] of Object.entries(work)) {
    test(`changes no bit of ${name}`, async () => {
      const [one, two, five] = [await results(1, op), await results(2, op), await results(5, op)];
      expectSame(two, one);
      expectSame(five, one);
    });
  }

  test('changes no bit of a convolution, a loss', async () => {
    const run = async (threads: number) => {
      cpu.threads = threads;
      const [x, k] = [wave([8, 3, 32, 32], true), wave([16, 3, 3, 3], true)];
      const labels = tensor(Int32Array.from({ length: 8 }, (_, i) => i));
      return Promise.all(
        scope(() => {
          const y = conv2d(x, k, null, { padding: 1 });
          const loss = crossEntropy(y.reshape([8, -1]), labels);
          loss.terms[0]?.sum.backward();
          return [y.data(), loss.terms[0]?.sum.data(), (x.grad as Tensor).data(), (k.grad as Tensor).data()];
        }),
      );
    };
    expectSame(await run(2), await run(1));
    expectSame(await run(3), await run(1));
  });

  test('may change the last bit of a matrix product (oneDNN splits its sums by it), but one number gives one result', async () => {
    const products = [(x: Tensor, w: Tensor) => matmul(x, w, { transposeB: true }), (x: Tensor, w: Tensor) => linear(x, w)];
    for (const op of products) for (const n of [1, 2, 3]) expectSame(await results(n, op), await results(n, op));
  });

  test('is a whole number above 0', () => {
    for (const n of [0, -1, 1.5, Number.NaN])
      expect(() => {
        cpu.threads = n;
      }).toThrow(/threads: .* is not a whole number above 0/);
    cpu.threads = 3;
    expect(cpu.threads).toBe(3);
    cpu.threads = before;
  });

  test('is what this process may use, unless the environment says otherwise', async () => {
    expect(native().info().cpu.available).toBeGreaterThanOrEqual(1);
    const tsx = pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href;
    const module = fileURLToPath(new URL('../../lib/tensor/device.ts', import.meta.url));
    const program = `const { device } = await import(process.argv[1]); console.log(device('cpu').threads);`;
    const threads = async (env: Record<string, string>) => {
      const args = ['--import', tsx, '--input-type=module', '-e', program, module];
      return Number((await promisify(execFile)(process.execPath, args, { env: { ...process.env, ...env } })).stdout);
    };
    expect(await threads({ ANNEAL_NUM_THREADS: '3' })).toBe(3);
    expect(await threads({ OMP_NUM_THREADS: '5', ANNEAL_NUM_THREADS: '' })).toBe(5);
  });
});

describe('environments', () => {
  test('workers compute at once, each with memory of its own', async () => {
    cpu.threads = before;
    const lib = new URL('../../lib/', import.meta.url).href;
    const source = `import('tsx/esm/api').then(async ({ register }) => {
      register();
      const { matmul } = await import('${lib}ops/matmul.ts');
      const { tensor } = await import('${lib}tensor/create.ts');
      const { device } = await import('${lib}tensor/device.ts');
      const { scope } = await import('${lib}tensor/scope.ts');
      const { workerData, parentPort } = require('node:worker_threads');
      const start = device('cpu').memory();
      const x = tensor(new Float32Array(200 * 200).fill(workerData), { shape: [200, 200] });
      let last;
      for (let i = 0; i < 30; i++) last = await Promise.all(scope(() => [matmul(x, x).data()]));
      parentPort.postMessage({ start, value: last[0][0], handles: device('cpu').memory().handles });
    })`;
    const kept = tensor([1, 2, 3]);
    const { handles } = cpu.memory();
    const workers = [1, 2, 3].map((n) => new Worker(source, { eval: true, workerData: n }));
    const answers = await Promise.all(
      workers.map((w) => new Promise((resolve, reject) => w.once('message', resolve).once('error', reject))),
    );
    await Promise.all(workers.map((w) => w.terminate()));
    const fresh = expect.objectContaining({ live: 0, handles: 0, peak: 0 });
    expect(answers).toEqual([1, 2, 3].map((n) => ({ start: fresh, value: 200 * n * n, handles: 1 })));
    expect(cpu.memory().handles).toBe(handles);
    expect(kept.disposed).toBe(false);
  });
});
