// Small tasks, each learnt in seconds by a network of its size, from which runs are made healthy or ill.
import { data, losses, manualSeed, nn, PhiloxStream, type Tensor } from '../../../lib/index.ts';
import type { TrainerOptions } from '../../../lib/train/trainer.ts';

export interface Sizes {
  /** Training samples. */
  samples?: number;
  /** Share of labels that are wrong, or noise on targets. */
  noise?: number;
  /** Inputs and, in regression, targets are multiplied by these. */
  scale?: number;
  targetScale?: number;
  /** Share of the last class; it then lies amid the first. */
  rare?: number;
  width?: number;
  depth?: number;
  activation?: () => nn.Layer;
  dropout?: number;
}
export interface Task {
  train: data.TensorDataset<string>;
  validation: data.TensorDataset<string>;
  model: nn.Module;
  loss: TrainerOptions['loss'];
  metrics: TrainerOptions['metrics'];
  forward?: TrainerOptions['forward'];
}

export function stream(seed: number, name: string): { uniform(): number; normal(): number } {
  const s = new PhiloxStream(seed, name);
  const uniform = () => Math.max(s.uniform(), 1e-12);
  return { uniform, normal: () => Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform()) };
}

const classification = (x: Float32Array, shape: number[], y: Int32Array) =>
  new data.TensorDataset({ x: { data: x, shape }, y: { data: y } });
const crossEntropy: TrainerOptions['loss'] = (out, { y }) => losses.crossEntropy(out, y);

export function mlp(sizes: readonly number[], { activation = () => new nn.ReLU(), dropout = 0 }: Sizes): nn.Sequential {
  return new nn.Sequential(
    ...sizes.slice(1).flatMap((out, i): nn.Layer[] => {
      const layer = new nn.Linear(sizes[i] as number, out);
      if (i === sizes.length - 2) return [layer];
      return [layer, activation(), ...(dropout ? [new nn.Dropout(dropout)] : [])];
    }),
  );
}
const hidden = (s: Sizes, width: number): number[] => Array.from({ length: s.depth ?? 2 }, () => s.width ?? width);

/** Points about centres. */
function clusters(seed: number, s: Sizes): Task {
  const [dim, classes, r] = [8, 4, stream(seed, 'clusters')];
  const centres = Float32Array.from({ length: classes * dim }, () => 1.2 * r.normal());
  const make = (n: number, noise: number) => {
    const y = Int32Array.from({ length: n }, (_, i) =>
      s.rare === undefined ? i % classes : i % Math.round(1 / s.rare) === 0 ? classes - 1 : i % (classes - 1),
    );
    const x = new Float32Array(n * dim);
    y.forEach((c, i) => {
      const centre = s.rare !== undefined && c === classes - 1 ? 0 : c;
      for (let k = 0; k < dim; k++) x[i * dim + k] = (s.scale ?? 1) * ((centres[centre * dim + k] as number) + 0.8 * r.normal());
    });
    const told = y.map((c) => (r.uniform() < noise ? Math.floor(r.uniform() * classes) : c));
    return classification(x, [dim], told);
  };
  const [train, validation] = [make(s.samples ?? 640, s.noise ?? 0), make(256, 0)];
  manualSeed(seed);
  const model = mlp([dim, ...hidden(s, 24), classes], s);
  return { train, validation, model, loss: crossEntropy, metrics: ['accuracy', 'perClass'] };
}

/** Two rings, one in the other: no straight line parts them. */
function rings(seed: number, s: Sizes): Task {
  const r = stream(seed, 'rings');
  const make = (n: number, noise: number) => {
    const y = Int32Array.from({ length: n }, (_, i) => (s.rare === undefined ? i % 2 : i % Math.round(1 / s.rare) === 0 ? 1 : 0));
    const x = new Float32Array(2 * n);
    y.forEach((c, i) => {
      const angle = 2 * Math.PI * r.uniform();
      const radius = (s.rare === undefined && c ? 2 : 1) + 0.15 * r.normal();
      x[2 * i] = (s.scale ?? 1) * radius * Math.cos(angle);
      x[2 * i + 1] = (s.scale ?? 1) * radius * Math.sin(angle);
    });
    return classification(
      x,
      [2],
      y.map((c) => (r.uniform() < noise ? 1 - c : c)),
    );
  };
  const [train, validation] = [make(s.samples ?? 512, s.noise ?? 0), make(256, 0)];
  manualSeed(seed);
  return { train, validation, model: mlp([2, ...hidden(s, 32), 2], s), loss: crossEntropy, metrics: ['accuracy', 'perClass'] };
}

/** Three arms of a spiral. */
function spirals(seed: number, s: Sizes): Task {
  const [r, classes] = [stream(seed, 'spirals'), 3];
  const make = (n: number, noise: number) => {
    const y = Int32Array.from({ length: n }, (_, i) => i % classes);
    const x = new Float32Array(2 * n);
    y.forEach((c, i) => {
      const radius = 0.3 + 1.7 * r.uniform();
      const angle = (2 * Math.PI * c) / classes + 1.2 * radius + 0.1 * r.normal();
      x[2 * i] = (s.scale ?? 1) * radius * Math.cos(angle);
      x[2 * i + 1] = (s.scale ?? 1) * radius * Math.sin(angle);
    });
    const told = y.map((c) => (r.uniform() < noise ? Math.floor(r.uniform() * classes) : c));
    return classification(x, [2], told);
  };
  const [train, validation] = [make(s.samples ?? 480, s.noise ?? 0), make(240, 0)];
  manualSeed(seed);
  const model = mlp([2, ...hidden(s, 32), classes], s);
  return { train, validation, model, loss: crossEntropy, metrics: ['accuracy', 'perClass'] };
}

function regression(name: string, dim: number, f: (x: readonly number[]) => number): (seed: number, s: Sizes) => Task {
  return (seed, s) => {
    const r = stream(seed, name);
    const make = (n: number, noise: number) => {
      const x = Float32Array.from({ length: n * dim }, () => r.uniform() * 4 - 2);
      const y = Float32Array.from(
        { length: n },
        (_, i) => (s.targetScale ?? 1) * (f([...x.subarray(i * dim, i * dim + dim)]) + noise * r.normal()),
      );
      return new data.TensorDataset({ x: { data: x.map((v) => v * (s.scale ?? 1)), shape: [dim] }, y: { data: y, shape: [1] } });
    };
    const [train, validation] = [make(s.samples ?? 512, s.noise ?? 0.05), make(256, 0.05)];
    manualSeed(seed);
    const model = mlp([dim, ...hidden(s, 32), 1], s);
    return { train, validation, model, loss: (out, { y }) => losses.mse(out, y), metrics: ['regression'] };
  };
}

/** Pictures 8x8 of a bar that stands or lies, or a square, somewhere. */
function pictures(seed: number, s: Sizes): Task {
  const [r, classes] = [stream(seed, 'pictures'), 3];
  const make = (n: number, noise: number) => {
    const y = Int32Array.from({ length: n }, (_, i) =>
      s.rare === undefined ? i % classes : i % Math.round(1 / s.rare) === 0 ? 2 : i % 2,
    );
    const x = new Float32Array(n * 64);
    y.forEach((c, i) => {
      const shown = s.rare !== undefined && c === 2 ? 0 : c;
      const [top, left] = [Math.floor(r.uniform() * 4), Math.floor(r.uniform() * 4)];
      for (let k = 0; k < 64; k++) x[i * 64 + k] = (s.scale ?? 1) * 0.3 * r.normal();
      for (let a = 0; a < 4; a++)
        for (let b = 0; b < (shown === 2 ? 4 : 1); b++) {
          const [row, column] = shown === 1 ? [top + b, left + a] : [top + a, left + b];
          x[i * 64 + row * 8 + column] = (s.scale ?? 1) * (1 + 0.3 * r.normal());
        }
    });
    return classification(
      x,
      [1, 8, 8],
      y.map((c) => (r.uniform() < noise ? Math.floor(r.uniform() * classes) : c)),
    );
  };
  const [train, validation] = [make(s.samples ?? 384, s.noise ?? 0), make(192, 0)];
  manualSeed(seed);
  const act = s.activation ?? (() => new nn.ReLU());
  const model = new nn.Sequential(
    ...[new nn.Conv2d(1, s.width ?? 8, { kernelSize: 3, padding: 1 }), act(), new nn.MaxPool2d(2)],
    ...[new nn.Flatten(), new nn.Linear((s.width ?? 8) * 16, 32), act()],
    ...(s.dropout ? [new nn.Dropout(s.dropout)] : []),
    new nn.Linear(32, classes),
  );
  return { train, validation, model, loss: crossEntropy, metrics: ['accuracy', 'perClass'] };
}

/** Tokens that count in steps of 1 to 3: the next one is told by the two before it. */
class TinyGpt extends nn.Module {
  embed: nn.Embedding;
  place: nn.Embedding;
  blocks: nn.TransformerBlock[];
  head: nn.Linear;
  constructor(vocabulary: number, block: number, width: number, dropout: number, layers: number) {
    super();
    this.embed = new nn.Embedding(vocabulary, width);
    this.place = new nn.Embedding(block, width);
    this.blocks = Array.from({ length: layers }, () => new nn.TransformerBlock(width, 2, { dropout }));
    this.head = new nn.Linear(width, vocabulary);
    for (const p of [this.embed.weight, this.place.weight]) nn.assign(p, nn.init.normal(p.shape, 0.1));
  }
  forward(tokens: Tensor): Tensor {
    let x = this.embed.forward(tokens).add(this.place.weight);
    for (const b of this.blocks) x = b.forward(x);
    return this.head.forward(x);
  }
}
function counting(seed: number, s: Sizes): Task {
  const [vocabulary, block, r] = [11, 12, stream(seed, 'counting')];
  const make = (n: number, noise: number) => {
    const [x, y] = [new Int32Array(n * block), new Int32Array(n * block)];
    for (let i = 0; i < n; i++) {
      const [start, step] = [Math.floor(r.uniform() * vocabulary), 1 + Math.floor(r.uniform() * 3)];
      for (let t = 0; t < block; t++) {
        x[i * block + t] = (start + t * step) % vocabulary;
        const next = (start + (t + 1) * step) % vocabulary;
        y[i * block + t] = r.uniform() < noise ? Math.floor(r.uniform() * vocabulary) : next;
      }
    }
    return new data.TensorDataset({ x: { data: x, shape: [block] }, y: { data: y, shape: [block] } });
  };
  const [train, validation] = [make(s.samples ?? 256, s.noise ?? 0), make(96, 0)];
  manualSeed(seed);
  const model = new TinyGpt(vocabulary, block, s.width ?? 16, s.dropout ?? 0, s.depth ?? 1);
  return { train, validation, model, loss: crossEntropy, metrics: ['accuracy'] };
}

export const tasks = {
  clusters,
  pictures,
  wave: regression('wave', 1, ([x = 0]) => Math.sin(2.5 * x)),
  rings,
  saddle: regression('saddle', 3, ([a = 0, b = 0, c = 0]) => a * b + Math.sin(c)),
  counting,
  spirals,
  bumps: regression('bumps', 2, ([a = 0, b = 0]) => Math.exp(-(a * a + b * b)) * 2 - Math.cos(2 * a) * 0.5),
} as const;
export type TaskName = keyof typeof tasks;
