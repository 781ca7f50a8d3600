// Programs over ops that must not compile. Of each the line that is marked has the only error, and its message has the text of the mark.
import type { Tensor } from 'anneal';
import {
  add,
  arange,
  assertShape,
  attention,
  concat,
  embedding,
  linear,
  matmul,
  randn,
  softmax,
  stack,
  sum,
  type TensorOf,
  typed,
  where,
  zeros,
} from 'anneal/typed';

declare function program(name: string, body: () => void): void;

program('inner dimensions', () => {
  const x = randn([2, 3]);
  x.matmul(randn([4, 5])); // red: DimensionMismatch<"inner dimensions of matmul", 3, 4>
});
program('a product with the transpose on the wrong side', () => {
  matmul(randn([2, 3]), randn([2, 3]), { transposeA: false }); // red: "inner dimensions of matmul", 3, 2
});
program('batches that do not broadcast', () => {
  randn([5, 2, 3]).matmul(randn([4, 3, 2])); // red: DimensionMismatch<"leading dimensions of matmul", 5, 4>
});
program('a mistake far down a chain', () => {
  const x = randn([8, 16]).relu().add(1).transpose();
  x.softmax().matmul(randn([16, 2])); // red: "inner dimensions of matmul", 8, 16
});
program('sizes that do not broadcast', () => {
  randn([4, 3]).add(randn([4])); // red: DimensionMismatch<"broadcasting", 3, 4>
});
program("nor in the function's form", () => {
  add(randn([2, 3]), randn([2, 4])); // red: DimensionMismatch<"broadcasting", 3, 4>
});
program('where', () => {
  where(randn([2, 3]).gt(0), randn([3]), randn([2])); // red: DimensionMismatch<"where", 3, 2>
});
program('a reduction along an axis that is not there', () => {
  randn([2, 3]).sum({ axis: 2 }); // red: NoAxis<"reduction", [2, 3], 2>
});
program('nor in a list', () => {
  sum(randn([2, 3]), { axis: [0, -3] }); // red: NoAxis<"reduction", [2, 3], -3>
});
program('softmax along an axis that is not there', () => {
  softmax(randn([2, 3]), { axis: -3 }); // red: NoAxis<"softmax", [2, 3], -3>
});
program('what is left of a reduction is a dimension short', () => {
  const total: TensorOf<[2, 3]> = randn([2, 3, 4]).sum({ axis: 2, keepDims: true }); // red: '[2, 3, 1]' is not assignable to type '[2, 3]'
  total.dispose();
});
program('elements are lost', () => {
  randn([4, 7]).reshape([5, 6]); // red: "number of elements of reshape", [4, 7], [5, 6]
});
program('-1 cannot make up for it', () => {
  randn([4, 7]).reshape([-1, 8]); // red: "number of elements of reshape", [4, 7], [-1, 8]
});
program('the wrong one of two dimensions is flattened', () => {
  randn([2, 3, 4])
    .flatten(1)
    .matmul(randn([6, 5])); // red: "inner dimensions of matmul", 12, 6
});
program('a dimension that is not 1', () => {
  randn([2, 3]).squeeze(1); // red: DimensionMismatch<"squeezed dimension", 1, 3>
});
program('too few axes', () => {
  randn([2, 3, 4]).permute([1, 0]); // red: DimensionMismatch<"number of axes of permute", 3, 2>
});
program('an axis twice', () => {
  randn([2, 3, 4]).permute([1, 0, 1]); // red: "permute: an axis is given twice", [2, 3, 4], 1
});
program('a part that ends behind the end', () => {
  randn([2, 3]).narrow(1, 2, 2); // red: DimensionMismatch<"narrow: end of the part", 3, 4>
});
program('parts that differ along another axis', () => {
  concat([randn([2, 3]), randn([2, 4])]); // red: DimensionMismatch<"dimensions of concat", [2, 3], [2, 4]>
});
program('stack wants equal shapes', () => {
  stack([randn([2]), randn([3])]); // red: DimensionMismatch<"shapes of stack", [2], [3]>
});
program('a shape that x cannot be repeated to', () => {
  randn([2, 3]).broadcastTo([2, 4]); // red: DimensionMismatch<"broadcasting", 3, 4>
});
program('a weight of another width', () => {
  linear(randn([2, 3]), randn([5, 4])); // red: DimensionMismatch<"last dimension of linear", 4, 3>
});
program('a bias of another width', () => {
  linear(randn([2, 3]), randn([5, 3]), zeros([4])); // red: DimensionMismatch<"bias of linear", [5], [4]>
});
program('a table of three dimensions', () => {
  embedding(arange(3), randn([5, 4, 2])); // red: DimensionMismatch<"embedding: weight is [rows, width]", 2, 3>
});
program('heads of different width', () => {
  attention(randn([1, 2, 4, 8]), randn([1, 2, 4, 16]), randn([1, 2, 4, 16])); // red: "attention: head width of q and k", 8, 16
});
program('values for other keys', () => {
  attention(randn([1, 2, 4, 8]), randn([1, 2, 5, 8]), randn([1, 2, 6, 8])); // red: [1, 2, 5, 8], [1, 2, 6, 8]
});
program('an asserted shape goes on being checked', () => {
  const x: Tensor = randn([2, 3]);
  assertShape(x, [null, 3]);
  x.matmul(randn([2, 2])); // red: "inner dimensions of matmul", 3, 2
});
program('an unknown size is not any size when it is assigned', () => {
  const x: TensorOf<[4, 3]> = typed(randn([4, 3]) as Tensor, [null, 3]); // red: Type 'number' is not assignable to type '4'
  x.dispose();
});
program('a plain tensor says nothing of its shape', () => {
  const x: TensorOf<[2, 3]> = randn([2, 3]) as Tensor; // red: is not assignable to type 'TensorOf<[2, 3]>'
  x.dispose();
});
