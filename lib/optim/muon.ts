import { ConfigError, checkOptions, describe } from '../native/errors.ts';
import { type ListOperand, nativeOp, run } from '../native/run.ts';
import { assign } from '../nn/module.ts';
import { add, div, maximum, mul } from '../ops/binary.ts';
import { matmul } from '../ops/matmul.ts';
import { sum } from '../ops/reduce.ts';
import { sqrt, square } from '../ops/unary.ts';
import { bind, checkPrecision, type Precision } from '../tensor/context.ts';
import { scope } from '../tensor/scope.ts';
import type { Parameter, Tensor } from '../tensor/tensor.ts';
import { chosen, type Named } from './groups.ts';
import { NativeList } from './lists.ts';
import {
  type GroupInput,
  type GroupOptions,
  Optimizer,
  type OptimizerState,
  type ParamGroup,
  type Trainable,
} from './optimizer.ts';

export interface MuonOptions extends GroupOptions {
  /** Default 0.95. */
  momentum: number;
  /** Default true. */
  nesterov: boolean;
  /** Newton-Schulz iterations. Default 5. */
  nsSteps: number;
  /** Their quintic's coefficients. Default [3.4445, -4.775, 2.0315]. */
  nsCoefficients: readonly [number, number, number];
  /**
   * What the step of an [out, in] matrix is multiplied by: 'original' sqrt(max(1, out / in)), or 'matchRmsAdamW' 0.2 sqrt(max(out, in)), with which rates of
   * AdamW serve. Default 'original'.
   */
  adjustLr: 'original' | 'matchRmsAdamW';
  /** Dtype of the iterations' products. Default 'f32'; 'bf16', as PyTorch has it, is faster where a GPU has tensor cores. */
  precision: Precision;
  /** Update this group by AdamW, with `betas` and `eps`: what are no matrices, and embeddings and the last layer. Default false. */
  auxiliary: boolean;
  /** AdamW's, in auxiliary groups. Default [0.9, 0.95]. */
  betas: readonly [number, number];
  /** The least norm that is divided by, and AdamW's eps. Default 1e-7. */
  eps: number;
}

const momentumOp = nativeOp('muonMomentum');
const muonOp = nativeOp('muon');
const adamOp = nativeOp('adam');

/** A workspace as large as the parameter: no part of the saved state. */
const workspace = 'update';

/**
 * Muon (Jordan et al. 2024), as PyTorch's: m = momentum m + (1 - momentum) g, the update (with Nesterov's look ahead) made orthogonal by Newton-Schulz
 * iterations, p -= lr weightDecay p + lr adjust(shape) update. For matrices of hidden layers; groups marked `auxiliary` take AdamW's step, so that one
 * optimizer serves a model: `optim.muonGroups(model)`. lr defaults to 1e-3, weightDecay to 0.1.
 */
export class Muon extends Optimizer<MuonOptions> {
  readonly #updates = new Map<number, NativeList>();

  constructor(params: Trainable<MuonOptions>, options: Partial<MuonOptions> = {}) {
    super('Muon', params, options, {
      ...{ lr: 1e-3, weightDecay: 0.1, maximize: false, momentum: 0.95, nesterov: true },
      ...{ nsSteps: 5, nsCoefficients: [3.4445, -4.775, 2.0315], adjustLr: 'original', precision: 'f32' },
      ...{ auxiliary: false, betas: [0.9, 0.95], eps: 1e-7 },
    });
  }
  protected override check(group: ParamGroup<MuonOptions>, index: number): void {
    super.check(group, index);
    this.finite(index, 'eps', group.eps);
    this.betas(index, group.betas);
    const { momentum, nsSteps, nsCoefficients, adjustLr } = group;
    if (!(typeof momentum === 'number' && momentum >= 0 && momentum < 1))
      this.refuse(index, 'momentum must be a number from 0 to below 1', momentum);
    if (!(Number.isSafeInteger(nsSteps) && nsSteps >= 1 && nsSteps < 100))
      this.refuse(index, 'nsSteps must be a whole number from 1 to 99', nsSteps);
    if (!(Array.isArray(nsCoefficients) && nsCoefficients.length === 3 && nsCoefficients.every(Number.isFinite)))
      this.refuse(index, 'nsCoefficients must be three numbers', nsCoefficients);
    if (adjustLr !== 'original' && adjustLr !== 'matchRmsAdamW')
      this.refuse(index, "adjustLr must be 'original' or 'matchRmsAdamW'", adjustLr);
    checkPrecision(`Muon group ${index}`, group.precision);
    const flat = group.auxiliary ? undefined : group.params.find((p) => p.ndim !== 2);
    if (flat)
      this.refuse(
        index,
        'Muon is for matrices; give the rest to a group with auxiliary: true (optim.muonGroups(model) does so)',
        flat,
      );
  }
  protected roles({ auxiliary }: ParamGroup<MuonOptions>): readonly string[] {
    return auxiliary ? ['expAvg', 'expAvgSq'] : ['momentumBuffer', workspace];
  }

  protected launch(g: ParamGroup<MuonOptions>, inputs: readonly [ListOperand, ListOperand, Tensor | null], offset: number): void {
    const common = [offset, g.lr, g.weightDecay, +g.maximize];
    if (g.auxiliary) {
      run(adamOp, inputs, [], [...common, ...g.betas, g.eps, 1, 0]);
      return;
    }
    run(momentumOp, inputs, [], [...common, g.momentum, 0, 0, +g.nesterov]);
    const updates = this.#updates.get(offset) ?? new NativeList(g.params.length, 1);
    this.#updates.set(offset, updates);
    this.statesOf(offset).forEach(([, update], i) => {
      const trained = (g.params[i] as Tensor).grad !== null && update;
      updates.set(i, 0, trained || null);
      if (trained)
        scope(() =>
          assign(
            trained,
            bind({ precision: g.precision, grad: false }, () => orthogonal(trained, g)),
          ),
        );
    });
    run(muonOp, [inputs[0], updates, inputs[2]], [], [0, g.lr, g.weightDecay, 0, 0, 0, 0, 0]);
  }

  override stateDict(): OptimizerState {
    const state = super.stateDict();
    return { ...state, tensors: new Map([...state.tensors].filter(([name]) => !name.endsWith(`/${workspace}`))) };
  }
  override dispose(): void {
    for (const list of this.#updates.values()) list.release();
    super.dispose();
  }
}

/** Newton-Schulz: singular values go towards 1. Products of the smaller side, so that what is tall needs no transpose. */
function orthogonal(x: Tensor, g: ParamGroup<MuonOptions>): Tensor {
  const [rows, columns] = x.shape as [number, number];
  const tall = rows > columns;
  const [a, b, c] = g.nsCoefficients;
  let y = div(x, maximum(sqrt(sum(square(x))), g.eps));
  for (let i = 0; i < g.nsSteps; i++) {
    const gram = matmul(y, y, tall ? { transposeA: true } : { transposeB: true });
    const change = add(mul(gram, b), mul(matmul(gram, gram), c));
    y = add(mul(y, a), tall ? matmul(y, change) : matmul(change, y));
  }
  return mul(y, g.adjustLr === 'original' ? Math.sqrt(Math.max(1, rows / columns)) : 0.2 * Math.sqrt(Math.max(rows, columns)));
}

export interface MuonGroupsOptions {
  /** Decay of the weights that decay. Default 0.1. */
  weightDecay?: number;
  /** Rate of what AdamW updates; Muon's own is the optimizer's `lr`. Default 3e-4. */
  auxiliaryLr?: number;
  /** Matrices for AdamW beside those that are none: parameters, their names, or the names of modules above them, such as the embedding and the last layer. */
  auxiliary?: readonly (string | Parameter)[];
}

/**
 * A model's parameters as groups for Muon: its matrices, and for AdamW what is not two-dimensional (undecayed where it has fewer dimensions) and what
 * `auxiliary` names.
 * @example new optim.Muon(optim.muonGroups(model, { auxiliary: ['embedding', 'head'] }), { lr: 0.02 })
 */
export function muonGroups(model: Named, options: MuonGroupsOptions = {}): GroupInput<MuonOptions>[] {
  checkOptions('muonGroups', options, ['weightDecay', 'auxiliaryLr', 'auxiliary']);
  const { weightDecay = 0.1, auxiliaryLr = 3e-4, auxiliary = [] } = options;
  for (const [name, v] of Object.entries({ weightDecay, auxiliaryLr }))
    if (!(typeof v === 'number' && v >= 0))
      throw new ConfigError(`muonGroups: ${name} must be a number >= 0, got ${describe(v)}`);
  const { all, named } = chosen('muonGroups', 'auxiliary', model, auxiliary);
  const hidden = all.filter((p) => p.ndim === 2 && !named.has(p));
  const rest = all.filter((p) => p.ndim !== 2 || named.has(p));
  const adamW = { lr: auxiliaryLr, auxiliary: true };
  return [
    { params: hidden, weightDecay },
    { params: rest.filter((p) => p.ndim > 1), weightDecay, ...adamW },
    { params: rest.filter((p) => p.ndim <= 1), weightDecay: 0, ...adamW },
  ].filter((g) => g.params.length > 0);
}
