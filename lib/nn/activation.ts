import { checkOptions } from '../native/errors.ts';
import { checkNumber } from '../ops/define.ts';
import * as ops from '../ops/unary.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { Module } from './module.ts';

export class ReLU extends Module {
  forward(x: Tensor): Tensor {
    return ops.relu(x);
  }
}

/** Options as `gelu`'s: exact by default. */
export class GELU extends Module {
  readonly approximate: 'none' | 'tanh';
  constructor(options: { approximate?: 'none' | 'tanh' } = {}) {
    super();
    checkOptions('GELU', options, ['approximate']);
    this.approximate = ops.checkApproximate('GELU', options.approximate);
  }
  forward(x: Tensor): Tensor {
    return ops.gelu(x, { approximate: this.approximate });
  }
}

export class SiLU extends Module {
  forward(x: Tensor): Tensor {
    return ops.silu(x);
  }
}

export class Sigmoid extends Module {
  forward(x: Tensor): Tensor {
    return ops.sigmoid(x);
  }
}

export class Tanh extends Module {
  forward(x: Tensor): Tensor {
    return ops.tanh(x);
  }
}

export class Softplus extends Module {
  forward(x: Tensor): Tensor {
    return ops.softplus(x);
  }
}

/** Slope below zero: 0.01 by default. */
export class LeakyReLU extends Module {
  readonly slope: number;
  constructor(options: { slope?: number } = {}) {
    super();
    checkOptions('LeakyReLU', options, ['slope']);
    this.slope = checkNumber('LeakyReLU', options.slope ?? 0.01, 'slope');
  }
  forward(x: Tensor): Tensor {
    return ops.leakyRelu(x, { slope: this.slope });
  }
}

export class ELU extends Module {
  readonly alpha: number;
  constructor(options: { alpha?: number } = {}) {
    super();
    checkOptions('ELU', options, ['alpha']);
    this.alpha = checkNumber('ELU', options.alpha ?? 1, 'alpha');
  }
  forward(x: Tensor): Tensor {
    return ops.elu(x, { alpha: this.alpha });
  }
}
