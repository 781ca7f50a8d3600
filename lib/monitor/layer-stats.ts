import { nativeOp, type Operand, run, watchCalls } from '../native/run.ts';
import { watchModules } from '../nn/hooks.ts';
import { Module } from '../nn/module.ts';
import { eq, gt, mul, sub } from '../ops/binary.ts';
import { cast, filled } from '../ops/define.ts';
import { narrow, permute } from '../ops/index.ts';
import { norm } from '../ops/magnitude.ts';
import { matmul } from '../ops/matmul.ts';
import { logSumExp, max, mean } from '../ops/reduce.ts';
import { abs, exp, sqrt, square } from '../ops/unary.ts';
import { reshape } from '../ops/view.ts';
import { noGrad } from '../tensor/context.ts';
import { isFloat } from '../tensor/dtype.ts';
import { persistent, scope } from '../tensor/scope.ts';
import { Parameter, Tensor } from '../tensor/tensor.ts';

/** Figures of one layer in one step. */
export interface LayerFigures {
  /** Path in the model; of a softmax that is no module of its own the path of the one around it. */
  readonly name: string;
  /** The module's class; 'attention' and 'crossEntropy' for what happens inside those ops. */
  readonly kind: string;
  /** Norms of the layer's own weights and of their gradients, which are those of the whole window, before clipping; and how many weights there are. */
  readonly weights?: number;
  readonly weightNorm?: number;
  readonly gradNorm?: number;
  /** Of what the layer gave for the first micro-batch: mean, standard deviation, share of zeros, and share of units that are 0 for every sample. */
  readonly mean?: number;
  readonly std?: number;
  readonly zeros?: number;
  readonly dead?: number;
  /** Of a softmax: mean of its largest probability, and share of its rows where that is above 0.99. */
  readonly peak?: number;
  readonly saturated?: number;
}

/** A layer, with where its figures are; the number of its weights the host knows. */
interface Row {
  readonly name: string;
  readonly kind: string;
  readonly places: Map<Figure, number>;
  weights?: number;
}
type Figure = Exclude<keyof LayerFigures, 'name' | 'kind' | 'weights'>;

const copyOp = nativeOp('copy');
/** Samples, from the first, whose attention is looked at. */
const attended = 8;
/** Figures that fit; a model of so many layers is told in part. */
const capacity = 1 << 15;

/** Axis of the units in a layer's output: channels of pictures, else the last. */
const unitAxis = (x: Tensor): number => (x.ndim === 4 ? 1 : x.ndim - 1);

/** Watches one step of a model and has its layers' figures computed on the device; they are read together, later. */
export class LayerProbe {
  readonly #model: Module;
  readonly #off: (() => void)[] = [];
  readonly #rows: Row[] = [];
  readonly #values: Tensor;
  #used = 0;
  /** Figures are of the first micro-batch. */
  #looking = true;
  readonly #seen = new Set<string>();

  constructor(model: Module) {
    this.#model = model;
    const device = model.parameters()[0]?.device;
    this.#values = persistent(() => filled([capacity], 0, 'f32', device ? { device } : ({} as never)));
    const paths = new Map([...model.namedModules()].map(([path, m]) => [m, path]));
    const leaves = [...paths.keys()].filter((m) => ![...m.entries()].some(([, child]) => child instanceof Module));
    const inside: Module[] = [];
    this.#off.push(
      watchModules(paths.keys(), {
        entering: (m) => inside.push(m),
        left: (m, output) => {
          inside.pop();
          if (output instanceof Tensor && leaves.includes(m)) this.#activations(paths.get(m) ?? '', m, output);
        },
      }),
      watchCalls({
        after: (op, inputs, _, attrs) => {
          const at = inside[inside.length - 1];
          const name = (at && paths.get(at)) ?? '';
          if (op.name === 'attention') this.#attention(name, inputs, attrs);
          else if (op.name === 'crossEntropy' && inputs[0] instanceof Tensor) this.#softmax(name, op.name, inputs[0]);
        },
      }),
    );
  }

  /** What comes after the first micro-batch is not looked at. */
  rest(): void {
    this.#looking = false;
    this.stop();
  }
  stop(): void {
    for (const off of this.#off.splice(0)) off();
  }
  dispose(): void {
    this.stop();
    this.#values.dispose();
  }

  #row(name: string, kind: string): Row {
    const known = this.#rows.find((r) => r.name === name && r.kind === kind);
    if (known) return known;
    const row: Row = { name, kind, places: new Map() };
    this.#rows.push(row);
    return row;
  }
  #take(name: string, kind: string, figures: () => Partial<Record<Figure, Tensor>>): void {
    scope(() =>
      noGrad(() => {
        for (const [figure, value] of Object.entries(figures()) as [Figure, Tensor][]) {
          if (this.#used === capacity) return;
          const place = this.#used++;
          this.#row(name, kind).places.set(figure, place);
          const { storage, offset, code, device } = this.#values;
          const slot: Operand = { storage, offset: offset + 4 * place, size: 1, code, shape: [], device };
          run(copyOp, [cast(value, 'f32')], [slot]);
        }
      }),
    );
  }
  /** A module, or an op in one, is looked at when it is called first. */
  #first(name: string, kind: string): boolean {
    const key = `${kind} ${name}`;
    if (!this.#looking || this.#seen.has(key)) return false;
    this.#seen.add(key);
    return true;
  }

  #activations(name: string, module: Module, output: Tensor): void {
    const kind = module.constructor.name;
    if (!isFloat(output.dtype) || output.size === 0 || !this.#first(name, kind)) return;
    if (kind === 'Softmax') this.#take(name, kind, () => peaks(max(cast(output.detach(), 'f32'), { axis: -1 })));
    this.#take(name, kind, () => {
      const x = cast(output.detach(), 'f32');
      const m = mean(x);
      const others = x.shape.map((_, i) => i).filter((i) => i !== unitAxis(x));
      const silent = cast(eq(x, 0), 'f32');
      const dead = others.length ? { dead: mean(cast(eq(max(abs(x), { axis: others }), 0), 'f32')) } : {};
      return { mean: m, std: sqrt(mean(square(sub(x, m)))), zeros: mean(silent), ...dead };
    });
  }

  /** @param logits [..., classes] */
  #softmax(name: string, kind: string, logits: Tensor): void {
    if (logits.ndim < 2 || logits.size === 0 || !this.#first(name, kind)) return;
    this.#take(name, kind, () => {
      const x = cast(logits.detach(), 'f32');
      return peaks(exp(sub(max(x, { axis: -1 }), logSumExp(x, { axis: -1 }))));
    });
  }

  /** The last query's weights, of the first samples: it sees all keys, be the attention causal or not. What is masked is left out. */
  #attention(name: string, inputs: readonly unknown[], attrs: readonly number[]): void {
    const [q, k, , mask] = inputs;
    const [batch = 0, heads = 0, kvHeads = 0, tq = 0, tk = 0, d = 0, scale = 1] = attrs.slice(5);
    if (!(q instanceof Tensor) || mask || heads !== kvHeads || tk < 4 || batch === 0 || !this.#first(name, 'attention')) return;
    const b = Math.min(batch, attended);
    /** Rows of q or k as [b, heads, rows, d]. */
    const rows = (x: Tensor, part: number, from: number, count: number): Tensor => {
      const own = cast(narrow(x.detach(), 0, 0, b), 'f32');
      if (x.ndim === 4) return narrow(own, 2, from, count);
      const side = reshape(narrow(narrow(own, 1, from, count), 2, part * heads * d, heads * d), [b, count, heads, d]);
      return permute(side, [0, 2, 1, 3]);
    };
    const keys = k instanceof Tensor ? k : q;
    if (keys.ndim !== q.ndim) return;
    this.#take(name, 'attention', () => {
      const scores = mul(matmul(rows(q, 0, tq - 1, 1), rows(keys, 1, 0, tk), { transposeB: true }), scale);
      return peaks(exp(sub(max(scores, { axis: -1 }), logSumExp(scores, { axis: -1 }))));
    });
  }

  /** Once gradients are complete: norms of them and of the weights, a row for each module that owns some. */
  gradients(): void {
    this.stop();
    for (const [name, module] of this.#model.namedModules()) {
      const own = [...module.entries()].map(([, v]) => v).filter((v): v is Parameter => v instanceof Parameter);
      if (own.length === 0) continue;
      const kind = module.constructor.name;
      const together = (parts: readonly Tensor[]) => sqrt(parts.map((t) => square(norm(t.detach()))).reduce((a, b) => a.add(b)));
      const grads = own.flatMap((p) => (p.grad ? [p.grad] : []));
      this.#take(name, kind, () => ({
        weightNorm: together(own),
        ...(grads.length ? { gradNorm: together(grads) } : {}),
      }));
      this.#row(name, kind).weights = own.reduce((n, p) => n + p.size, 0);
    }
  }

  /** @param unscale what turns gradients as they lie in memory into those of the loss. Reads and frees. */
  async read(unscale: Promise<number>): Promise<LayerFigures[]> {
    try {
      const [values, factor] = await Promise.all([this.#values.data(), unscale]);
      return this.#rows.map(({ name, kind, places, weights }) => {
        const figures = [...places].map(([f, i]) => [f, (values[i] as number) * (f === 'gradNorm' ? factor : 1)] as const);
        return { name, kind, ...(weights === undefined ? {} : { weights }), ...Object.fromEntries(figures) };
      });
    } finally {
      this.#values.dispose();
    }
  }
}

/** @param largest each row's largest probability */
const peaks = (largest: Tensor) => ({ peak: mean(largest), saturated: mean(cast(gt(largest, 0.99), 'f32')) });
