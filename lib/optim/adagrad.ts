import { type ListOperand, nativeOp, run } from '../native/run.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { type GroupOptions, Optimizer, type ParamGroup, type Trainable } from './optimizer.ts';

export interface AdagradOptions extends GroupOptions {
  /** The rate of update t, from 1, is lr / (1 + (t - 1) lrDecay). Default 0. */
  lrDecay: number;
  /** What the sum of squares begins with. Default 0. */
  initialAccumulatorValue: number;
  /** Added to the denominator. Default 1e-10. */
  eps: number;
}

const adagradOp = nativeOp('adagrad');

/** Adagrad (Duchi et al. 2011), as PyTorch's: g += weightDecay p; s += g^2; p -= lr g / (sqrt(s) + eps). lr defaults to 1e-2. */
export class Adagrad extends Optimizer<AdagradOptions> {
  constructor(params: Trainable<AdagradOptions>, options: Partial<AdagradOptions> = {}) {
    super('Adagrad', params, options, {
      ...{ lr: 1e-2, lrDecay: 0, initialAccumulatorValue: 0, eps: 1e-10 },
      ...{ weightDecay: 0, maximize: false },
    });
  }
  protected override check(group: ParamGroup<AdagradOptions>, index: number): void {
    super.check(group, index);
    this.finite(index, 'lrDecay', group.lrDecay);
    this.finite(index, 'initialAccumulatorValue', group.initialAccumulatorValue);
    this.finite(index, 'eps', group.eps);
  }
  protected roles(): readonly string[] {
    return ['sum'];
  }
  protected override initial({ initialAccumulatorValue }: ParamGroup<AdagradOptions>): number {
    return initialAccumulatorValue;
  }
  protected launch(
    g: ParamGroup<AdagradOptions>,
    inputs: readonly [ListOperand, ListOperand, Tensor | null],
    offset: number,
  ): void {
    run(adagradOp, inputs, [], [offset, g.lr, g.weightDecay, +g.maximize, g.lrDecay, 0, g.eps, 0]);
  }
}
