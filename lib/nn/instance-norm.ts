import { checkOptions, ShapeError } from '../native/errors.ts';
import { checkFloat, checkNumber } from '../ops/define.ts';
import { batchNorm, checkEps, groupNorm } from '../ops/norm.ts';
import { mean, variance } from '../ops/reduce.ts';
import { noGrad } from '../tensor/context.ts';
import { scope } from '../tensor/scope.ts';
import { show, sizeOf } from '../tensor/shape.ts';
import { Parameter, type Tensor } from '../tensor/tensor.ts';
import * as init from './init.ts';
import { checkCount } from './linear.ts';
import { assign, Buffer, Module } from './module.ts';

export interface InstanceNormOptions {
  /** Added to the variance. Default 1e-5. */
  eps?: number;
  /** Share of the newest batch in the running statistics. Default 0.1. */
  momentum?: number;
  /** A weight and a bias per channel. Default false. */
  affine?: boolean;
  /** Keep running statistics, which evaluation then uses. Default false. */
  trackRunningStats?: boolean;
}

abstract class InstanceNorm extends Module {
  weight: Parameter | null;
  bias: Parameter | null;
  runningMean: Buffer | null;
  runningVar: Buffer | null;
  readonly numFeatures: number;
  readonly eps: number;
  readonly momentum: number;
  readonly #rank: number;
  constructor(rank: number, numFeatures: number, options: InstanceNormOptions) {
    super();
    const where = new.target.name;
    checkOptions(where, options, ['eps', 'momentum', 'affine', 'trackRunningStats']);
    this.numFeatures = checkCount(where, 'numFeatures', numFeatures);
    const affine = options.affine ?? false;
    this.weight = affine ? new Parameter(init.ones([numFeatures])) : null;
    this.bias = affine ? new Parameter(init.zeros([numFeatures])) : null;
    const tracks = options.trackRunningStats ?? false;
    this.runningMean = tracks ? new Buffer(init.zeros([numFeatures])) : null;
    this.runningVar = tracks ? new Buffer(init.ones([numFeatures])) : null;
    this.eps = checkEps(where, options.eps);
    this.momentum = checkNumber(where, options.momentum ?? 0.1, 'momentum', 0, 1);
    this.#rank = rank;
  }
  forward(x: Tensor): Tensor {
    const where = this.constructor.name;
    const { numFeatures, eps, weight, bias, runningMean, runningVar } = this;
    checkFloat(where, x);
    const layout = this.#rank === 3 ? 'L' : 'H, W';
    if (x.ndim !== this.#rank || x.shape[1] !== numFeatures)
      throw new ShapeError(`${where}: x must be [N, ${numFeatures}, ${layout}], got ${show(x.shape)}`);
    if (!this.training && runningMean && runningVar)
      return batchNorm(x, weight, bias, runningMean, runningVar, { eps, training: false });
    const size = sizeOf(x.shape.slice(2));
    if (this.training && size < 2)
      throw new ShapeError(`${where}: training needs more than one value per channel and sample, ${show(x.shape)} has ${size}`);
    if (this.training && runningMean && runningVar && x.size > 0) this.#follow(x, runningMean, runningVar);
    return groupNorm(x, weight, bias, { numGroups: numFeatures, eps });
  }
  /** running = (1 - momentum) running + momentum (the mean over samples of each one's mean and unbiased variance). */
  #follow(x: Tensor, runningMean: Tensor, runningVar: Tensor): void {
    const axis = x.shape.slice(2).map((_, i) => i + 2);
    scope(() =>
      noGrad(() => {
        const plain = x.detach().to(runningMean.dtype);
        const step = (running: Tensor, now: Tensor) =>
          assign(running, running.mul(1 - this.momentum).add(mean(now, { axis: 0 }).mul(this.momentum)));
        step(runningMean, mean(plain, { axis }));
        step(runningVar, variance(plain, { axis }));
      }),
    );
  }
}

/** Normalises each channel of each sample of [N, C, L] (Ulyanov et al. 2016). State as PyTorch's: none unless affine or trackRunningStats. */
export class InstanceNorm1d extends InstanceNorm {
  constructor(numFeatures: number, options: InstanceNormOptions = {}) {
    super(3, numFeatures, options);
  }
}

/** Normalises each channel of each sample of [N, C, H, W] (Ulyanov et al. 2016). State as PyTorch's: none unless affine or trackRunningStats. */
export class InstanceNorm2d extends InstanceNorm {
  constructor(numFeatures: number, options: InstanceNormOptions = {}) {
    super(4, numFeatures, options);
  }
}
