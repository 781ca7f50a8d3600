import { checkOptions } from '../native/errors.ts';
import { single } from '../ops/conv-nd.ts';
import { checkInterpolate, type InterpolateOptions, interpolate } from '../ops/interpolate.ts';
import {
  adaptiveAvgPool1d,
  adaptiveAvgPool2d,
  adaptiveMaxPool1d,
  adaptiveMaxPool2d,
  avgPool1d,
  maxPool1d,
  type OutputSize,
  outputSizes,
  pixelShuffle,
  pixelUnshuffle,
} from '../ops/pool-nd.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { Module } from './module.ts';

export interface Pool1dLayerOptions {
  /** Default: the window's size. */
  stride?: number;
  padding?: number;
}

abstract class Pool1d extends Module {
  readonly options: { kernelSize: number; stride?: number; padding?: number };
  constructor(kernelSize: number, options: Pool1dLayerOptions = {}) {
    super();
    const where = new.target.name;
    checkOptions(where, options, ['stride', 'padding']);
    single(where, 'kernelSize', kernelSize, 1);
    if (options.stride !== undefined) single(where, 'stride', options.stride, 1);
    if (options.padding !== undefined) single(where, 'padding', options.padding, 0);
    this.options = { kernelSize, ...options };
  }
}

/** The largest value of each window of [N, C, L]. */
export class MaxPool1d extends Pool1d {
  forward(x: Tensor): Tensor {
    return maxPool1d(x, this.options);
  }
}

/** The mean of each window of [N, C, L]. */
export class AvgPool1d extends Pool1d {
  forward(x: Tensor): Tensor {
    return avgPool1d(x, this.options);
  }
}

abstract class Adaptive2d extends Module {
  readonly outputSize: OutputSize;
  constructor(outputSize: OutputSize) {
    super();
    outputSizes(new.target.name, outputSize);
    this.outputSize = outputSize;
  }
}

/** Means over windows that divide [N, C, H, W] into `outputSize`; null keeps the input's size. */
export class AdaptiveAvgPool2d extends Adaptive2d {
  forward(x: Tensor): Tensor {
    return adaptiveAvgPool2d(x, this.outputSize);
  }
}

/** Largest values over windows that divide [N, C, H, W] into `outputSize`; null keeps the input's size. */
export class AdaptiveMaxPool2d extends Adaptive2d {
  forward(x: Tensor): Tensor {
    return adaptiveMaxPool2d(x, this.outputSize);
  }
}

abstract class Adaptive1d extends Module {
  readonly outputSize: number;
  constructor(outputSize: number) {
    super();
    this.outputSize = single(new.target.name, 'outputSize', outputSize, 1);
  }
}

/** Means over windows that divide [N, C, L] into `outputSize`. */
export class AdaptiveAvgPool1d extends Adaptive1d {
  forward(x: Tensor): Tensor {
    return adaptiveAvgPool1d(x, this.outputSize);
  }
}

/** Largest values over windows that divide [N, C, L] into `outputSize`. */
export class AdaptiveMaxPool1d extends Adaptive1d {
  forward(x: Tensor): Tensor {
    return adaptiveMaxPool1d(x, this.outputSize);
  }
}

abstract class Pixels extends Module {
  readonly factor: number;
  constructor(factor: number) {
    super();
    this.factor = single(new.target.name, 'factor', factor, 1);
  }
}

/** [N, C r^2, H, W] to [N, C, H r, W r] (Shi et al. 2016). */
export class PixelShuffle extends Pixels {
  forward(x: Tensor): Tensor {
    return pixelShuffle(x, this.factor);
  }
}

/** [N, C, H r, W r] to [N, C r^2, H, W]. */
export class PixelUnshuffle extends Pixels {
  forward(x: Tensor): Tensor {
    return pixelUnshuffle(x, this.factor);
  }
}

/** Pictures [N, C, H, W] or rows [N, C, W] enlarged or reduced: `interpolate` with its options as a layer. */
export class Upsample extends Module {
  readonly options: InterpolateOptions;
  constructor(options: InterpolateOptions) {
    super();
    checkInterpolate('Upsample', options);
    this.options = { ...options };
  }
  forward(x: Tensor): Tensor {
    return interpolate(x, this.options);
  }
}
