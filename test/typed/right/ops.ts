/** Programs over ops that must compile; each is run, and its shapes are what their types say. */
import type { Tensor } from 'anneal';
import {
  add,
  arange,
  argmax,
  assertShape,
  concat,
  full,
  linear,
  matmul,
  mean,
  ones,
  Parameter,
  randint,
  randn,
  softmax,
  stack,
  sub,
  sum,
  type TensorOf,
  tensor,
  typed,
  where,
  zeros,
} from 'anneal/typed';
import { has, type Programs } from './has.ts';

/** What a program without types would be given. */
const untyped = (shape: readonly number[]): Tensor => zeros(shape);

export const ops: Programs = {
  'constructors know their shapes'() {
    has(zeros([2, 3]), [2, 3]);
    has(ones([]), []);
    has(full([4], 7), [4]);
    has(arange(5), [5]);
    has(randint([2, 2], { high: 3 }), [2, 2]);
    has(randn([1, 2, 3, 4, 5]), [1, 2, 3, 4, 5]);
  },
  'nested arrays do, too'() {
    has(tensor(3), []);
    has(
      tensor([
        [1, 2, 3],
        [4, 5, 6],
      ]),
      [2, 3],
    );
    has(tensor([[[true], [false]]]), [1, 2, 1]);
    has(tensor(new Float32Array(6), { shape: [3, 2] }), [3, 2]);
    has(tensor(new Float32Array(6)), [null]);
    const numbers: number[] = [1, 2];
    has(tensor(numbers), [null]);
  },
  'matrix products'() {
    const a = randn([2, 3]);
    has(a.matmul(randn([3, 4])), [2, 4]);
    has(a.matmul(randn([3])), [2]);
    has(randn([2]).matmul(a), [3]);
    has(randn([3]).matmul(randn([3])), []);
    has(matmul(a, a, { transposeA: true }), [3, 3]);
    has(a.matmul(a, { transposeB: true }), [2, 2]);
  },
  'batches of products broadcast'() {
    const a = randn([5, 1, 2, 3]);
    has(a.matmul(randn([7, 3, 4])), [5, 7, 2, 4]);
    has(a.matmul(randn([3, 4])), [5, 1, 2, 4]);
    has(a.matmul(randn([3])), [5, 1, 2]);
  },
  'arithmetic broadcasts as in NumPy'() {
    const x = randn([4, 1, 3]);
    has(x.add(1), [4, 1, 3]);
    has(x.add(randn([3])), [4, 1, 3]);
    has(x.mul(randn([2, 1])), [4, 2, 3]);
    has(sub(randn([5, 1, 1, 1]), x), [5, 4, 1, 3]);
    has(add(2, x), [4, 1, 3]);
    has(x.gt(randn([])), [4, 1, 3]);
    has(x.pow(2).maximum(0), [4, 1, 3]);
  },
  'a chain of functions keeps the shape'() {
    const x = randn([2, 5]);
    has(x.abs().sqrt().exp().tanh().gelu().clamp({ min: 0 }).to('f64').detach().contiguous(), [2, 5]);
    has(softmax(x.relu(), { axis: 0 }), [2, 5]);
  },
  reductions() {
    const x = randn([2, 3, 4]);
    has(x.sum(), []);
    has(x.mean({ axis: 1 }), [2, 4]);
    has(x.max({ axis: -1 }), [2, 3]);
    has(x.min({ axis: [0, 2] }), [3]);
    has(x.variance({ axis: [-1, 0], correction: 0 }), [3]);
    has(x.logSumExp({ axis: 0 }), [3, 4]);
    has(argmax(x, { axis: 2 }), [2, 3]);
    has(sum(x, { axis: 0 }), [3, 4]);
  },
  'reductions that keep dimensions'() {
    const x = randn([2, 3, 4]);
    has(x.sum({ keepDims: true }), [1, 1, 1]);
    has(x.std({ axis: -1, keepDims: true }), [2, 3, 1]);
    has(x.argmin({ axis: 0, keepDims: true }), [1, 3, 4]);
    has(x.div(x.sum({ axis: 2, keepDims: true })), [2, 3, 4]);
    has(mean(x, { axis: [1], keepDims: false }), [2, 4]);
  },
  'reshape, with and without -1'() {
    const x = randn([2, 3, 4]);
    has(x.reshape([6, 4]), [6, 4]);
    has(x.reshape([-1]), [24]);
    has(x.reshape([4, -1, 2]), [4, 3, 2]);
    has(x.reshape([2, 3, 2, 2]), [2, 3, 2, 2]);
    has(zeros([28, 28]).reshape([784]), [784]);
    has(randn([1]).reshape([]), []);
  },
  'flatten, squeeze, unsqueeze'() {
    const x = randn([2, 1, 3, 4]);
    has(x.flatten(), [24]);
    has(x.flatten(1), [2, 12]);
    has(x.flatten(0, 1), [2, 3, 4]);
    has(x.flatten(-2, -1), [2, 1, 12]);
    has(randn([]).flatten(), [1]);
    has(x.squeeze(), [2, 3, 4]);
    has(x.squeeze(1), [2, 3, 4]);
    has(x.unsqueeze(0), [1, 2, 1, 3, 4]);
    has(x.unsqueeze(-1), [2, 1, 3, 4, 1]);
  },
  'axes in another order'() {
    const x = randn([2, 3, 4]);
    has(x.transpose(), [2, 4, 3]);
    has(x.transpose(0, -1), [4, 3, 2]);
    has(x.permute([2, 0, 1]), [4, 2, 3]);
    has(x.permute([-1, -2, 0]), [4, 3, 2]);
    has(x.flip(1), [2, 3, 4]);
  },
  'concat, stack, narrow'() {
    const [a, b] = [randn([2, 3]), randn([4, 3])];
    has(concat([a, b]), [6, 3]);
    has(concat([a, a, a], { axis: 1 }), [2, 9]);
    has(stack([b, b]), [2, 4, 3]);
    has(stack([b, b, b], { axis: -1 }), [4, 3, 3]);
    has(b.narrow(0, 1, 3), [3, 3]);
    has(b.narrow(-1, 0, 1), [4, 1]);
  },
  'broadcastTo and where'() {
    const x = randn([3, 1]);
    has(x.broadcastTo([2, 3, 4]), [2, 3, 4]);
    has(where(x.gt(0), x, 0), [3, 1]);
    has(where(x.gt(0), randn([4]), randn([2, 1, 1])), [2, 3, 4]);
  },
  'a size may be unknown'() {
    const x = typed(untyped([6, 3]), [null, 3]);
    has(x, [null, 3]);
    has(x.matmul(randn([3, 2])), [null, 2]);
    has(x.sum({ axis: 1 }), [null]);
    has(x.add(randn([6, 3])), [6, 3]);
    has(x.reshape([-1, 3]), [null, 3]);
    has(concat([x, randn([2, 3])]), [null, 3]);
    const wider: TensorOf<[number, number]> = randn([2, 3]);
    has(wider, [null, null]);
  },
  'a plain tensor fits everywhere, and nothing is known of the result'() {
    const plain = untyped([3, 4]);
    const y: Tensor = randn([2, 3]).matmul(plain);
    const z: TensorOf = randn([2, 4]).add(y);
    const back = typed(z.add(plain.sum({ axis: 0 })), [2, 4]);
    has(back, [2, 4]);
  },
  'a typed tensor is a Tensor'() {
    const length = (t: Tensor): number => t.shape.length;
    const list: Tensor[] = [randn([2]), randn([3, 4])];
    const wide: Tensor = randn([2, 3]).relu();
    if (length(wide) !== 2 || list.map(length).join() !== '1,2') throw new Error('not the same objects');
  },
  'assertShape narrows'() {
    const x = untyped([5, 4]);
    assertShape(x, [null, 4]);
    has(x, [null, 4]);
    has(x.matmul(randn([4, 2])), [null, 2]);
    const y = untyped([]);
    assertShape(y, []);
    has(y, []);
  },
  'parameters and functional linear'() {
    const weight = new Parameter(randn([5, 3]));
    const bias = new Parameter(zeros([5]));
    has(weight, [5, 3]);
    has(linear(randn([2, 7, 3]), weight, bias), [2, 7, 5]);
    has(linear(randn([3]), weight.unfreeze()), [5]);
    const loss: TensorOf<[]> = linear(randn([1, 3]), weight, null)
      .square()
      .mean();
    loss.backward();
  },
  'functions over sizes'() {
    function normalised<N extends number, D extends number>(x: TensorOf<[N, D]>): TensorOf<[N, D]> {
      const centred = x.sub(x.mean({ axis: 1, keepDims: true }));
      return centred.div(centred.std({ axis: -1, keepDims: true }).add(1e-5));
    }
    function gram<N extends number, D extends number>(x: TensorOf<[N, D]>): TensorOf<[N, N]> {
      return x.matmul(x.transpose());
    }
    has(normalised(randn([4, 6])), [4, 6]);
    has(gram(normalised(randn([4, 6]))), [4, 4]);
  },
  'functions over shapes'() {
    function residual<S extends readonly number[]>(x: TensorOf<S>): TensorOf<S> {
      return x.relu().mul(0.5).add(x);
    }
    has(residual(randn([2, 3, 4])), [2, 3, 4]);
    has(residual(randn([])), []);
  },
  'sizes taken from a tensor'() {
    function heads<B extends number, T extends number>(x: TensorOf<[B, T, 12]>): TensorOf<[B, 3, T, 4]> {
      const [b, t] = x.shape;
      return x.reshape([b, t, 3, 4]).permute([0, 2, 1, 3]);
    }
    function back<B extends number, T extends number>(x: TensorOf<[B, 3, T, 4]>): TensorOf<[B, T, 12]> {
      return x.permute([0, 2, 1, 3]).reshape([x.shape[0], x.shape[2], 12]);
    }
    has(heads(randn([2, 5, 12])), [2, 3, 5, 4]);
    has(back(heads(randn([2, 5, 12]))), [2, 5, 12]);
  },
  'a broadcast over a type parameter'() {
    function shifted<N extends number>(x: TensorOf<[N, 1, 4]>): TensorOf<[N, 3, 4]> {
      return x.add(zeros([1, 3, 4])).mul(zeros([3, 1]));
    }
    has(shifted(randn([2, 1, 4])), [2, 3, 4]);
  },
};
