import { describe, expect, test } from 'vitest';
import { checkpoint, DTypeError, GraphError, kept, nn, noGrad, ShapeError, scope, type Tensor, tensor } from '../../lib/index.ts';
import { onGpu } from '../helpers/device.ts';
import { list } from '../helpers/place.ts';

const leaf = (values: number[]) => tensor(values, { requiresGrad: true });
const gradOf = (t: Tensor) => list(t.grad as Tensor);

describe('tensor.registerHook', () => {
  test('sees the gradient of a result before anything uses it, and may replace it', async () => {
    const x = leaf([1, 2, 3]);
    const y = x.mul(2);
    const seen: Tensor[] = [];
    y.registerHook((g) => {
      seen.push(kept(g));
    });
    y.registerHook((g) => g.mul(10));
    y.registerHook((g) => {
      seen.push(kept(g)); // of the hook before it
    });
    y.mul(tensor([1, 10, 100]))
      .sum()
      .backward();
    expect(await list(seen[0] as Tensor)).toEqual([1, 10, 100]);
    expect(await list(seen[1] as Tensor)).toEqual([10, 100, 1000]);
    expect(await gradOf(x)).toEqual([20, 200, 2000]);
  });

  test('on a leaf it is called once a pass, with the sum of the pass, before that is added to grad', async () => {
    const x = leaf([1, 2]);
    const seen: Tensor[] = [];
    const handle = x.registerHook((g) => {
      seen.push(kept(g));
      return g.mul(3);
    });
    const pass = () => scope(() => x.mul(5).add(x).add(x.mul(x)).sum().backward()); // 5 + 1 + 2 x
    pass();
    expect(seen.length).toBe(1);
    expect(await list(seen[0] as Tensor)).toEqual([8, 10]);
    expect(await gradOf(x)).toEqual([24, 30]);
    pass();
    expect(await gradOf(x)).toEqual([48, 60]);
    handle.remove();
    handle.remove();
    pass();
    expect(seen.length).toBe(2);
    expect(await gradOf(x)).toEqual([56, 70]);
  });

  test('gradients with a hook that only looks have the bits of those without', async () => {
    const run = async (hook: boolean) => {
      const layer = new nn.Linear(7, 5);
      for (const p of layer.parameters())
        nn.assign(
          p,
          tensor(
            Float32Array.from({ length: p.size }, (_, i) => Math.sin(i)),
            { shape: p.shape },
          ),
        );
      if (hook) for (const p of layer.parameters()) p.registerHook(() => {});
      const x = tensor(
        Float32Array.from({ length: 21 }, (_, i) => Math.cos(i)),
        { shape: [3, 7] },
      );
      scope(() =>
        layer
          .forward(x)
          .relu()
          .add(layer.forward(x.mul(2)))
          .square()
          .sum()
          .backward(),
      );
      return Promise.all(layer.parameters().map((p) => list(p.grad as Tensor)));
    };
    expect(await run(true)).toEqual(await run(false));
  });

  test('reaches the root, outputs of one op apart, and leaves under checkpoint', async () => {
    const x = leaf([1, 2, 3, 4]);
    const root = x.sum();
    root.registerHook((g) => g.mul(7));
    root.backward();
    expect(await gradOf(x)).toEqual([7, 7, 7, 7]);
    const w = leaf([2, 2]);
    let calls = 0;
    w.registerHook(() => {
      calls++;
    });
    checkpoint((v) => v.mul(w), leaf([1, 5]))
      .sum()
      .backward();
    expect(calls).toBe(1);
    expect(await gradOf(w)).toEqual([1, 5]);
  });

  test('refuses what has no gradient and what cannot stand for one; grads survive a hook that throws', async () => {
    expect(() => tensor([1]).registerHook(() => {})).toThrow(GraphError);
    expect(() => noGrad(() => leaf([1]).mul(2)).registerHook(() => {})).toThrow(GraphError);
    expect(() => leaf([1]).registerHook(3 as never)).toThrow(/registerHook: the hook must be a function/);
    const bad = (result: unknown, kind: new (m: string) => Error) => {
      const x = leaf([1, 2]);
      x.registerHook(() => result as never);
      expect(() => x.mul(2).sum().backward()).toThrow(kind);
      expect(x.grad).toBe(null);
    };
    bad(tensor([1]), ShapeError);
    bad(tensor([1, 2], { dtype: 'i32' }), DTypeError);
    bad(Promise.resolve(), DTypeError);
    if (!onGpu) bad(tensor([1, 2], { dtype: 'f64' }), DTypeError);
    const x = leaf([1, 2]);
    const handle = x.registerHook(() => {
      throw new Error('mine');
    });
    expect(() => x.mul(2).sum().backward()).toThrow('mine');
    handle.remove();
    x.mul(2).sum().backward();
    expect(await gradOf(x)).toEqual([2, 2]);
  });

  test('leaves no memory behind', () => {
    const x = leaf([1, 2]);
    x.registerHook((g) => g.mul(2));
    const once = () =>
      scope(() => {
        const y = x.mul(3);
        y.registerHook((g) => g.add(1));
        y.sum().backward();
        return x.device.memory().handles;
      });
    once();
    expect(once()).toBe(once());
  });
});
