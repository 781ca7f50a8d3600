import { manualSeed, nn, type Tensor, tensor } from 'anneal';
import { Gpt } from '../examples/gpt/model.ts';
import { cnn } from '../examples/mnist/model.ts';

/** A row of workloads.json. */
export interface Workload {
  kind: 'mlp' | 'cnn' | 'gpt';
  batch: number;
  /** Steps per measurement. */
  steps: number;
  /** Wait for each step's loss, as someone who prints it does. */
  awaitEach?: boolean;
  sizes?: number[];
  layers?: number;
  heads?: number;
  width?: number;
  block?: number;
  vocabulary?: number;
}

/** A fixed batch of pseudo-random data: the bench measures time only. */
function noise(size: number): Float32Array {
  let state = 1;
  return Float32Array.from({ length: size }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state / 2 ** 31 - 1) * 1.7;
  });
}
const labels = (size: number, classes: number): Int32Array =>
  noise(size).map((v) => Math.floor(((v / 1.7 + 1) / 2) * classes)) as never;

function mlp(sizes: readonly number[]): nn.Sequential {
  const layers = sizes.slice(1).flatMap((out, i) => [new nn.Linear(sizes[i] as number, out), new nn.ReLU()]);
  return new nn.Sequential(...layers.slice(0, -1));
}

export interface Built {
  model: nn.Module & { forward(x: Tensor): Tensor };
  x: Tensor;
  y: Tensor;
  /** Floating-point operations of the matrix products and convolutions of one step, forward and backward. */
  flops: number;
}

export function build(w: Workload): Built {
  manualSeed(0);
  const int = (size: number, classes: number, shape: number[]) => tensor(Int32Array.from(labels(size, classes)), { shape });
  if (w.kind === 'mlp') {
    const sizes = w.sizes as number[];
    const [first, last] = [sizes[0] as number, sizes[sizes.length - 1] as number];
    const macs = sizes.slice(1).map((out, i) => out * (sizes[i] as number));
    // The first layer's input wants no gradient.
    const flops = 2 * w.batch * (3 * macs.reduce((a, b) => a + b, 0) - (macs[0] as number));
    return {
      model: mlp(sizes),
      x: tensor(noise(w.batch * first), { shape: [w.batch, first] }),
      y: int(w.batch, last, [w.batch]),
      flops,
    };
  }
  if (w.kind === 'cnn') {
    const macs = [26 * 26 * 32 * 9, 24 * 24 * 64 * 32 * 9, 9216 * 128, 128 * 10];
    const flops = 2 * w.batch * (3 * macs.reduce((a, b) => a + b, 0) - (macs[0] as number));
    return {
      model: cnn(),
      x: tensor(noise(w.batch * 784), { shape: [w.batch, 1, 28, 28] }),
      y: int(w.batch, 10, [w.batch]),
      flops,
    };
  }
  const { layers, heads, width, block, vocabulary, batch } = w as Required<Workload>;
  const tokens = labels(batch * block, vocabulary);
  const perToken = layers * (12 * width * width + block * width) + vocabulary * width; // causal attention: half of the scores
  const model = new Gpt({ vocabulary, block, layers, heads, width });
  const pick = () => tensor(Int32Array.from(tokens), { shape: [batch, block] });
  return { model, x: pick(), y: pick(), flops: 6 * batch * block * perToken };
}
