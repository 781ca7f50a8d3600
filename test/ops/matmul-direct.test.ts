import { describe, expect, it } from 'vitest';
import { cpuInfo, device, linear, matmul, tensor } from '../../lib/index.ts';

// Around the sizes at which native/src/cpu/matmul_direct.cc takes over, and cuts: tiles of 6 x 16, blocks of 96 rows, slabs of 384.
const sizes: [number, number, number][] = [
  [96, 64, 256],
  [96, 65, 255],
  [97, 65, 384],
  [98, 79, 385],
  [130, 129, 1024],
  [101, 66, 1025],
  [191, 200, 769],
  [33, 17, 400],
];

function noise(n: number, seed: number): Float32Array {
  let state = seed;
  return Float32Array.from({ length: n }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

function reference(
  a: Float32Array,
  b: Float32Array,
  [m, n, k]: [number, number, number],
  ta: boolean,
  tb: boolean,
): Float64Array {
  const out = new Float64Array(m * n);
  for (let i = 0; i < m; i++)
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let p = 0; p < k; p++) sum += (a[ta ? p * m + i : i * k + p] as number) * (b[tb ? j * k + p : p * n + j] as number);
      out[i * n + j] = sum;
    }
  return out;
}

const worst = (got: ArrayLike<number>, want: Float64Array): number =>
  want.reduce((w, v, i) => Math.max(w, Math.abs((got[i] as number) - v)), 0);

const bytes = (x: ArrayBufferView): Buffer => Buffer.from(x.buffer, x.byteOffset, x.byteLength);

describe('products at the edges of tiles, blocks and slabs', () => {
  for (const size of sizes)
    for (const [ta, tb] of [
      [false, false],
      [false, true],
      [true, false],
      [true, true],
    ] as const)
      it(`${size} ${ta ? 'T' : 'N'}${tb ? 'T' : 'N'}`, async () => {
        const [m, n, k] = size;
        const [a, b] = [noise(m * k, 1), noise(k * n, 2)];
        const x = tensor(a, { shape: ta ? [k, m] : [m, k] });
        const y = tensor(b, { shape: tb ? [n, k] : [k, n] });
        const want = reference(a, b, size, ta, tb);
        const got = await matmul(x, y, { transposeA: ta, transposeB: tb }).data();
        expect(worst(got, want)).toBeLessThan(2e-6 * Math.sqrt(k) + 1e-6);
        // oneDNN's products depend on the number of threads; ours do not.
        if (cpuInfo().isa !== 'v3' || !ta || tb || m < 96 || n < 64 || k < 256 || k > 1024) return;
        const before = device('cpu').threads;
        try {
          for (const threads of [1, 2, 3]) {
            device('cpu').threads = threads;
            const again = await matmul(x, y, { transposeA: ta, transposeB: tb }).data();
            expect(Buffer.compare(bytes(again), bytes(got)), `${threads} threads`).toBe(0);
          }
        } finally {
          device('cpu').threads = before;
        }
      });

  it('bias, relu and residual, and gradients added to what is there', async () => {
    const size: [number, number, number] = [400, 100, 100];
    const [m, n, k] = size;
    const [a, b, c, r] = [noise(m * k, 1), noise(k * n, 2), noise(n, 3), noise(m * n, 4)];
    const x = tensor(a, { shape: [m, k], requiresGrad: true });
    const w = tensor(b, { shape: [n, k], requiresGrad: true });
    const [bias, residual] = [tensor(c), tensor(r, { shape: [m, n] })];
    const sums = reference(a, b, size, false, true);
    const plus = sums.map((v, i) => v + (c[i % n] as number));
    const relu = await linear(x, w, bias, { activation: 'relu' }).data();
    expect(
      worst(
        relu,
        plus.map((v) => Math.max(0, v)),
      ),
    ).toBeLessThan(1e-4);
    const out = linear(x, w, bias, { residual });
    expect(
      worst(
        await out.data(),
        plus.map((v, i) => v + (r[i] as number)),
      ),
    ).toBeLessThan(1e-4);

    const g = noise(m * n, 5);
    for (let i = 0; i < 2; i++) linear(x, w).backward(tensor(g, { shape: [m, n] }));
    const dw = reference(g, a, [n, k, m], true, false).map((v) => 2 * v);
    const dx = reference(g, b, [m, k, n], false, false).map((v) => 2 * v);
    expect(worst(await (w.grad as typeof w).data(), dw)).toBeLessThan(1e-4);
    expect(worst(await (x.grad as typeof x).data(), dx)).toBeLessThan(1e-4);
  });

  it('NaN passes through relu', async () => {
    const a = new Float32Array(32 * 64).fill(1);
    a[5] = Number.NaN;
    const out = await linear(tensor(a, { shape: [32, 64] }), tensor(noise(32 * 64, 1), { shape: [32, 64] }), null, {
      activation: 'relu',
    }).data();
    expect(Array.from(out.slice(0, 32)).every(Number.isNaN)).toBe(true);
    expect(Array.from(out.slice(32)).some(Number.isNaN)).toBe(false);
  });
});
