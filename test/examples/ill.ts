// A run that nobody should learn from: its rate is a thousand times too high. So that one knows that examples which are ill would be noticed.
import { data, losses, nn, optim, Trainer } from 'anneal';

const x = Float32Array.from({ length: 64 }, (_, i) => i / 8);
const set = new data.TensorDataset({ x: { data: x, shape: [1] }, y: { data: x.map((v) => 3 * v), shape: [1] } });
const model = new nn.Linear(1, 1);
await new Trainer({
  model,
  loss: (out, { y }) => losses.mse(out, y),
  optimizer: new optim.SGD(model.parameters(), { lr: 10 }),
}).fit({ train: data.loader(set, { batchSize: 8 }), epochs: 30 });
