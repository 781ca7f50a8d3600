import { ConfigError } from '../native/errors.ts';
import { type ListOperand, nativeOp, run } from '../native/run.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { type GroupOptions, Optimizer, type ParamGroup, type Trainable } from './optimizer.ts';

export interface SGDOptions extends GroupOptions {
  /** Default 0. */
  momentum: number;
  /** What new gradients lose on their way into the momentum; the first one is taken whole. Default 0. */
  dampening: number;
  /** Nesterov's form; needs momentum > 0 and no dampening. Default false. */
  nesterov: boolean;
}

const sgdOp = nativeOp('sgd');

/**
 * Stochastic gradient descent, as PyTorch's: g += weightDecay p; b = momentum b + (1 - dampening) g (b = g at first); p -= lr b, or
 * lr (g + momentum b) with `nesterov`. Weight decay is L2, inside the gradient. `lr` must be given (the field's range: 0.01 to 0.1).
 */
export class SGD extends Optimizer<SGDOptions> {
  constructor(params: Trainable<SGDOptions>, options: Partial<SGDOptions>) {
    super('SGD', params, options, {
      // NaN fails the check, for options and groups that give none.
      lr: Number.NaN,
      momentum: 0,
      dampening: 0,
      weightDecay: 0,
      nesterov: false,
      maximize: false,
    });
  }
  protected override check(group: ParamGroup<SGDOptions>, index: number): void {
    if (Number.isNaN(group.lr))
      throw new ConfigError(
        `SGD group ${index}: there is no default lr. Give one, 0.01 to 0.1 as a rule: { lr: 0.1, momentum: 0.9 }.`,
      );
    super.check(group, index);
    this.finite(index, 'momentum', group.momentum);
    this.finite(index, 'dampening', group.dampening, -Number.MAX_VALUE);
    if (group.nesterov && (group.momentum === 0 || group.dampening !== 0))
      this.refuse(index, 'nesterov needs momentum > 0 and dampening 0', [group.momentum, group.dampening]);
  }
  protected roles(group: ParamGroup<SGDOptions>): readonly string[] {
    return group.momentum > 0 ? ['momentumBuffer'] : [];
  }
  protected launch(g: ParamGroup<SGDOptions>, inputs: readonly [ListOperand, ListOperand, Tensor | null], offset: number): void {
    run(sgdOp, inputs, [], [offset, g.lr, g.weightDecay, +g.maximize, g.momentum, g.dampening, +g.nesterov]);
  }
}
