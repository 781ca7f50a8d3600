import { type ListOperand, nativeOp, run } from '../native/run.ts';
import { persistent } from '../tensor/scope.ts';
import { type Tensor, unwritten } from '../tensor/tensor.ts';
import { chunk } from './lists.ts';
import { type GroupOptions, Optimizer, type ParamGroup, type Trainable } from './optimizer.ts';

export interface LAMBOptions extends GroupOptions {
  /** Decay of the averages of the gradient and of its square. Default [0.9, 0.999]. */
  betas: readonly [number, number];
  /** Added to the denominator. Default 1e-6. */
  eps: number;
  /** Adapt the rate of groups without decay (biases, norms) too, which otherwise take Adam's step. Default false. */
  adaptUndecayed: boolean;
}

const lambOp = nativeOp('lamb');

/**
 * LAMB (You et al. 2020), for large batches: Adam's direction d = mhat / (sqrt(vhat) + eps) + weightDecay p, and each tensor's step is as long as the
 * tensor: p -= lr |p| / |d| d (a ratio of 1 where either norm is 0). Groups without decay are not adapted, as in NVIDIA's FusedLAMB. lr defaults to
 * 1e-3, weightDecay to 1e-2. The paper clips the gradient's norm to 1: clipNorm.
 */
export class LAMB extends Optimizer<LAMBOptions> {
  /** Sums of each chunk, on the CPU. */
  readonly #partials = new Map<number, Tensor>();

  constructor(params: Trainable<LAMBOptions>, options: Partial<LAMBOptions> = {}) {
    super('LAMB', params, options, {
      ...{ lr: 1e-3, betas: [0.9, 0.999], eps: 1e-6, adaptUndecayed: false },
      ...{ weightDecay: 1e-2, maximize: false },
    });
  }
  protected override check(group: ParamGroup<LAMBOptions>, index: number): void {
    super.check(group, index);
    this.finite(index, 'eps', group.eps);
    this.betas(index, group.betas);
  }
  protected roles(): readonly string[] {
    return ['expAvg', 'expAvgSq'];
  }
  protected launch(g: ParamGroup<LAMBOptions>, inputs: readonly [ListOperand, ListOperand, Tensor | null], offset: number): void {
    const adapts = g.weightDecay > 0 || g.adaptUndecayed;
    run(lambOp, inputs, [this.#partialsOf(g, offset)], [offset, g.lr, g.weightDecay, +g.maximize, ...g.betas, g.eps, +adapts]);
  }
  #partialsOf(g: ParamGroup<LAMBOptions>, offset: number): Tensor {
    const device = (g.params[0] as Tensor).device;
    const known = this.#partials.get(offset);
    if (known?.device === device) return known;
    known?.dispose();
    const chunks = g.params.reduce((n, p) => n + Math.ceil(p.size / chunk), 0);
    const made = persistent(() => unwritten([Math.max(1, 2 * chunks)], 'f64', device));
    this.#partials.set(offset, made);
    return made;
  }
  override dispose(): void {
    for (const t of this.#partials.values()) t.dispose();
    super.dispose();
  }
}
