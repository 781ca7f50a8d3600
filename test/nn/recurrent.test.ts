/** What the goldens of recurrent layers (test/golden/layers.test.ts) leave: names, rows of every length, precision, dropout, refusals. */
import { describe, expect, test } from 'vitest';
import { ConfigError, concat, manualSeed, nn, randn, ShapeError, scope, type Tensor, tensor } from '../../lib/index.ts';
import { bind } from '../../lib/tensor/context.ts';
import { expectClose } from '../helpers/compare.ts';

const kinds = ['LSTM', 'GRU', 'RNN'] as const;
const values = async (t: Tensor) => ({ shape: t.shape, data: await t.data() });
const shapes = (m: nn.Module) => Object.fromEntries([...m.stateDict()].map(([name, t]) => [name, [...t.shape]]));

describe.each(kinds)('%s', (kind) => {
  test('has PyTorch’s names and shapes', () => {
    const g = { LSTM: 4, GRU: 3, RNN: 1 }[kind];
    const layer = new nn[kind](5, 3, { numLayers: 2, bidirectional: true });
    const of = (suffix: string, width: number) => ({
      [`weight_ih_${suffix}`]: [3 * g, width],
      [`weight_hh_${suffix}`]: [3 * g, 3],
      [`bias_ih_${suffix}`]: [3 * g],
      [`bias_hh_${suffix}`]: [3 * g],
    });
    expect(shapes(layer)).toEqual({ ...of('l0', 5), ...of('l0_reverse', 5), ...of('l1', 6), ...of('l1_reverse', 6) });
  });

  test('a row of a batch of many lengths is the row by itself, gradients too', async () => {
    manualSeed(1);
    const layer = new nn[kind](4, 3, { numLayers: 2, bidirectional: true });
    const lengths = [3, 6, 1];
    const x = randn([3, 6, 4], { requiresGrad: true });
    const seed = randn([3, 6, 6]);
    layer.forward(x, { lengths }).output.mul(seed).sum().backward();
    const batched = await values(x.grad as Tensor);
    const together = await values(layer.forward(x.detach(), { lengths }).output);
    const alone: Tensor[] = [];
    const grads: Tensor[] = [];
    for (const [i, length] of lengths.entries()) {
      const row = x.detach().narrow(0, i, 1).narrow(1, 0, length).detach();
      row.requiresGrad = true;
      const { output } = layer.forward(row);
      output
        .mul(seed.narrow(0, i, 1).narrow(1, 0, length))
        .sum()
        .backward();
      const none = [
        [0, 0],
        [0, 6 - length],
        [0, 0],
      ] as const;
      alone.push(output.detach().pad(none));
      grads.push((row.grad as Tensor).pad(none));
    }
    expectClose('output', together, await values(concat(alone)), 1e-6);
    expectClose('gradient', batched, await values(concat(grads)), 1e-5);
  });

  test('16-bit policies follow f32', async () => {
    manualSeed(2);
    const layer = new nn[kind](8, 8);
    const x = randn([2, 5, 8]);
    const exact = await values(layer.forward(x).output);
    for (const [precision, limit] of [
      ['bf16', 0.03],
      ['f16', 0.004],
    ] as const) {
      const y = bind({ precision }, () => layer.forward(x).output);
      expect(y.dtype).toBe(precision);
      expectClose(precision, await values(y), exact, limit);
      y.sum().backward();
      for (const p of layer.parameters()) {
        expect(p.grad?.dtype).toBe('f32');
        p.grad = null;
      }
    }
  });

  test('drops between layers while training only, the same for each row wherever it stands', async () => {
    manualSeed(3);
    const layer = new nn[kind](2, 64, { numLayers: 2, dropout: 0.5 });
    const x = randn([2, 3, 2]);
    const train = await values(layer.forward(x).output);
    layer.eval();
    const plain = await values(layer.forward(x).output);
    expect(await values(layer.forward(x).output)).toEqual(plain);
    expect(train.data).not.toEqual(plain.data);
  });

  test('starts as U(-1/sqrt(H), 1/sqrt(H))', async () => {
    manualSeed(4);
    const w = await (new nn[kind](30, 100).stateDict().get('weight_ih_l0') as Tensor).data();
    const most = Math.max(...Array.from(w, Math.abs));
    expect(most).toBeLessThanOrEqual(0.1);
    expect(most).toBeGreaterThan(0.099);
  });

  test('says what is wrong', () => {
    const layer = new nn[kind](4, 3);
    const x = randn([2, 5, 4]);
    expect(() => layer.forward(randn([2, 5, 3]))).toThrow(ShapeError);
    expect(() => layer.forward(randn([2, 0, 4]))).toThrow(/no steps/);
    expect(() => layer.forward(x, { h0: randn([1, 3]) })).toThrow(/numLayers directions/);
    expect(() => layer.forward(x, { lengths: [1] })).toThrow(ShapeError);
    expect(() => layer.forward(x, { lengths: [1, 6] })).toThrow(ConfigError);
    expect(() => layer.forward(x, { lengths: randn([2]) })).toThrow(/i32/);
    expect(() => layer.forward(x, { length: [1, 2] } as object)).toThrow(/"lengths"/);
  });
});

test('a row of length 0 keeps its first state', async () => {
  const layer = new nn.LSTM(2, 3);
  const [h0, c0] = [randn([1, 2, 3]), randn([1, 2, 3])];
  const { output, h, c } = scope(() => layer.forward(randn([2, 4, 2]), { lengths: tensor(Int32Array.of(4, 0)), h0, c0 }));
  expect([...(await output.data()).slice(12)]).toEqual(Array(12).fill(0));
  expect([...(await h.data()).slice(3)]).toEqual([...(await h0.data()).slice(3)]);
  expect([...(await c.data()).slice(3)]).toEqual([...(await c0.data()).slice(3)]);
});
