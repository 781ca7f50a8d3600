import { checkOptions, ShapeError } from '../native/errors.ts';
import { checkNumber } from '../ops/define.ts';
import { batchNorm, checkEps, groupNorm, layerNorm, rmsNorm } from '../ops/norm.ts';
import { show } from '../tensor/shape.ts';
import { Parameter, Tensor } from '../tensor/tensor.ts';
import * as init from './init.ts';
import { checkCount } from './linear.ts';
import { Buffer, Module } from './module.ts';

const shapeOf = (shape: number | readonly number[]): readonly number[] => (Array.isArray(shape) ? shape : [shape as number]);

/** Normalises over the last dimensions, `normalizedShape` (Ba et al. 2016). eps 1e-5. */
export class LayerNorm extends Module {
  weight: Parameter | null;
  bias: Parameter | null;
  readonly normalizedShape: readonly number[];
  readonly eps: number;
  constructor(normalizedShape: number | readonly number[], options: { eps?: number; affine?: boolean; bias?: boolean } = {}) {
    super();
    checkOptions('LayerNorm', options, ['eps', 'affine', 'bias']);
    this.normalizedShape = shapeOf(normalizedShape);
    for (const d of this.normalizedShape) checkCount('LayerNorm', 'normalizedShape', d);
    const affine = options.affine ?? true;
    this.weight = affine ? new Parameter(init.ones(this.normalizedShape)) : null;
    this.bias = affine && (options.bias ?? true) ? new Parameter(init.zeros(this.normalizedShape)) : null;
    this.eps = checkEps('LayerNorm', options.eps);
  }
  forward(x: Tensor): Tensor {
    return layerNorm(x, this.weight, this.bias, { normalizedShape: this.normalizedShape, eps: this.eps });
  }
}

/** Divides by the root mean square over the last dimensions (Zhang and Sennrich 2019). eps defaults to 1e-5. */
export class RMSNorm extends Module {
  weight: Parameter;
  readonly normalizedShape: readonly number[];
  readonly eps: number;
  constructor(normalizedShape: number | readonly number[], options: { eps?: number } = {}) {
    super();
    checkOptions('RMSNorm', options, ['eps']);
    this.normalizedShape = shapeOf(normalizedShape);
    for (const d of this.normalizedShape) checkCount('RMSNorm', 'normalizedShape', d);
    this.weight = new Parameter(init.ones(this.normalizedShape));
    this.eps = checkEps('RMSNorm', options.eps);
  }
  forward(x: Tensor): Tensor {
    return rmsNorm(x, this.weight, { normalizedShape: this.normalizedShape, eps: this.eps });
  }
}

/** Normalises over groups of channels of each sample (Wu and He 2018). eps 1e-5. */
export class GroupNorm extends Module {
  weight: Parameter;
  bias: Parameter;
  readonly numGroups: number;
  readonly eps: number;
  constructor(numGroups: number, numChannels: number, options: { eps?: number } = {}) {
    super();
    checkOptions('GroupNorm', options, ['eps']);
    this.numGroups = checkCount('GroupNorm', 'numGroups', numGroups);
    this.weight = new Parameter(init.ones([checkCount('GroupNorm', 'numChannels', numChannels)]));
    this.bias = new Parameter(init.zeros([numChannels]));
    this.eps = checkEps('GroupNorm', options.eps);
  }
  forward(x: Tensor): Tensor {
    return groupNorm(x, this.weight, this.bias, { numGroups: this.numGroups, eps: this.eps });
  }
}

export interface BatchNormOptions {
  /** Share of the batch in the running statistics. Default 0.1. */
  momentum?: number;
  /** Added to the variance. Default 1e-5. */
  eps?: number;
  /** Learn a scale and a shift. Default true. */
  affine?: boolean;
}

/** Normalises each channel over the batch while training, by running statistics in evaluation (Ioffe and Szegedy 2015). */
abstract class BatchNorm extends Module {
  weight: Parameter | null;
  bias: Parameter | null;
  runningMean: Buffer;
  runningVar: Buffer;
  readonly momentum: number;
  readonly eps: number;
  readonly #forms: readonly string[];
  constructor(forms: readonly string[], numFeatures: number, options: BatchNormOptions) {
    super();
    const { name } = this.constructor;
    checkOptions(name, options, ['momentum', 'eps', 'affine']);
    checkCount(name, 'numFeatures', numFeatures);
    const affine = options.affine ?? true;
    this.weight = affine ? new Parameter(init.ones([numFeatures])) : null;
    this.bias = affine ? new Parameter(init.zeros([numFeatures])) : null;
    this.runningMean = new Buffer(init.zeros([numFeatures]));
    this.runningVar = new Buffer(init.ones([numFeatures]));
    this.momentum = checkNumber(name, options.momentum ?? 0.1, 'momentum', 0, 1);
    this.eps = checkEps(name, options.eps);
    this.#forms = forms;
  }
  forward(x: Tensor): Tensor {
    const { training, momentum, eps } = this;
    if (x instanceof Tensor && !this.#forms.some((form) => form.split(',').length === x.ndim))
      throw new ShapeError(`${this.constructor.name}: expected ${this.#forms.join(' or ')}, got ${show(x.shape)}`);
    return batchNorm(x, this.weight, this.bias, this.runningMean, this.runningVar, { training, momentum, eps });
  }
}

/** Batch norm of [N, C] or [N, C, L]. Defaults: momentum 0.1, eps 1e-5, affine. */
export class BatchNorm1d extends BatchNorm {
  constructor(numFeatures: number, options: BatchNormOptions = {}) {
    super(['[N, C]', '[N, C, L]'], numFeatures, options);
  }
}
/** Batch norm of [N, C, H, W]. Defaults: momentum 0.1, eps 1e-5, affine. */
export class BatchNorm2d extends BatchNorm {
  constructor(numFeatures: number, options: BatchNormOptions = {}) {
    super(['[N, C, H, W]'], numFeatures, options);
  }
}
/** Batch norm of [N, C, D, H, W]. Defaults: momentum 0.1, eps 1e-5, affine. */
export class BatchNorm3d extends BatchNorm {
  constructor(numFeatures: number, options: BatchNormOptions = {}) {
    super(['[N, C, D, H, W]'], numFeatures, options);
  }
}
