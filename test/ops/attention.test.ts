import { describe, expect, test } from 'vitest';
import { gradcheck } from '../../lib/autograd/gradcheck.ts';
import { native } from '../../lib/native/run.ts';
import { attention, packedAttention } from '../../lib/ops/attention.ts';
import { cast } from '../../lib/ops/define.ts';
import { concat, permute } from '../../lib/ops/index.ts';
import '../../lib/ops/create.ts';
import { bind } from '../../lib/tensor/context.ts';
import { fromHost } from '../../lib/tensor/create.ts';
import { defaultDevice } from '../../lib/tensor/device.ts';
import type { FloatDType } from '../../lib/tensor/dtype.ts';
import { PhiloxStream } from '../../lib/tensor/philox.ts';
import { scope } from '../../lib/tensor/scope.ts';
import { type HostArray, Parameter, type Tensor } from '../../lib/tensor/tensor.ts';
import { casesOf, runOp } from '../golden/run.ts';
import { expectClose } from '../helpers/compare.ts';
import { fewer, onGpu } from '../helpers/device.ts';
import { placed } from '../helpers/place.ts';
import { rounded, unitRoundoff } from '../helpers/rounding.ts';

/** Sums of uniforms, of variance 1: smooth, and the same each time. */
const drawn = new Map<string, Float64Array>();
function normals(name: string, size: number): Float64Array {
  let values = drawn.get(name);
  if (!values || values.length < size) {
    const random = new PhiloxStream(7, name);
    values = Float64Array.from({ length: 2 * size }, () => (random.uniform() + random.uniform() + random.uniform() - 1.5) * 2);
    drawn.set(name, values);
  }
  return values.slice(0, size);
}
const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

/** Values that `dtype` holds exactly, so that its kernel and the f64 one get the same operands. */
function random(name: string, shape: readonly number[], dtype: FloatDType, rounding: FloatDType = dtype): Tensor {
  const exact = placed(rounded(normals(name, sizeOf(shape)), rounding), shape, dtype);
  exact.requiresGrad = true;
  return exact;
}
const randomMask = (shape: readonly number[]): Tensor =>
  fromHost(
    Uint8Array.from(normals('mask', sizeOf(shape)), (x) => +(x > -0.5)),
    shape,
    'bool',
  );

const draw = { attributes: [1, 2, 3, 4], rowOffset: 0 } as const;

interface Sizes {
  b?: number;
  heads?: number;
  kvHeads?: number;
  tq: number;
  tk?: number;
  d: number;
}
type Options = Parameters<typeof attention>[3];

function operands(s: Sizes, dtype: FloatDType, rounding: FloatDType = dtype): [Tensor, Tensor, Tensor] {
  const { b = 2, heads = 2, tq, d } = s;
  const theirs = [b, s.kvHeads ?? heads, s.tk ?? tq, d];
  return [
    random('q', [b, heads, tq, d], dtype, rounding),
    random('k', theirs, dtype, rounding),
    random('v', theirs, dtype, rounding),
  ];
}

interface Read {
  shape: readonly number[];
  dtype: string;
  data: HostArray;
}
type Reads = [result: Read, dq: Read, dk: Read, dv: Read];

/** The result and the gradients of q, k, v. */
async function execute(s: Sizes, dtype: FloatDType, options: Options, rounding: FloatDType = dtype): Promise<Reads> {
  return scope.run(async () => {
    const [q, k, v] = operands(s, dtype, rounding);
    const mask = options?.mask?.to(q.device);
    const out = attention(q, k, v, mask ? { ...options, mask } : options);
    out.backward(random('g', out.shape, dtype, rounding).detach());
    const read = [out, q.grad, k.grad, v.grad] as Tensor[];
    return (await Promise.all(read.map(async (t) => ({ shape: t.shape, dtype: t.dtype, data: await t.data() })))) as Reads;
  });
}
const names = ['result', 'gradient of q', 'gradient of k', 'gradient of v'];

/** A fused kernel against the plain f64 one on the same operands. 16 bits: one rounding of the result; gradients also see the rounded result. */
async function againstF64(s: Sizes, dtype: FloatDType, options: Options, limits?: readonly [number, number]) {
  const [actual, expected] = [await execute(s, dtype, options), await execute(s, 'f64', options, dtype)];
  const u = unitRoundoff[dtype];
  // Tensor cores take the probabilities in 16 bits: one rounding more.
  const [forward, gradient] = limits ?? (dtype === 'f32' ? [3e-6, 1e-5] : [(onGpu ? 2 : 1.1) * u, 3 * u]);
  for (const [i, name] of names.entries()) {
    expect(actual[i]?.dtype).toBe(dtype);
    expectClose(`${name} ${JSON.stringify(s)}`, actual[i] as Read, expected[i] as Read, i === 0 ? forward : gradient);
  }
}

describe('goldens in f64', () => {
  for (const c of casesOf('attention', 'attention')) test(c.name, () => runOp(c, 'f64'));
});

describe('fused kernels against f64', () => {
  const lengths = [1, 7, 33, 64, 129];
  for (const dtype of ['f32', 'bf16', 'f16'] as const) {
    for (const t of lengths)
      test(`${dtype}, T ${t}, causal and not, every D`, async () => {
        for (const d of dtype === 'f32' && fewer(0, t) < 64 ? [1, 5, 8, 16, 32, 64, 80, 128] : [5, 64])
          for (const causal of [false, true]) await againstF64({ tq: t, d }, dtype, { causal });
      });
    test(`${dtype}, more tiles than one, grouped heads, other lengths`, async () => {
      await againstF64({ b: 1, tq: 300, d: 16 }, dtype, { causal: true });
      await againstF64({ b: 1, heads: 6, kvHeads: 2, tq: 50, tk: 290, d: 24 }, dtype, { causal: true });
      await againstF64({ b: 1, heads: 4, kvHeads: 1, tq: 290, tk: 33, d: 8 }, dtype, { causal: true });
      await againstF64({ b: 1, heads: 4, kvHeads: 2, tq: 65, tk: 261, d: 8 }, dtype, { scale: -0.3 });
    });
    test(`${dtype}, masks and dropout`, async () => {
      const [tq, tk] = [fewer(70, 35), fewer(150, 70)];
      const heads = fewer(4, 2);
      const s = { heads, kvHeads: heads / 2, tq, tk, d: 16 };
      for (const shape of [[tk], [tq, 1], [tq, tk], [2, 1, 1, tk], [2, 1, tq, tk], [heads, 1, 1], [2, heads, tq, tk], []]) {
        const mask = shape.length ? randomMask(shape) : fromHost(Uint8Array.of(1), [], 'bool');
        await againstF64(s, dtype, { mask });
        await againstF64(s, dtype, { mask, causal: true });
      }
      await againstF64(s, dtype, { dropout: { p: 0.3, draw } });
      await againstF64({ ...s, tk: tk + 1 }, dtype, { causal: true, mask: randomMask([tq, tk + 1]), dropout: { p: 0.3, draw } });
    });
  }
  test('scores of hundreds', async () => {
    await againstF64({ tq: 40, d: 16 }, 'f32', { scale: 20, causal: true }, [1e-5, 1e-4]);
  });
});

describe.skipIf(onGpu)('gradients in f64', () => {
  const check = (s: Sizes, options: Options) =>
    scope.run(() => gradcheck((q, k, v) => attention(q as Tensor, k as Tensor, v as Tensor, options), operands(s, 'f64')));
  const small = { b: 2, heads: 2, tq: 4, tk: 5, d: 3 };
  const variants: { [name: string]: [Sizes, Options] } = {
    plain: [small, {}],
    causal: [small, { causal: true }],
    'causal, more queries than keys': [{ ...small, tq: 6, tk: 3 }, { causal: true }],
    mask: [small, { mask: randomMask([2, 1, 4, 5]) }],
    'grouped heads': [
      { ...small, b: 1, heads: 4, kvHeads: 2 },
      { causal: true, scale: 0.7 },
    ],
    dropout: [small, { dropout: { p: 0.4, draw } }],
  };
  for (const [name, [s, options]] of Object.entries(variants)) test(name, () => check(s, options));
  for (const options of [
    { heads: 2 },
    { heads: 2, causal: true },
    { heads: 4, kvHeads: 2, causal: true, scale: 0.4 },
    { heads: 2, mask: randomMask([2, 1, 1, 5]) },
    { heads: 2, causal: true, dropout: 0.4 },
  ])
    test(`packed ${Object.keys(options)}`, () =>
      scope.run(() => {
        const width = (options.heads + 2 * (options.kvHeads ?? options.heads)) * 3;
        return gradcheck((x) => packedAttention(x as Tensor, options), [random('qkv', [2, 5, width], 'f64')]);
      }));
});

describe('the packed form', () => {
  for (const [kvHeads, dtype] of [
    [4, 'f32'],
    [2, 'f32'],
    [4, 'bf16'],
    [2, 'f64'],
  ] as const)
    test(`${kvHeads} kv heads, ${dtype}: the same bits as attention on q, k, v`, () =>
      scope.run(async () => {
        const [b, t, heads, d] = [2, 37, 4, 16];
        const options = { causal: true, dropout: { p: 0.2, draw } };
        const apart = operands({ b, heads, kvHeads, tq: t, d }, dtype);
        const joined = concat(
          apart.map((x) => permute(x.detach(), [0, 2, 1, 3]).reshape([b, t, x.size / (b * t)])),
          { axis: 2 },
        );
        joined.requiresGrad = true;
        const g = random('g', [b, t, heads * d], dtype).detach();
        const packed = packedAttention(joined, { heads, kvHeads, ...options });
        packed.backward(g);
        const out = attention(...apart, options);
        out.backward(permute(g.reshape([b, t, heads, d]), [0, 2, 1, 3]));
        expect(await packed.data()).toEqual(await permute(out.detach(), [0, 2, 1, 3]).data());
        const grads = apart.map((x) => permute(x.grad as Tensor, [0, 2, 1, 3]).reshape([b, t, x.size / (b * t)]));
        expect(await (joined.grad as Tensor).data()).toEqual(await concat(grads, { axis: 2 }).data());
      }));
});

describe('dropout', () => {
  test('drops what the house rule says', () =>
    scope.run(async () => {
      // Equal scores and v = 1: a row's result is the share of its keys that stay, times 1 / (1 - p).
      const [b, heads, t, d, p] = [2, 3, 9, 4, 0.25];
      const [q, v] = [
        fromHost(new Float32Array(b * heads * t * d), [b, heads, t, d], 'f32'),
        fromHost(new Float32Array(b * heads * t * d).fill(1), [b, heads, t, d], 'f32'),
      ];
      const at = { attributes: [5, 6, 7, 8], rowOffset: 3 } as const;
      const data = await attention(q, q, v, { dropout: { p, draw: at } }).data();
      const words = new PhiloxStream(6n * 2n ** 32n + 5n, 7, 8);
      const expected = Float64Array.from({ length: data.length }, (_, i) => {
        const row = Math.floor(i / d) + at.rowOffset * heads * t;
        let stays = 0;
        for (let j = 0; j < t; j++) stays += +(words.wordAt(row * t + j) >= Math.floor(p * 2 ** 32));
        return stays / t / (1 - p);
      });
      expectClose('result', { shape: [], data }, { shape: [], data: expected }, 1e-6);
    }));
  test('a batch in two parts drops the same', () =>
    scope.run(async () => {
      const [t, heads, d] = [33, 2, 8];
      const x = random('qkv', [4, t, 3 * heads * d], 'f32').detach();
      const run = (part: Tensor, rowOffset: number) =>
        packedAttention(part, { heads, causal: true, dropout: { p: 0.5, draw: { ...draw, rowOffset } } }).data();
      const half = (i: number) => x.alias([2, t, 3 * heads * d], i * 2 * t * 3 * heads * d * 4);
      const whole = await run(x, 0);
      expect([...(await run(half(0), 0)), ...(await run(half(1), 2))]).toEqual([...whole]);
    }));
  test('each draw is another, and all or nothing may go', () =>
    scope.run(async () => {
      const [q, k, v] = operands({ tq: 20, d: 8 }, 'f32');
      const [a, b] = [await attention(q, k, v, { dropout: 0.5 }).data(), await attention(q, k, v, { dropout: 0.5 }).data()];
      expect(a).not.toEqual(b);
      expect(await attention(q, k, v, { dropout: 0 }).data()).toEqual(await attention(q, k, v).data());
      expect((await attention(q, k, v, { dropout: 1 }).data()).every((x) => x === 0)).toBe(true);
    }));
});

describe('edges', () => {
  test('a query that may attend to nothing gives zeros, and zero gradients', async () => {
    for (const dtype of ['f32', 'f64'] as const) {
      const mask = fromHost(Uint8Array.of(0, 0, 0, 1, 1, 0), [2, 3], 'bool');
      const [out, dq] = await execute({ b: 1, heads: 1, tq: 2, tk: 3, d: 4 }, dtype, { mask });
      expect([...out.data.slice(0, 4), ...dq.data.slice(0, 4)]).toEqual(new Array(8).fill(0));
      // Causal with more queries than keys: the first see no key.
      const all = await execute({ b: 1, heads: 1, tq: 5, tk: 2, d: 2 }, dtype, { causal: true });
      expect([...all[0].data.slice(0, 6)]).toEqual(new Array(6).fill(0));
      for (const t of all) expect(t.data.every(Number.isFinite)).toBe(true);
    }
  });
  test('NaN in a query or a key reaches what depends on it, and no earlier row', async () => {
    for (const [what, from] of [
      ['q', 30],
      ['k', 30],
    ] as const)
      await scope.run(async () => {
        const [q, k, v] = await Promise.all(operands({ b: 1, heads: 1, tq: 60, d: 8 }, 'f32').map((t) => t.data()));
        ((what === 'q' ? q : k) as Float32Array)[30 * 8] = Number.NaN;
        const [x, y, z] = [q, k, v].map((data) => fromHost(data as Float32Array, [1, 1, 60, 8], 'f32')) as [
          Tensor,
          Tensor,
          Tensor,
        ];
        const out = await attention(x, y, z, { causal: true }).data();
        const rows = Array.from({ length: 60 }, (_, i) => Number.isNaN(out[i * 8]));
        expect(rows).toEqual(rows.map((_, i) => (what === 'q' ? i === from : i >= from)));
      });
  });
  test('sizes of 0', async () => {
    for (const dtype of ['f32', 'f64'] as const) {
      for (const s of [
        { b: 0, tq: 3, d: 4 },
        { tq: 0, tk: 3, d: 4 },
        { tq: 3, d: 0 },
        { heads: 0, kvHeads: 1, tq: 3, d: 4 },
      ]) {
        const all = await execute(s, dtype, { causal: true });
        for (const t of all) expect(t.data.every((x) => x === 0)).toBe(true);
      }
      const all = await execute({ b: 1, tq: 3, tk: 0, d: 2 }, dtype, {});
      expect([...all[0].data]).toEqual(new Array(12).fill(0));
      expect([...all[1].data]).toEqual(new Array(12).fill(0));
    }
  });
  test('only the gradients that are wanted', () =>
    scope.run(async () => {
      const whole = await execute({ tq: 50, d: 16 }, 'f32', { causal: true });
      for (const wanted of [0, 1, 2]) {
        const all = operands({ tq: 50, d: 16 }, 'f32');
        const out = attention(...(all.map((t, i) => (i === wanted ? t : t.detach())) as [Tensor, Tensor, Tensor]), {
          causal: true,
        });
        out.backward(random('g', out.shape, 'f32').detach());
        expect(await all[wanted]?.grad?.data()).toEqual(whole[wanted + 1]?.data);
      }
    }));
});

test.skipIf(onGpu)('the same bits for any number of threads', async () => {
  const before = native().threads();
  try {
    for (const s of [
      { b: 3, heads: 4, kvHeads: 2, tq: 130, d: 32 },
      { b: 1, heads: 1, tq: 700, d: 8 },
    ]) {
      const results = [];
      for (const n of [1, 2, 3]) {
        native().threads(n);
        results.push(await execute(s, 'f32', { causal: true, dropout: { p: 0.1, draw } }));
      }
      expect(results[1]).toEqual(results[0]);
      expect(results[2]).toEqual(results[0]);
    }
  } finally {
    native().threads(before);
  }
});

test('memory grows with T, not with its square', () =>
  scope.run(async () => {
    const { number } = defaultDevice();
    const t = fewer(2048, 512);
    const x = random('qkv', [1, t, 3 * 8], 'f32').detach();
    x.requiresGrad = true;
    await x.data();
    const start = native().memory(number, true).live;
    const out = packedAttention(x, { heads: 1, causal: true });
    out.backward(random('g', out.shape, 'f32').detach());
    await x.grad?.data();
    expect(native().memory(number).peak - start).toBeLessThan(t * 8 * 4 * 20);
  }));

test('precision policy: 16-bit inside, gradients in the dtype of the operands', () =>
  scope.run(async () => {
    const [q, k, v] = operands({ tq: 9, d: 8 }, 'f32');
    const out = bind({ precision: 'bf16' }, () => attention(q, k, v, { causal: true }));
    expect(out.dtype).toBe('bf16');
    out.backward(random('g', out.shape, 'bf16').detach());
    expect([q.grad, k.grad, v.grad].map((g) => g?.dtype)).toEqual(['f32', 'f32', 'f32']);
    const rounded = operands({ tq: 9, d: 8 }, 'f32').map((t) => cast(t.detach(), 'bf16')) as [Tensor, Tensor, Tensor];
    expect(await out.data()).toEqual(await attention(...rounded, { causal: true }).data());
  }));

describe('bad input', () => {
  const t = (shape: number[], dtype: 'f32' | 'f64' | 'i32' | 'bool' = 'f32') =>
    fromHost(
      dtype === 'i32'
        ? new Int32Array(sizeOf(shape))
        : dtype === 'bool'
          ? new Uint8Array(sizeOf(shape))
          : dtype === 'f64'
            ? new Float64Array(sizeOf(shape))
            : new Float32Array(sizeOf(shape)),
      shape,
      dtype,
    );
  const x = t([2, 4, 5, 8]);
  const qkv = t([2, 5, 96]);
  const table: [string, () => unknown, string, RegExp][] = [
    ['rank', () => attention(t([4, 5, 8]), x, x), 'SHAPE', /q must be \[B, heads, T, D\].*\[4, 5, 8\]/],
    ['no tensor', () => attention(x, 3 as never, x), 'DTYPE', /k must be a Tensor/],
    ['integers', () => attention(x, x, t([2, 4, 5, 8], 'i32')), 'DTYPE', /v must be a float tensor, got i32/],
    ['D', () => attention(x, t([2, 4, 5, 16]), t([2, 4, 5, 16])), 'SHAPE', /agree in B and D/],
    ['batch', () => attention(x, t([1, 4, 5, 8]), t([1, 4, 5, 8])), 'SHAPE', /agree in B and D/],
    ['k and v', () => attention(x, x, t([2, 4, 6, 8])), 'SHAPE', /v must have k's shape \[2, 4, 5, 8\], got \[2, 4, 6, 8\]/],
    ['heads', () => attention(x, t([2, 3, 5, 8]), t([2, 3, 5, 8])), 'SHAPE', /4 heads.*multiple of the 3 heads/],
    ['dtypes', () => attention(x, t([2, 4, 5, 8], 'f64'), x), 'DTYPE', /f32, f64 and f32.*k\.to\('f32'\)/],
    ['option', () => attention(x, x, x, { casual: true } as never), 'CONFIG', /"casual" should be "causal"/],
    ['mask dtype', () => attention(x, x, x, { mask: t([5, 5]) }), 'DTYPE', /mask must be bool.*mask\.ne\(0\)/],
    [
      'mask shape',
      () => attention(x, x, x, { mask: t([5, 6], 'bool') }),
      'SHAPE',
      /mask \[5, 6\] does not broadcast to .*\[2, 4, 5, 5\]/,
    ],
    ['mask rank', () => attention(x, x, x, { mask: t([1, 2, 4, 5, 5], 'bool') }), 'SHAPE', /does not broadcast/],
    ['scale', () => attention(x, x, x, { scale: Number.NaN }), 'CONFIG', /scale must be a number/],
    ['dropout', () => attention(x, x, x, { dropout: 1.5 }), 'CONFIG', /dropout must be a number from 0 to 1, got 1.5/],
    ['packed rank', () => packedAttention(x, { heads: 4 }), 'SHAPE', /qkv must be \[B, T, \(heads \+ 2 kvHeads\) D\]/],
    ['packed heads', () => packedAttention(qkv, {} as never), 'CONFIG', /heads must be a whole number from 1, got undefined/],
    ['packed no options', () => packedAttention(qkv, undefined as never), 'CONFIG', /heads must be a whole number/],
    [
      'packed kvHeads',
      () => packedAttention(qkv, { heads: 4, kvHeads: 3 }),
      'CONFIG',
      /heads \(4\) must be a multiple of kvHeads \(3\)/,
    ],
    [
      'packed width',
      () => packedAttention(qkv, { heads: 5 }),
      'SHAPE',
      /\[2, 5, 96\] is not a multiple of heads \+ 2 kvHeads = 15/,
    ],
    [
      'frozen leaf',
      () => packedAttention(new Parameter(t([2, 5, 96])), { heads: 4, kvheads: 2 } as never),
      'CONFIG',
      /"kvheads" should be "kvHeads"/,
    ],
  ];
  for (const [name, call, code, message] of table)
    test(name, () => {
      let error: { code?: string; message?: string } = {};
      try {
        call();
      } catch (e) {
        error = e as typeof error;
      }
      expect(error.code).toBe(code);
      expect(error.message).toMatch(message);
    });
});
