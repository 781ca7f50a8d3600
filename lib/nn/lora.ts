import { ConfigError, checkFunction, checkOptions, describe } from '../native/errors.ts';
import { add, mul } from '../ops/binary.ts';
import { checkNumber } from '../ops/define.ts';
import { linear } from '../ops/linear.ts';
import { matmul } from '../ops/matmul.ts';
import { relu } from '../ops/unary.ts';
import { bind, noGrad } from '../tensor/context.ts';
import { kept, scope } from '../tensor/scope.ts';
import { Parameter, type Tensor } from '../tensor/tensor.ts';
import { Dropout } from './dropout.ts';
import * as init from './init.ts';
import { checkCount, Linear } from './linear.ts';
import { assign, Module } from './module.ts';

export interface LoRAOptions {
  /** Rows of the first factor. Default 8. */
  rank?: number;
  /** The product is multiplied by alpha / rank. Default: the rank. */
  alpha?: number;
  /** Dropped from the adapter's input while training. Default 0. */
  dropout?: number;
}

function checked(where: string, options: LoRAOptions): { rank: number; alpha: number; p: number } {
  const rank = checkCount(where, 'rank', options.rank ?? 8);
  const alpha = checkNumber(where, options.alpha ?? rank, 'alpha', -Number.MAX_VALUE, Number.MAX_VALUE);
  return { rank, alpha, p: checkNumber(where, options.dropout ?? 0, 'dropout', 0, 1) };
}

/**
 * A Linear with an adapter (Hu et al. 2021): x W^T + b + alpha / rank (x A^T) B^T, where W and b are frozen and A [rank, in], B [out, rank] are
 * trained. A starts as Linear's weights do, B as 0: the layer starts as it was. Takes over the given layer's parameters. Keys: weight, bias,
 * lora_a.weight, lora_b.weight (as torchtune's), so a state dict of the plain layer loads with { strict: false }.
 */
export class LoRALinear extends Linear {
  loraA: Linear;
  loraB: Linear;
  adapterDropout: Dropout;
  readonly scale: number;
  /** W as it was, while the adapter is merged into it. */
  #base: Tensor | null = null;
  constructor(base: Linear, options: LoRAOptions = {}) {
    if (!(base instanceof Linear) || base instanceof LoRALinear || !(base.weight instanceof Parameter))
      throw new ConfigError(`LoRALinear: the base must be a plain nn.Linear, got ${describe(base)}`);
    checkOptions('LoRALinear', options, ['rank', 'alpha', 'dropout']);
    const { rank, alpha, p } = checked('LoRALinear', options);
    const [outs, ins] = base.weight.shape as [number, number];
    super(1, 1, { bias: false, activation: base.activation });
    this.weight = base.weight.freeze();
    this.bias = base.bias?.freeze() ?? null;
    this.loraA = new Linear(ins, rank, { bias: false });
    this.loraB = new Linear(rank, outs, { bias: false });
    this.loraB.weight = new Parameter(init.zeros([outs, rank]));
    for (const part of [this.loraA, this.loraB]) part.to(base.weight.device);
    this.adapterDropout = new Dropout(p);
    this.scale = alpha / rank;
    this.training = base.training;
  }
  get merged(): boolean {
    return this.#base !== null;
  }
  override forward(x: Tensor): Tensor {
    if (this.merged) return super.forward(x);
    const y = add(
      linear(x, this.weight, this.bias),
      mul(this.loraB.forward(this.loraA.forward(this.adapterDropout.forward(x))), this.scale),
    );
    return this.activation === 'relu' ? relu(y) : this.activation === 'gelu' ? y.gelu() : y;
  }
  override forwardRelu(x: Tensor): Tensor {
    return relu(this.forward(x));
  }
  /** Adds the adapter's product to W: no cost in use. W as it was is kept for `unmerge`. */
  merge(): this {
    if (this.merged) return this;
    this.#base = kept(scope(() => noGrad(() => this.weight.detach().mul(1))));
    scope(() =>
      noGrad(() =>
        bind({ precision: 'f32' }, () => {
          const product = mul(matmul(this.loraB.weight, this.loraA.weight), this.scale);
          assign(this.weight, add(this.weight, product));
        }),
      ),
    );
    return this;
  }
  /** W as it was before `merge`, to the bit; the adapter works beside it again. */
  unmerge(): this {
    if (!this.#base) return this;
    assign(this.weight, this.#base);
    this.#base.dispose();
    this.#base = null;
    return this;
  }
}

export interface ApplyLoRAOptions extends LoRAOptions {
  /** Which layers get an adapter, by their path in the model. Default: every Linear. */
  targets?: RegExp | ((path: string) => boolean);
}

/**
 * Freezes the model and puts adapters in the place of its Linears (those whose path `targets` fits); gives them back, in the model's order. What
 * is trained then is lora_a and lora_b alone; unfreeze a head by itself where it should learn too.
 * @throws ConfigError where no layer fits
 */
export function applyLoRA(model: Module, options: ApplyLoRAOptions = {}): LoRALinear[] {
  const where = 'applyLoRA';
  if (!(model instanceof Module)) throw new ConfigError(`${where}: the model must be a Module, got ${describe(model)}`);
  checkOptions(where, options, ['rank', 'alpha', 'dropout', 'targets']);
  const { targets = () => true, ...own } = options;
  checked(where, own);
  if (!(targets instanceof RegExp)) checkFunction(where, 'targets', targets, '/attn/ or (path) => path.endsWith("q")');
  const fits = (path: string) =>
    targets instanceof RegExp ? new RegExp(targets.source, targets.flags.replace(/[gy]/g, '')).test(path) : targets(path);
  const paths = new Map([...model.namedModules()].map(([path, m]) => [m, path]));
  const made = new Map<Linear, LoRALinear>();
  const adapted = (m: unknown): unknown => {
    if (!(m instanceof Linear) || m instanceof LoRALinear || !fits(paths.get(m) ?? '')) return m;
    const have = made.get(m) ?? new LoRALinear(m, own);
    made.set(m, have);
    return have;
  };
  const replaceIn = (holder: object): void => {
    for (const [key, value] of holder instanceof Map ? holder : Object.entries(holder)) {
      if (Array.isArray(value) || value instanceof Map) replaceIn(value);
      const next = adapted(value);
      if (next === value) continue;
      if (holder instanceof Map) holder.set(key, next);
      else (holder as Record<string, unknown>)[key] = next;
    }
  };
  model.freeze();
  for (const m of model.modules()) if (!(m instanceof LoRALinear)) replaceIn(m);
  if (made.size === 0)
    throw new ConfigError(
      `${where}: no Linear of the model fits ${describe(options.targets ?? 'every path')}. The paths: ${[...paths.values()].filter(Boolean).slice(0, 8).join(', ')}`,
    );
  return [...made.values()];
}
