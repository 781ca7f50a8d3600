import { describe, expect, test } from 'vitest';
import { add, mul } from '../../lib/ops/binary.ts';
import { defineOp } from '../../lib/ops/define.ts';
import { sum } from '../../lib/ops/reduce.ts';
import { exp, relu, silu } from '../../lib/ops/unary.ts';
import { reshape } from '../../lib/ops/view.ts';
import { enableGrad, isGradEnabled, noGrad } from '../../lib/tensor/context.ts';
import { tensor } from '../../lib/tensor/create.ts';
import { defaultDevice } from '../../lib/tensor/device.ts';
import { kept, scope } from '../../lib/tensor/scope.ts';
import { Parameter, type Tensor } from '../../lib/tensor/tensor.ts';
import { fewer, onGpu } from '../helpers/device.ts';

const leaf = (data: number[] | number) => tensor(data, { requiresGrad: true });
const values = async (t: Tensor | null) => [...((await t?.data()) ?? [])];

describe('backward', () => {
  test('from a scalar, and from a tensor with its gradient', async () => {
    const x = leaf([1, 2, 3]);
    sum(mul(x, x)).backward();
    expect(await values(x.grad)).toEqual([2, 4, 6]);
    const y = leaf([1, 2]);
    mul(y, 3).backward(tensor([1, 10]));
    expect(await values(y.grad)).toEqual([3, 30]);
  });

  test('gradients accumulate until they are taken away', async () => {
    const x = leaf([1, 2]);
    for (let i = 0; i < 3; i++) sum(mul(x, 2)).backward();
    expect(await values(x.grad)).toEqual([6, 6]);
    x.grad = null;
    sum(x.mul(5)).backward();
    expect(await values(x.grad)).toEqual([5, 5]);
  });

  test('a shared subexpression is walked once, after all its uses', async () => {
    let walks = 0;
    const counted = defineOp('counted', {
      forward: (x: Tensor) => x.mul(1),
      backward: ({ grad }) => {
        walks++;
        return [grad.mul(1)];
      },
    });
    const x = leaf([3]);
    const shared = counted(x);
    sum(add(mul(shared, 2), mul(shared, shared))).backward();
    expect(await values(x.grad)).toEqual([2 + 2 * 3]);
    expect(walks).toBe(1);
  });

  test('diamonds, and paths of unequal length', async () => {
    const x = leaf([2]);
    const left = mul(x, 3);
    const right = exp(mul(mul(x, 0), 1)); // gradient 0
    const deep = mul(mul(left, left), right);
    sum(add(add(left, deep), x)).backward();
    // x -> 3x + 9x^2 e^0 + x
    expect(await values(x.grad)).toEqual([3 + 18 * 2 + 1]);
  });

  test('one tensor as both operands', async () => {
    const x = leaf([2, 3]);
    sum(add(x, x)).backward();
    expect(await values(x.grad)).toEqual([2, 2]);
    const y = leaf([2, 3]);
    sum(mul(y, y)).backward();
    expect(await values(y.grad)).toEqual([4, 6]);
  });

  test('long chains do not recurse', async () => {
    const links = fewer(20_000, 2_000); // each tensor is a mapping of its own in the simulated GPU's host
    const x = leaf([1]);
    const total = scope(() => {
      let y: Tensor = x;
      for (let i = 0; i < links; i++) y = y.add(1);
      y.backward();
      return y;
    });
    expect(await total.item()).toBe(links + 1);
    expect(await values(x.grad)).toEqual([1]);
  });

  test('branches that lead nowhere are free', async () => {
    const x = leaf([1, 2]);
    const used = mul(x, 2);
    mul(used, 100);
    sum(used).backward();
    expect(await values(x.grad)).toEqual([2, 2]);
  });

  test('only what requires a gradient gets one', async () => {
    const x = leaf([1, 2]);
    const constant = tensor([3, 4]);
    sum(mul(x, constant)).backward();
    expect(await values(x.grad)).toEqual([3, 4]);
    expect(constant.grad).toBeNull();
  });

  test('frozen parameters record nothing', () => {
    const p = new Parameter(tensor([1, 2])).freeze();
    expect(mul(p, 2).node).toBeNull();
    expect(mul(p.unfreeze(), 2).node).not.toBeNull();
  });
});

describe('memory of gradients', () => {
  test('two leaves of one sum do not share it', async () => {
    const [a, b] = [leaf([1, 2]), leaf([3, 4])];
    add(a, b).backward(tensor([1, 1]));
    expect(a.grad?.storage).not.toBe(b.grad?.storage);
    expect([a.grad?.storage.refs, b.grad?.storage.refs]).toEqual([1, 1]);
    add(a, b).backward(tensor([10, 10]));
    expect([await values(a.grad), await values(b.grad)]).toEqual([
      [11, 11],
      [11, 11],
    ]);
  });

  test('nor does a leaf share the seed', async () => {
    const x = leaf([1, 2]);
    const seed = tensor([5, 6]);
    reshape(x, [2, 1]).backward(seed.alias([2, 1]));
    expect(x.grad?.storage).not.toBe(seed.storage);
    x.add(0).backward(seed);
    expect(await values(seed)).toEqual([5, 6]);
    expect(await values(x.grad)).toEqual([10, 12]);
  });

  test('a rule may return a tensor that is not its own: a constant, or what it saved', async () => {
    const constant = tensor([7, 7]);
    const foreign = defineOp('foreign', { forward: (x: Tensor) => x.mul(1), backward: () => [constant] });
    const echo = defineOp('echo', { forward: (x: Tensor) => x.mul(1), backward: ({ inputs }) => [inputs[0] as Tensor] });
    const [x, y] = [leaf([1, 2]), leaf([3, 4])];
    foreign(mul(x, 2)).backward(tensor([1, 1]));
    foreign(x).backward(tensor([1, 1]));
    echo(mul(y, 2)).backward(tensor([1, 1]));
    echo(y).backward(tensor([1, 1]));
    expect(await values(constant)).toEqual([7, 7]);
    expect(await values(x.grad)).toEqual([21, 21]);
    expect(await values(y.grad)).toEqual([2 * 6 + 3, 2 * 8 + 4]);
    expect(await values(y)).toEqual([3, 4]);
  });

  test.skipIf(onGpu)('a gradient has the dtype and layout of its leaf', async () => {
    const x = tensor([1, 2], { requiresGrad: true });
    mul(x.to('f64'), 2).backward(tensor([1, 1], { dtype: 'f64' }));
    expect(x.grad?.dtype).toBe('f32');
  });

  test('gradients outlive the scope of their backward', async () => {
    const x = leaf([1, 2]);
    scope(() => sum(mul(x, 4)).backward());
    scope(() => sum(mul(x, 4)).backward());
    expect(await values(x.grad)).toEqual([8, 8]);
  });

  test('forward and backward in a scope return to the same live bytes', () => {
    const x = leaf([1, 2, 3]);
    const step = () =>
      scope(() => {
        const h = relu(mul(x, x));
        sum(mul(add(h, x), exp(h.mul(0.01)))).backward();
      });
    step();
    const { live, handles } = defaultDevice().memory();
    for (let i = 0; i < 50; i++) step();
    expect(defaultDevice().memory()).toMatchObject({ live, handles });
  });

  test('saved tensors are freed as the walk uses them', () => {
    const x = tensor(new Float32Array(1 << 16), { requiresGrad: true });
    scope(() => {
      let y: Tensor = x;
      for (let i = 0; i < 8; i++) y = scope(() => silu(y.mul(0.5)));
      const before = defaultDevice().memory().live;
      const loss = sum(y);
      loss.backward();
      expect(defaultDevice().memory().live).toBeLessThan(before);
    });
  });
});

describe('what backward refuses', () => {
  test('a graph that was walked', () => {
    const x = leaf([1]);
    const y = exp(x);
    y.backward();
    expect(() => y.backward()).toThrow(/the graph of exp was freed, by an earlier backward\(\).*Run the forward pass again/);
  });

  test('a graph that shares a walked part', () => {
    const x = leaf([1]);
    const shared = exp(x);
    sum(shared).backward();
    expect(() => sum(mul(shared, 2)).backward()).toThrow(/exp was freed/);
  });

  test('a graph whose scope has ended', () => {
    const x = leaf([1]);
    const holder: { y?: Tensor } = {};
    scope(() => {
      holder.y = exp(x);
    });
    expect(() => holder.y?.backward()).toThrow(/freed/);
  });

  test('what does not depend on a leaf', () => {
    expect(() => sum(tensor([1, 2])).backward()).toThrow(/not computed from anything that requires a gradient/);
    expect(() => noGrad(() => sum(mul(leaf([1]), 2))).backward()).toThrow(/noGrad/);
  });

  test('a tensor without a seed, or with one of another shape', () => {
    const y = mul(leaf([1, 2]), 2);
    expect(() => y.backward()).toThrow(/\[2\] is not a scalar.*\.sum\(\)/);
    expect(() => y.backward(tensor([1]))).toThrow(/seed has shape \[1\], the tensor \[2\]/);
  });

  test('a saved tensor that was written since', () => {
    const x = leaf([1, 2]);
    const w = leaf([3, 4]);
    const y = sum(mul(x, w));
    w.storage.version++; // what an optimizer step does
    expect(() => y.backward()).toThrow(
      /a tensor \[2\] that mul saved was written since.*optimizer step between forward and backward/,
    );
  });

  test('a write to what was not saved is fine', async () => {
    const x = leaf([1, 2]);
    const y = sum(add(x, 1));
    x.storage.version++;
    y.backward();
    expect(await values(x.grad)).toEqual([1, 1]);
  });

  test('a rule that returns the wrong shape, for a leaf or for an op', () => {
    const bad = defineOp('bad', { forward: (x: Tensor) => x.mul(1), backward: () => [tensor([1, 2, 3])] });
    expect(() => sum(bad(leaf([1, 2]))).backward()).toThrow(
      /backward of bad: the gradient of input 0 has shape \[3\], the input \[2\]/,
    );
    expect(() => sum(bad(mul(leaf([1, 2]), 2))).backward()).toThrow(/backward of bad/);
  });

  test('a failed walk leaves nothing behind', async () => {
    const bad = defineOp('bad', {
      forward: (x: Tensor) => x.mul(1),
      backward: () => {
        throw new Error('no');
      },
    });
    const x = leaf([1, 2]);
    const run = () => scope(() => expect(() => sum(mul(bad(mul(x, 2)), 3)).backward()).toThrow('no'));
    run();
    const { live } = defaultDevice().memory();
    for (let i = 0; i < 10; i++) run();
    expect(defaultDevice().memory().live).toBe(live);
    expect(x.grad).toBeNull();
    sum(x).backward();
    expect(await values(x.grad)).toEqual([1, 1]);
  });
});

describe('grad mode', () => {
  test('noGrad records nothing, enableGrad inside it does', () => {
    const x = leaf([1]);
    expect(isGradEnabled()).toBe(true);
    noGrad(() => {
      expect(isGradEnabled()).toBe(false);
      expect(mul(x, 2).node).toBeNull();
      enableGrad(() => expect(mul(x, 2).node).not.toBeNull());
      expect(isGradEnabled()).toBe(false);
    });
    expect(isGradEnabled()).toBe(true);
  });

  test('noGrad ends with an exception', () => {
    expect(() =>
      noGrad(() => {
        throw new Error('inside');
      }),
    ).toThrow('inside');
    expect(isGradEnabled()).toBe(true);
  });

  test('noGrad refuses async functions, and names scope.run', () => {
    expect(() => noGrad((async () => 1) as never)).toThrow(/async.*scope\.run/);
  });

  test('detach cuts the tape and shares the memory', async () => {
    const x = leaf([2, 3]);
    const y = mul(x, x);
    const cut = y.detach();
    expect([cut.node, cut.storage === y.storage]).toEqual([null, true]);
    sum(mul(cut, x)).backward();
    expect(await values(x.grad)).toEqual([4, 9]);
  });
});

describe('custom ops', () => {
  test('may be used inside scopes, and their tape is handed on', async () => {
    const double = defineOp('double', { forward: (x: Tensor) => x.mul(2), backward: ({ grad }) => [grad.mul(2)] });
    const x = leaf([1, 2]);
    const y = scope(() => {
      const inner = scope(() => double(double(x)));
      return kept(inner);
    });
    sum(y).backward();
    expect(await values(x.grad)).toEqual([4, 4]);
  });
});
