import { checkOptions } from '../native/errors.ts';
import { add, div, mul, sub } from '../ops/binary.ts';
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

/** min(max(x, 0), 6) (Howard et al. 2017). */
export class ReLU6 extends Module {
  forward(x: Tensor): Tensor {
    return ops.clamp(ops.relu(x), { max: 6 });
  }
}

/** x limited to [min, max]; default -1 and 1. */
export class Hardtanh extends Module {
  readonly min: number;
  readonly max: number;
  constructor(options: { min?: number; max?: number } = {}) {
    super();
    checkOptions('Hardtanh', options, ['min', 'max']);
    this.min = checkNumber('Hardtanh', options.min ?? -1, 'min');
    this.max = checkNumber('Hardtanh', options.max ?? 1, 'max');
  }
  forward(x: Tensor): Tensor {
    return ops.clamp(x, { min: this.min, max: this.max });
  }
}

/** relu6(x + 3) / 6. */
export class Hardsigmoid extends Module {
  forward(x: Tensor): Tensor {
    return mul(ops.clamp(ops.relu(add(x, 3)), { max: 6 }), 1 / 6);
  }
}

/** x relu6(x + 3) / 6 (Howard et al. 2019). */
export class Hardswish extends Module {
  forward(x: Tensor): Tensor {
    return mul(x, mul(ops.clamp(ops.relu(add(x, 3)), { max: 6 }), 1 / 6));
  }
}

/** x tanh(softplus(x)) (Misra 2019). */
export class Mish extends Module {
  forward(x: Tensor): Tensor {
    return mul(x, ops.tanh(ops.softplus(x)));
  }
}

/** A scaled ELU that keeps mean 0 and variance 1 (Klambauer et al. 2017). */
export class SELU extends Module {
  forward(x: Tensor): Tensor {
    return mul(ops.elu(x, { alpha: 1.6732632423543772 }), 1.0507009873554805);
  }
}

/** x where positive, else alpha (e^(x / alpha) - 1) (Barron 2017). alpha 1 by default. */
export class CELU extends Module {
  readonly alpha: number;
  constructor(options: { alpha?: number } = {}) {
    super();
    checkOptions('CELU', options, ['alpha']);
    this.alpha = checkNumber('CELU', options.alpha ?? 1, 'alpha', Number.MIN_VALUE, Number.MAX_VALUE);
  }
  forward(x: Tensor): Tensor {
    return mul(ops.elu(mul(x, 1 / this.alpha)), this.alpha);
  }
}

/** log(sigmoid(x)), without overflow. */
export class LogSigmoid extends Module {
  forward(x: Tensor): Tensor {
    return ops.neg(ops.softplus(ops.neg(x)));
  }
}

/** x / (1 + |x|). */
export class Softsign extends Module {
  forward(x: Tensor): Tensor {
    return div(x, add(ops.abs(x), 1));
  }
}

/** x - tanh x. */
export class Tanhshrink extends Module {
  forward(x: Tensor): Tensor {
    return sub(x, ops.tanh(x));
  }
}
