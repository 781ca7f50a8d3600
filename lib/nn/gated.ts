import { checkOptions, ShapeError } from '../native/errors.ts';
import { maximum, minimum, mul } from '../ops/binary.ts';
import { checkFloat, checkNumber } from '../ops/define.ts';
import { split } from '../ops/index.ts';
import { logSoftmax, softmax } from '../ops/softmax.ts';
import { sigmoid, silu } from '../ops/unary.ts';
import { reshape } from '../ops/view.ts';
import { checkAxis, show } from '../tensor/shape.ts';
import { Parameter, type Tensor } from '../tensor/tensor.ts';
import * as init from './init.ts';
import { checkCount, Linear } from './linear.ts';
import { Module } from './module.ts';

/** silu(w1 x) * (w3 x), through w2 (Shazeer 2020): [..., dim] to [..., dim]. Keys as LLaMA's: w1 and w3 [hidden, dim], w2 [dim, hidden]. */
export class SwiGLU extends Module {
  w1: Linear;
  w2: Linear;
  w3: Linear;
  constructor(dim: number, hidden: number, options: { bias?: boolean } = {}) {
    super();
    checkOptions('SwiGLU', options, ['bias']);
    const bias = options.bias ?? false;
    checkCount('SwiGLU', 'dim', dim);
    checkCount('SwiGLU', 'hidden', hidden);
    this.w1 = new Linear(dim, hidden, { bias });
    this.w2 = new Linear(hidden, dim, { bias });
    this.w3 = new Linear(dim, hidden, { bias });
  }
  forward(x: Tensor): Tensor {
    return this.w2.forward(mul(silu(this.w1.forward(x)), this.w3.forward(x)));
  }
}

abstract class Along extends Module {
  readonly axis: number;
  constructor(options: { axis?: number } = {}) {
    super();
    checkOptions(new.target.name, options, ['axis']);
    const axis = options.axis ?? -1;
    checkAxis(new.target.name, axis, 8); // the most that a tensor has
    this.axis = axis;
  }
}

/** exp(x) over its sum along `axis`; default: the last. */
export class Softmax extends Along {
  forward(x: Tensor): Tensor {
    return softmax(x, { axis: this.axis });
  }
}

/** The logarithm of softmax along `axis`; default: the last. */
export class LogSoftmax extends Along {
  forward(x: Tensor): Tensor {
    return logSoftmax(x, { axis: this.axis });
  }
}

/** a sigmoid(b) of the two halves a and b along `axis`; default: the last (Dauphin et al. 2017). */
export class GLU extends Along {
  forward(x: Tensor): Tensor {
    checkFloat('GLU', x);
    const axis = checkAxis('GLU', this.axis, x.ndim);
    const n = x.shape[axis] as number;
    if (n % 2) throw new ShapeError(`GLU: dimension ${this.axis} of ${show(x.shape)} has no two halves`);
    const [a, b] = split(x, [n / 2, n / 2], { axis }) as [Tensor, Tensor];
    return mul(a, sigmoid(b));
  }
}

/** x where positive, else a learned slope times x (He et al. 2015): one slope, or one per channel (axis 1). Starts at 0.25. */
export class PReLU extends Module {
  weight: Parameter;
  constructor(numParameters = 1, options: { init?: number } = {}) {
    super();
    checkOptions('PReLU', options, ['init']);
    const start = checkNumber('PReLU', options.init ?? 0.25, 'init', -Number.MAX_VALUE, Number.MAX_VALUE);
    this.weight = new Parameter(init.constant([checkCount('PReLU', 'numParameters', numParameters)], start));
  }
  forward(x: Tensor): Tensor {
    checkFloat('PReLU', x);
    const n = this.weight.size;
    if (n > 1 && (x.ndim < 2 || x.shape[1] !== n))
      throw new ShapeError(`PReLU: x ${show(x.shape)} must have ${n} channels on axis 1, one for each slope`);
    const slope = n > 1 ? reshape(this.weight, [n, ...x.shape.slice(2).map(() => 1)]) : this.weight;
    return maximum(x, 0).add(mul(slope.to(x.dtype), minimum(x, 0)));
  }
}
