// Gradients and refusals of the ops that move and pick elements.
import { describe, expect, test } from 'vitest';
import '../../lib/ops/create.ts';
import '../../lib/ops/unary.ts';
import { gradcheck } from '../../lib/autograd/gradcheck.ts';
import { add, mul } from '../../lib/ops/binary.ts';
import { embedding } from '../../lib/ops/embedding.ts';
import { broadcastTo, concat, flip, narrow, pad, permute, split, stack, transpose } from '../../lib/ops/index.ts';
import { gather, topK, where } from '../../lib/ops/select.ts';
import { tensor } from '../../lib/tensor/create.ts';
import { scope } from '../../lib/tensor/scope.ts';
import type { Tensor } from '../../lib/tensor/tensor.ts';
import { onGpu } from '../helpers/device.ts';
import { ints, leaf, list, place } from '../helpers/place.ts';

describe.skipIf(onGpu)('gradients', () => {
  const cases: { [name: string]: [(...x: Tensor[]) => Tensor | Tensor[], number[][]] } = {
    broadcastTo: [(x) => broadcastTo(x as Tensor, [2, 3, 4]), [[3, 1]]],
    permute: [(x) => permute(x as Tensor, [2, 0, 1]), [[2, 3, 5]]],
    transpose: [(x) => transpose(x as Tensor), [[3, 5]]],
    flip: [(x) => flip(x as Tensor, 1), [[3, 5]]],
    narrow: [(x) => narrow(x as Tensor, 1, 1, 2), [[3, 5]]],
    'narrow, a view': [(x) => narrow(x as Tensor, 0, 1, 2), [[3, 5]]],
    'narrow twice': [(x) => add(narrow(x as Tensor, 1, 0, 3), narrow(x as Tensor, 1, 2, 3)), [[3, 5]]],
    split: [(x) => split(x as Tensor, [1, 0, 4], { axis: 1 }), [[3, 5]]],
    'split, some parts': [(x) => mul(split(x as Tensor, [2, 3], { axis: 1 })[1] as Tensor, 2), [[3, 5]]],
    'split, all parts at once': [
      (x) => {
        const [a, b] = split(x as Tensor, 2, { axis: 1 }) as [Tensor, Tensor];
        return mul(a, b);
      },
      [[3, 4]],
    ],
    concat: [
      (a, b) => concat([a as Tensor, b as Tensor], { axis: 1 }),
      [
        [3, 2],
        [3, 4],
      ],
    ],
    'concat, one twice': [
      (a, b) => concat([a as Tensor, b as Tensor, a as Tensor]),
      [
        [3, 2],
        [1, 2],
      ],
    ],
    stack: [
      (a, b) => stack([a as Tensor, b as Tensor], { axis: 1 }),
      [
        [3, 2],
        [3, 2],
      ],
    ],
    pad: [
      (x) =>
        pad(
          x as Tensor,
          [
            [1, 0],
            [2, 3],
          ],
          { value: 7 },
        ),
      [[3, 2]],
    ],
    'pad, used twice': [(x) => add(pad(x as Tensor, [[1, 0]]), pad(x as Tensor, [[0, 1]])), [[5]]],
    where: [(a, b) => where(tensor([[true], [false], [true]]), a as Tensor, b as Tensor), [[4], [3, 1]]],
    'where with a number': [(a) => where(tensor([true, false, true]), 2, a as Tensor), [[3]]],
    gather: [(x) => gather(x as Tensor, ints([0, 3, 3, 4, 1, 1, 1, 0, 2], [3, 3])), [[3, 5]]],
    'gather along 0': [(x) => gather(x as Tensor, ints([0, 2, 2, 1], [2, 2]), { axis: 0 }), [[3, 2]]],
    'gather twice': [(x) => add(gather(x as Tensor, ints([0, 2])), gather(x as Tensor, ints([2, 2]))), [[3]]],
    topK: [(x) => topK(x as Tensor, 2, { axis: 0 }).values, [[5, 3]]],
    embedding: [(w) => embedding(ints([0, 2, 2, 1, 2, 0], [2, 3]), w as Tensor), [[4, 5]]],
    'embedding with padding': [(w) => embedding(ints([0, 3, 2, 3]), w as Tensor, { paddingIdx: -1 }), [[4, 5]]],
    'embedding, tied': [(w) => add(embedding(ints([0, 1, 1]), w as Tensor), embedding(ints([1, 1, 3]), w as Tensor)), [[4, 2]]],
  };
  for (const [name, [fn, shapes]] of Object.entries(cases))
    test(name, async () => {
      // A padded row has no gradient by rule, which differences do not know.
      const inputs = shapes.map((s, i) => leaf(s, `${name}${i}`));
      if (name === 'embedding with padding') {
        scope(() => (fn(...inputs) as Tensor).backward(broadcastTo(tensor(1, { dtype: 'f64' }), [4, 5])));
        expect(await list(inputs[0]?.grad as Tensor)).toEqual([
          ...Array(5).fill(1),
          ...Array(5).fill(0),
          ...Array(5).fill(1),
          ...Array(5).fill(0),
        ]);
      } else expect(await gradcheck(fn, inputs)).toBeLessThan(1e-6);
    });
});

describe('bad input', () => {
  const x = () => place([3, 5]);
  const cases: [string, () => unknown, RegExp][] = [
    ['permute with too few axes', () => permute(x(), [0]), /each of the 2 dimensions of \[3, 5\] once/],
    ['permute with an axis twice', () => permute(x(), [1, 1]), /axis 1 is given twice/],
    ['transpose of a scalar', () => transpose(tensor(1)), /axis -2 does not exist/],
    ['broadcastTo a smaller shape', () => broadcastTo(x(), [5]), /\[3, 5\] does not repeat to \[5\]/],
    ['broadcastTo another size', () => broadcastTo(x(), [3, 6]), /5 on one side and 6/],
    ['narrow outside', () => narrow(x(), 1, 3, 3), /3 elements from 3 do not lie within dimension 1 of \[3, 5\]/],
    ['split that does not add up', () => split(x(), [2, 2], { axis: 1 }), /\[2, 2\] do not add up to 5/],
    ['split by 0', () => split(x(), 0), /above 0, or a list of sizes, got 0/],
    ['concat of nothing', () => concat([]), /at least one tensor/],
    ['concat of another width', () => concat([x(), place([3, 4])]), /tensors\[1\] \[3, 4\] does not fit \[3, 5\]/],
    ['concat with a misspelled option', () => concat([x()], { axes: 1 } as never), /"axes" should be "axis"/],
    ['stack of two shapes', () => stack([x(), place([5, 3])]), /tensors\[1\] \[5, 3\]/],
    ['pad with too few pairs', () => pad(x(), [[1, 1]]), /one \[before, after\] per dimension/],
    [
      'pad with a negative width',
      () =>
        pad(x(), [
          [0, 0],
          [-1, 0],
        ]),
      /whole numbers >= 0/,
    ],
    ['pad of integers with a fraction', () => pad(place([2], 'i32'), [[1, 1]], { value: 0.5 }), /0.5 is not a value of i32/],
    ['where on numbers', () => where(x(), 1, 0), /condition must be bool, got f32/],
    ['where of shapes that do not broadcast', () => where(tensor([true, false]), x(), 0), /cannot broadcast/],
    ['gather with float indices', () => gather(x(), x()), /index must be i32, got f32/],
    ['gather with another shape', () => gather(x(), ints([0])), /must have the shape of x \[3, 5\] but along axis 1/],
    ['topK of too many', () => topK(x(), 6), /from 0 to 5/],
    ['embedding of floats', () => embedding(x(), x()), /indices must be i32, got f32/],
    ['embedding in a vector', () => embedding(ints([0]), place([5])), /weight must be \[rows, width\]/],
    ['embedding with padding outside', () => embedding(ints([0]), x(), { paddingIdx: 3 }), /paddingIdx 3 is not a row/],
  ];
  for (const [name, call, message] of cases) test(name, () => expect(call).toThrow(message));
});
