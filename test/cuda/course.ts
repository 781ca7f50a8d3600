/** A short course of training on one device: what test/cuda compares between devices and between orders of warps. */
import { type Device, losses, manualSeed, nn, optim, type Precision, Stepper, type Tensor } from '../../lib/index.ts';
import { host, normals } from '../train/helpers.ts';

/** A convolution, an attention block, norms, dropout: every kind of kernel that training uses. */
export class Net extends nn.Module {
  conv = new nn.Conv2d(1, 16, { kernelSize: 2, stride: 2 });
  norm = new nn.BatchNorm2d(16);
  block = new nn.TransformerBlock(16, 2, { dropout: 0.1 });
  ln = new nn.LayerNorm(16);
  head = new nn.Linear(16, 3);
  forward(x: Tensor): Tensor {
    const c = this.norm.forward(this.conv.forward(x)).relu();
    const tokens = c.reshape([x.shape[0] as number, 16, 16]).transpose(1, 2);
    return this.head.forward(this.ln.forward(this.block.forward(tokens)).mean({ axis: 1 }));
  }
}

const micro = (part: number) => ({
  x: host(normals(`x${part}`, 9 * 64), 9, 1, 8, 8),
  y: host(
    Int32Array.from({ length: 9 }, (_, i) => i % 3),
    9,
  ),
});

/** Losses of `steps` steps of two micro-batches, and the weights that they lead to. */
export async function course(on: Device, precision: Precision, steps: number) {
  manualSeed(3);
  const model = new Net().to(on);
  const optimizer = new optim.AdamW(model.parameters(), { lr: 0.003 });
  const stepper = new Stepper({ model, optimizer, precision, clipNorm: 1, seed: 2 });
  const told: { loss: number; gradNorm: number }[] = [];
  for (let i = 0; i < steps; i++) {
    const window = { micro: [micro(2 * i), micro(2 * i + 1)] };
    const { loss, gradNorm } = await stepper.step(window, ({ x, y }) => losses.crossEntropy(model.forward(x), y));
    told.push({ loss, gradNorm });
  }
  return { told, weights: await Promise.all([...model.stateDict().values()].map((t) => t.data())) };
}
