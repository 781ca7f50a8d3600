import { ConfigError, checkOptions, describe } from '../native/errors.ts';
import { div, mul } from '../ops/binary.ts';
import { checkNumber } from '../ops/define.ts';
import { permute } from '../ops/index.ts';
import { matmul } from '../ops/matmul.ts';
import { sum } from '../ops/reduce.ts';
import { sqrt, square } from '../ops/unary.ts';
import { reshape } from '../ops/view.ts';
import { bind, noGrad } from '../tensor/context.ts';
import { kept, scope } from '../tensor/scope.ts';
import { checkAxis } from '../tensor/shape.ts';
import { Parameter, Tensor } from '../tensor/tensor.ts';
import { ConvTranspose1d, ConvTranspose2d } from './conv-nd.ts';
import * as init from './init.ts';
import { checkCount } from './linear.ts';
import { assign, Buffer, type Member, Module } from './module.ts';

/** A weight that is computed from others at each use. State names are PyTorch's: `parametrizations.weight.original0`. */
abstract class Parametrization extends Module {
  abstract value(): Tensor;
  forward(): Tensor {
    return this.value();
  }
}

/** A layer whose weight can be computed: a Linear, a convolution. */
type Weighted = Module & { weight: Tensor };

function checkLayer(where: string, layer: unknown): asserts layer is Weighted & { weight: Parameter } {
  if (!(layer instanceof Module) || !((layer as { weight?: unknown }).weight instanceof Tensor))
    throw new ConfigError(`${where}: the layer must be a Module with a weight, such as nn.Linear, got ${describe(layer)}`);
  if (!((layer as Module & { weight: unknown }).weight instanceof Parameter))
    throw new ConfigError(`${where}: the layer's weight is computed already: one parametrization at a time`);
}

/** Replaces the layer's weight by what `p` computes. The field stays readable; the state has the parametrization's parameters. */
function install<L extends Module>(layer: L, p: Parametrization): L {
  Object.defineProperty(layer, 'weight', { get: () => p.value(), enumerable: false, configurable: true });
  Object.defineProperty(layer, 'parametrizations', {
    value: new Map([['weight', p]]),
    enumerable: true,
    configurable: true,
    writable: true,
  });
  return layer;
}

const installed = (layer: Module): Parametrization | undefined =>
  (layer as Module & { parametrizations?: Map<string, Parametrization> }).parametrizations?.get('weight');

/** The weight as it is computed now becomes the parameter again. */
function remove<L extends Module>(where: string, layer: L, kind: new (...args: never[]) => Parametrization): L {
  const p = layer instanceof Module ? installed(layer) : undefined;
  if (!(p instanceof kind)) throw new ConfigError(`${where}: the layer has no such parametrization, got ${describe(layer)}`);
  const now = kept(scope(() => noGrad(() => p.value().detach().mul(1))));
  Reflect.deleteProperty(layer, 'parametrizations');
  Object.defineProperty(layer, 'weight', { value: new Parameter(now), enumerable: true, configurable: true, writable: true });
  return layer;
}

/** Along which axis units lie: 0, and 1 in PyTorch's transposed convolutions. */
const unitAxis = (layer: Module): number => (layer instanceof ConvTranspose1d || layer instanceof ConvTranspose2d ? 1 : 0);

// ---- weight normalisation ---------------------------------------------------------------------------------------------------

class WeightNorm extends Parametrization {
  /** g: the length of each unit's weights. */
  original0: Parameter;
  /** v: their direction. */
  original1: Parameter;
  readonly dim: number | null;
  constructor(weight: Parameter, dim: number | null) {
    super();
    this.dim = dim;
    this.original1 = weight;
    this.original0 = new Parameter(kept(scope(() => noGrad(() => this.#norm()))));
  }
  /** sqrt(sum v^2), over all axes but `dim`. */
  #norm(): Tensor {
    const v = this.original1;
    if (this.dim === null) return sqrt(sum(square(v)));
    const axis = v.shape.map((_, i) => i).filter((i) => i !== this.dim);
    return sqrt(sum(square(v), { axis, keepDims: true }));
  }
  value(): Tensor {
    return mul(this.original1, div(this.original0, this.#norm()));
  }
}

/**
 * Weight normalisation (Salimans and Kingma 2016): w = g v / |v|, with a length g and a direction v for each unit, in place of the layer's weight.
 * The layer itself is changed and returned. State as torch.nn.utils.parametrizations.weight_norm: parametrizations.weight.original0 (g) and
 * original1 (v). `dim`: the axis of units, default 0; null: one length for the whole weight.
 */
export function weightNorm<L extends Module>(layer: L, options: { dim?: number | null } = {}): L {
  checkOptions('weightNorm', options, ['dim']);
  checkLayer('weightNorm', layer);
  const { weight } = layer;
  const dim = options.dim === null ? null : checkAxis('weightNorm', options.dim ?? 0, weight.ndim);
  return install(layer, new WeightNorm(weight, dim));
}

/** Makes the weight of a weight-normalised layer a plain parameter again. */
export const removeWeightNorm = <L extends Module>(layer: L): L => remove('removeWeightNorm', layer, WeightNorm);

// ---- spectral normalisation -------------------------------------------------------------------------------------------------

class SpectralNorm extends Parametrization {
  original: Parameter;
  readonly u: Buffer;
  readonly v: Buffer;
  readonly dim: number;
  readonly iterations: number;
  readonly eps: number;
  constructor(weight: Parameter, dim: number, iterations: number, eps: number) {
    super();
    this.original = weight;
    this.dim = dim;
    this.iterations = iterations;
    this.eps = eps;
    const rows = weight.shape[dim] as number;
    const unit = (n: number) => new Buffer(kept(scope(() => this.#unit(init.normal([n]).to(weight.device)))));
    this.u = unit(rows);
    this.v = unit(weight.size / rows);
    this.#improve(15);
  }
  override *entries(): Iterable<[string, Member]> {
    yield ['original', this.original];
    yield ['0._u', this.u];
    yield ['0._v', this.v];
  }
  #unit(x: Tensor): Tensor {
    return div(x, sqrt(sum(square(x))).maximum(this.eps));
  }
  /** The weight as a matrix, a row per unit. */
  #matrix(): Tensor {
    const w = this.original;
    const axes = [this.dim, ...w.shape.map((_, i) => i).filter((i) => i !== this.dim)];
    return reshape(this.dim === 0 ? w : permute(w, axes), [w.shape[this.dim] as number, -1]);
  }
  /** Steps of the power method: u = W v, v = W^T u, each of length 1. */
  #improve(steps: number): void {
    scope(() =>
      noGrad(() => {
        const w = this.#matrix();
        for (let i = 0; i < steps; i++) {
          assign(this.u, this.#unit(matmul(w, this.v)));
          assign(this.v, this.#unit(matmul(this.u, w)));
        }
      }),
    );
  }
  value(): Tensor {
    return bind({ precision: 'f32' }, () => {
      if (this.training) this.#improve(this.iterations);
      // Copies: the next forward writes to u and v while this one's tape may still need them.
      const [u, v] = [mul(this.u.detach(), 1), mul(this.v.detach(), 1)];
      const sigma = sum(mul(u, matmul(this.#matrix(), v)));
      return div(this.original, sigma);
    });
  }
}

export interface SpectralNormOptions {
  /** Steps of the power method at each use in training. Default 1. */
  iterations?: number;
  /** The least length that divides. Default 1e-12. */
  eps?: number;
  /** The axis of units. Default 0, and 1 for transposed convolutions. */
  dim?: number;
}

/**
 * Spectral normalisation (Miyato et al. 2018): the layer's weight over its largest singular value, which a step of the power method follows at
 * each use in training. The layer itself is changed and returned. State as torch.nn.utils.parametrizations.spectral_norm:
 * parametrizations.weight.original, and 0._u, 0._v.
 */
export function spectralNorm<L extends Module>(layer: L, options: SpectralNormOptions = {}): L {
  const where = 'spectralNorm';
  checkOptions(where, options, ['iterations', 'eps', 'dim']);
  checkLayer(where, layer);
  const iterations = checkCount(where, 'iterations', options.iterations ?? 1);
  const eps = checkNumber(where, options.eps ?? 1e-12, 'eps', 0, Number.MAX_VALUE);
  const { weight } = layer;
  if (weight.ndim < 2) throw new ConfigError(`${where}: the weight must have at least 2 dimensions`);
  return install(layer, new SpectralNorm(weight, checkAxis(where, options.dim ?? unitAxis(layer), weight.ndim), iterations, eps));
}

/** Makes the weight of a spectrally normalised layer a plain parameter again. */
export const removeSpectralNorm = <L extends Module>(layer: L): L => remove('removeSpectralNorm', layer, SpectralNorm);
