import { type AnnealError, data, losses, nn, optim, Stepper, type Tensor, Trainer, tensor, zeros } from '../../lib/index.ts';

export type Kind = new (...args: never[]) => AnnealError;
/** Name, call (throws at once, or gives a promise that rejects), kind, message. */
export type Row = readonly [name: string, call: () => unknown, kind: Kind, message: RegExp];

export const ints = (...v: number[]) => tensor(Int32Array.from(v));
export const wrong = (v: unknown) => v as never;
export const freed = () => {
  const t = zeros([2, 3]);
  t.dispose();
  return t;
};
export const linear = () => new nn.Linear(4, 3);
export const set = () =>
  new data.TensorDataset({ x: { data: new Float32Array(40), shape: [4] }, y: { data: new Int32Array(10) } });
export const loader = (options = {}) => data.loader(set(), { batchSize: 5, ...options });
export const stepper = (options = {}, model: nn.Module = linear()) =>
  new Stepper({ model, optimizer: new optim.SGD(model.parameters(), { lr: 0.1 }), ...options });
export const window = () => ({ micro: [{ x: zeros([2, 4]), y: ints(0, 1) }] });
export const classify =
  (model: nn.Linear) =>
  ({ x, y }: { x: Tensor; y: Tensor }) =>
    losses.crossEntropy(model.forward(x), y);
export const trainer = (options = {}, model = linear()) =>
  new Trainer({
    model,
    loss: (o, { y }) => losses.crossEntropy(o, y),
    optimizer: new optim.SGD(model.parameters(), { lr: 0.1 }),
    ...options,
  });
export const iterate = async (iterable: AsyncIterable<unknown>) => {
  for await (const _ of iterable);
};
