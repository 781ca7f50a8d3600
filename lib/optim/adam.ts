import { type ListOperand, nativeOp, run } from '../native/run.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { type GroupOptions, Optimizer, type ParamGroup, type Trainable } from './optimizer.ts';

export interface AdamOptions extends GroupOptions {
  /** Decay of the averages of the gradient and of its square. Default [0.9, 0.999]. */
  betas: readonly [number, number];
  /** Added to the denominator. Default 1e-8. */
  eps: number;
  /** Divide by the largest second moment so far (Reddi et al. 2018). Default false. */
  amsgrad: boolean;
}

const adamOp = nativeOp('adam');

const defaults: AdamOptions = { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0, amsgrad: false, maximize: false };

abstract class AdamRule extends Optimizer<AdamOptions> {
  protected abstract readonly decoupled: boolean;

  protected override check(group: ParamGroup<AdamOptions>, index: number): void {
    super.check(group, index);
    this.finite(index, 'eps', group.eps);
    this.betas(index, group.betas);
  }
  protected roles(group: ParamGroup<AdamOptions>): readonly string[] {
    return group.amsgrad ? ['expAvg', 'expAvgSq', 'maxExpAvgSq'] : ['expAvg', 'expAvgSq'];
  }
  protected launch(g: ParamGroup<AdamOptions>, inputs: readonly [ListOperand, ListOperand, Tensor | null], offset: number): void {
    const [beta1, beta2] = g.betas;
    run(adamOp, inputs, [], [offset, g.lr, g.weightDecay, +g.maximize, beta1, beta2, g.eps, +this.decoupled, +g.amsgrad]);
  }
}

/**
 * Adam (Kingma and Ba 2015), as PyTorch's. m and v are averages of g and g^2; p -= lr mhat / (sqrt(vhat) + eps), the hats correcting for the
 * start from 0. `weightDecay` (default 0) is L2, inside the gradient: for decay of the weights themselves use AdamW. lr defaults to 1e-3.
 */
export class Adam extends AdamRule {
  constructor(params: Trainable<AdamOptions>, options: Partial<AdamOptions> = {}) {
    super('Adam', params, options, defaults);
  }
  protected get decoupled(): boolean {
    return false;
  }
}

/**
 * Adam with decoupled weight decay (Loshchilov and Hutter 2019): p -= lr weightDecay p first, then Adam's step on the pure gradient.
 * weightDecay defaults to 1e-2 and is per step and unit of lr, as PyTorch's.
 */
export class AdamW extends AdamRule {
  constructor(params: Trainable<AdamOptions>, options: Partial<AdamOptions> = {}) {
    super('AdamW', params, options, { ...defaults, weightDecay: 1e-2 });
  }
  protected get decoupled(): boolean {
    return true;
  }
}
