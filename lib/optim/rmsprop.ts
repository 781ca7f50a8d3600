import { type ListOperand, nativeOp, run } from '../native/run.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { type GroupOptions, Optimizer, type ParamGroup, type Trainable } from './optimizer.ts';

export interface RMSpropOptions extends GroupOptions {
  /** Decay of the average of squares. Default 0.99. */
  alpha: number;
  /** Default 0. */
  momentum: number;
  /** Added to the denominator. Default 1e-8. */
  eps: number;
  /** Divide by the standard deviation instead of the root mean square. Default false. */
  centered: boolean;
}

const rmspropOp = nativeOp('rmsprop');

/**
 * RMSprop (Hinton 2012), as PyTorch's: g += weightDecay p; v = alpha v + (1 - alpha) g^2; p -= lr g / (sqrt(v) + eps), with `momentum` through a
 * buffer b = momentum b + g / (sqrt(v) + eps), with `centered` v less the square of g's average. lr defaults to 1e-2.
 */
export class RMSprop extends Optimizer<RMSpropOptions> {
  constructor(params: Trainable<RMSpropOptions>, options: Partial<RMSpropOptions> = {}) {
    super('RMSprop', params, options, {
      ...{ lr: 1e-2, alpha: 0.99, momentum: 0, eps: 1e-8, centered: false },
      ...{ weightDecay: 0, maximize: false },
    });
  }
  protected override check(group: ParamGroup<RMSpropOptions>, index: number): void {
    super.check(group, index);
    this.finite(index, 'eps', group.eps);
    this.finite(index, 'momentum', group.momentum);
    if (!(typeof group.alpha === 'number' && group.alpha >= 0 && group.alpha <= 1))
      this.refuse(index, 'alpha must be a number from 0 to 1', group.alpha);
  }
  protected roles({ momentum, centered }: ParamGroup<RMSpropOptions>): readonly string[] {
    return ['squareAvg', ...(momentum > 0 ? ['momentumBuffer'] : []), ...(centered ? ['gradAvg'] : [])];
  }
  protected launch(
    g: ParamGroup<RMSpropOptions>,
    inputs: readonly [ListOperand, ListOperand, Tensor | null],
    offset: number,
  ): void {
    run(rmspropOp, inputs, [], [offset, g.lr, g.weightDecay, +g.maximize, g.alpha, g.momentum, g.eps, +g.centered]);
  }
}
