// API part 5: a module and an op of one's own.
import { defineOp, gradcheck, nn, randn, type Tensor, tensor } from 'anneal';
import { expect, test } from 'vitest';

class Block extends nn.Module {
  ln = new nn.LayerNorm(128);
  up = new nn.Linear(128, 512);
  down = new nn.Linear(512, 128);
  layers = [new nn.Linear(128, 128), new nn.Linear(128, 128)]; // arrays and Maps register: 'layers.0.weight'
  forward(x: Tensor) {
    return x.add(this.down.forward(this.up.forward(this.ln.forward(x)).gelu()));
  }
}

test('a module', () => {
  const block = new Block();
  const state = block.stateDict(); // Map of PyTorch's names and layouts
  expect([...state].map(([name, t]) => [name, t.shape])).toEqual([
    ['ln.weight', [128]],
    ['ln.bias', [128]],
    ['up.weight', [512, 128]],
    ['up.bias', [512]],
    ['down.weight', [128, 512]],
    ['down.bias', [128]],
    ['layers.0.weight', [128, 128]],
    ['layers.0.bias', [128]],
    ['layers.1.weight', [128, 128]],
    ['layers.1.bias', [128]],
  ]);
  expect(block.forward(randn([2, 5, 128])).shape).toEqual([2, 5, 128]);
});

const swish = defineOp('swish', {
  forward: (x: Tensor) => x.mul(x.sigmoid()),
  backward: ({ inputs: [x], grad }) => {
    const s = x.sigmoid();
    return [grad.mul(s.add(x.mul(s).mul(s.neg().add(1))))];
  },
});

test('an op', async () => {
  await gradcheck(swish, [randn([3, 4], { dtype: 'f64', device: 'cpu' })]);
  const x = tensor([1, -2, 0], { requiresGrad: true });
  const y = swish(x);
  expect(String(y)).toContain('from swish');
  expect([...(await y.data())].map((v) => v.toFixed(5))).toEqual(['0.73106', '-0.23841', '0.00000']);

  const wrong = defineOp('wrong', {
    forward: (t: Tensor) => t.mul(t),
    backward: ({ inputs, grad }) => [grad.mul(inputs[0])],
  });
  await expect(gradcheck(wrong, [randn([3], { dtype: 'f64', device: 'cpu', requiresGrad: true })])).rejects.toThrow(
    /numeric .*, backward .*relative error 5/,
  );
});

test('an op of several tensors and options', async () => {
  const blend = defineOp('blend', {
    forward: (a: Tensor, b: Tensor, options: { share: number }) => a.mul(options.share).add(b.mul(1 - options.share)),
    backward: ({ grad }) => [grad.mul(0.25), grad.mul(0.75)],
  });
  const f64 = { dtype: 'f64', device: 'cpu', requiresGrad: true } as const;
  await gradcheck((a: Tensor, b: Tensor) => blend(a, b, { share: 0.25 }), [randn([3], f64), randn([3], f64)]);
});
