// Networks and losses that must not compile; marked as in ops.ts.
import { losses, nn, randint, randn, type TensorOf, zeros } from 'anneal/typed';

declare function program(name: string, body: () => void): void;

program('a layer for another width', () => {
  new nn.Linear(784, 10).forward(randn([8, 28, 28])); // red: DimensionMismatch<"last dimension of Linear", 784, 28>
});
program('a wrong layer in a Sequential', () => {
  new nn.Sequential(
    new nn.Linear(784, 128),
    new nn.ReLU(),
    new nn.Linear(64, 10), // red: DimensionMismatch<"last dimension of Linear", 64, 128>
    new nn.Softmax(),
  );
});
program('the right layers for another input', () => {
  const model = new nn.Sequential(new nn.Linear(6, 5), new nn.ReLU(), new nn.Linear(5, 4));
  model.forward(randn([2, 7])); // red: DimensionMismatch<"last dimension of Linear", 6, 7>
});
program('channels, in a Sequential', () => {
  new nn.Sequential(
    new nn.Conv2d(1, 8, { kernelSize: 3 }),
    new nn.BatchNorm2d(8),
    new nn.Conv2d(16, 8, { kernelSize: 3 }), // red: DimensionMismatch<"channels of Conv2d", 16, 8>
  );
});
program('what Flatten leaves of pictures of another size', () => {
  const cnn = new nn.Sequential(
    new nn.Conv2d(1, 4, { kernelSize: 3 }),
    new nn.MaxPool2d(2),
    new nn.Flatten(),
    new nn.Linear(676, 10),
  );
  cnn.forward(zeros([1, 1, 32, 32])); // red: DimensionMismatch<"last dimension of Linear", 676, 900>
});
program('a window larger than the picture', () => {
  new nn.Conv2d(3, 4, { kernelSize: 5 }).forward(randn([1, 3, 4, 9])); // red: Conv2d: the window is larger than
});
program('a normalised shape', () => {
  new nn.LayerNorm([3, 4]).forward(randn([2, 5, 4])); // red: DimensionMismatch<"LayerNorm", [3, 4], [2, 5, 4]>
});
program('channels of batch norm', () => {
  new nn.BatchNorm1d(6).forward(randn([2, 5])); // red: DimensionMismatch<"channels of BatchNorm1d", 6, 5>
});
program("a transformer's width", () => {
  new nn.TransformerBlock(64, 4).forward(randn([2, 8, 32])); // red: 64
});
program('targets for other rows', () => {
  losses.crossEntropy(randn([8, 10]), randint([9], { high: 10 })); // red: DimensionMismatch<"crossEntropy: target", [8], [9]>
});
program('classes stand on the last axis unless one says otherwise', () => {
  losses.crossEntropy(randn([2, 10, 7]), randint([2, 7], { high: 10 })); // red: DimensionMismatch<"crossEntropy: target", [2, 10], [2, 7]>
});
program('[N, 1] against [N], which would silently broadcast elsewhere', () => {
  losses.mse(randn([8, 1]), randn([8])); // red: DimensionMismatch<"mse", [8, 1], [8]>
});
program('a target of one size less', () => {
  losses.bceWithLogits(randn([8, 3]), zeros([8, 2])); // red: DimensionMismatch<"bceWithLogits", [8, 3], [8, 2]>
});
program('in a function over sizes, too', () => {
  function head<B extends number, T extends number>(x: TensorOf<[B, T, 64]>, layer: nn.Linear<32, 10>): void {
    layer.forward(x); // red: DimensionMismatch<"last dimension of Linear", 32, 64>
  }
  head(zeros([1, 1, 64]), new nn.Linear(32, 10));
});
program('a type parameter is not a literal', () => {
  function scores<N extends number>(x: TensorOf<[N, 16]>): void {
    x.matmul(x); // red: DimensionMismatch<"inner dimensions of matmul", 16, N>
  }
  scores(zeros([16, 16]));
});
program('what a function over sizes promises', () => {
  function swapped<A extends number, B extends number>(x: TensorOf<[A, B]>): TensorOf<[B, A]> {
    return x.relu(); // red: 'TensorOf<[A, B]>' is not assignable to type 'TensorOf<[B, A]>'
  }
  swapped(zeros([1, 2]));
});
program("a module's own forward", () => {
  class Net extends nn.Module {
    layer = new nn.Linear(4, 5);
    forward<N extends number>(x: TensorOf<[N, 4]>): TensorOf<[N, 5]> {
      return this.layer.forward(x).relu();
    }
  }
  new Net().forward(zeros([3, 5])); // red: TensorOf<[3, 4]>
});
