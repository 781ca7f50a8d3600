import { ConfigError, checkOptions, describe } from '../native/errors.ts';
import { zeros } from '../ops/create.ts';
import { embedding } from '../ops/embedding.ts';
import { linear } from '../ops/linear.ts';
import { where } from '../ops/select.ts';
import { relu } from '../ops/unary.ts';
import { flatten } from '../ops/view.ts';
import { noGrad } from '../tensor/context.ts';
import { tensor } from '../tensor/create.ts';
import { scope } from '../tensor/scope.ts';
import { Parameter, type Tensor } from '../tensor/tensor.ts';
import * as init from './init.ts';
import { Module } from './module.ts';

/** Throws ConfigError unless `value` is a whole number above 0. */
export function checkCount(where: string, name: string, value: number): number {
  if (!Number.isInteger(value) || value < 1)
    throw new ConfigError(`${where}: ${name} must be a whole number above 0, got ${describe(value)}`);
  return value;
}

/** One of an option's words, the first by default. */
export function checkActivation<const A extends string>(where: string, value: A | undefined, words: readonly [A, ...A[]]): A {
  const given = value ?? words[0];
  if (!words.includes(given))
    throw new ConfigError(`${where}: activation must be ${words.map((w) => `'${w}'`).join(' or ')}, got ${describe(given)}`);
  return given;
}

export interface LinearLayerOptions {
  bias?: boolean;
  /** Applied to the result; relu happens inside the product's own pass, gelu is the exact one. Default 'none'. */
  activation?: 'none' | 'relu' | 'gelu';
}

/** y = x W^T + b: [..., inFeatures] to [..., outFeatures]. Weight [out, in]; both start as U(-1/sqrt(in), 1/sqrt(in)), PyTorch's default. */
export class Linear extends Module {
  weight: Parameter;
  bias: Parameter | null;
  readonly activation: 'none' | 'relu' | 'gelu';
  constructor(inFeatures: number, outFeatures: number, options: LinearLayerOptions = {}) {
    super();
    checkOptions('Linear', options, ['bias', 'activation']);
    this.activation = checkActivation('Linear', options.activation, ['none', 'relu', 'gelu']);
    checkCount('Linear', 'inFeatures', inFeatures);
    checkCount('Linear', 'outFeatures', outFeatures);
    const bound = 1 / Math.sqrt(inFeatures);
    this.weight = new Parameter(init.uniform([outFeatures, inFeatures], bound));
    this.bias = (options.bias ?? true) ? new Parameter(init.uniform([outFeatures], bound)) : null;
  }
  forward(x: Tensor): Tensor {
    return linear(x, this.weight, this.bias, { activation: this.activation });
  }
  override extraRepr(): string {
    const [out, input] = this.weight.shape;
    return `in ${input}, out ${out}, ${this.bias ? 'bias' : 'no bias'}${this.activation === 'none' ? '' : `, ${this.activation}`}`;
  }
  /** relu(forward(x)) in one pass; Sequential uses it. */
  forwardRelu(x: Tensor): Tensor {
    return this.activation === 'gelu' ? relu(this.forward(x)) : linear(x, this.weight, this.bias, { activation: 'relu' });
  }
}

/** The table with one row zeroed. */
function withoutRow(table: Tensor, row: number): Tensor {
  const count = table.shape[0] as number;
  const others = Uint8Array.from({ length: count }, (_, i) => +(i !== (row + count) % count));
  return scope(() => noGrad(() => where(tensor(others, { shape: [count, 1], dtype: 'bool' }), table, zeros([]))));
}

/** Rows of a table [count, dim] picked by i32 indices: [...] to [..., dim]. Starts as N(0, 1), the row of padding as 0. */
export class Embedding extends Module {
  weight: Parameter;
  readonly paddingIdx: number | undefined;
  constructor(count: number, dim: number, options: { paddingIdx?: number } = {}) {
    super();
    checkOptions('Embedding', options, ['paddingIdx']);
    const shape = [checkCount('Embedding', 'count', count), checkCount('Embedding', 'dim', dim)];
    const { paddingIdx } = options;
    if (paddingIdx !== undefined && !(Number.isInteger(paddingIdx) && paddingIdx >= -count && paddingIdx < count))
      throw new ConfigError(`Embedding: paddingIdx must be a row from ${-count} to ${count - 1}, got ${describe(paddingIdx)}`);
    this.weight = new Parameter(paddingIdx === undefined ? init.normal(shape) : withoutRow(init.normal(shape), paddingIdx));
    this.paddingIdx = paddingIdx;
  }
  forward(indices: Tensor): Tensor {
    return embedding(indices, this.weight, this.paddingIdx === undefined ? {} : { paddingIdx: this.paddingIdx });
  }
}

/** All dimensions but the first merged. */
export class Flatten extends Module {
  forward(x: Tensor): Tensor {
    return flatten(x, 1);
  }
}

export class Identity extends Module {
  forward(x: Tensor): Tensor {
    return x;
  }
}
