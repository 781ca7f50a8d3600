import { type ListOperand, nativeOp, run } from '../native/run.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { type GroupOptions, Optimizer, type ParamGroup, type Trainable } from './optimizer.ts';

export interface LionOptions extends GroupOptions {
  /** Weight of the momentum in the step, and its decay. Default [0.9, 0.99]. */
  betas: readonly [number, number];
}

const lionOp = nativeOp('lion');

/**
 * Lion (Chen et al. 2023): p -= lr (sign(beta1 m + (1 - beta1) g) + weightDecay p), then m = beta2 m + (1 - beta2) g. Every element moves by lr, so lr is
 * 3 to 10 times smaller than AdamW's (default 1e-4) and weightDecay as much larger (default 0).
 */
export class Lion extends Optimizer<LionOptions> {
  constructor(params: Trainable<LionOptions>, options: Partial<LionOptions> = {}) {
    super('Lion', params, options, { lr: 1e-4, betas: [0.9, 0.99], weightDecay: 0, maximize: false });
  }
  protected override check(group: ParamGroup<LionOptions>, index: number): void {
    super.check(group, index);
    this.betas(index, group.betas);
  }
  protected roles(): readonly string[] {
    return ['expAvg'];
  }
  protected launch(g: ParamGroup<LionOptions>, inputs: readonly [ListOperand, ListOperand, Tensor | null], offset: number): void {
    run(lionOp, inputs, [], [offset, g.lr, g.weightDecay, +g.maximize, ...g.betas, 0, 0]);
  }
}
