import { ConfigError, checkOptions, describe, ShapeError } from '../native/errors.ts';
import { checkFloat, checkNumber } from '../ops/define.ts';
import { dropout } from '../ops/dropout.ts';
import { concat, narrow, permute, stack } from '../ops/index.ts';
import { gatesOf, lengthsOf, type RecurrentMode, type RecurrentOptions, recurrent } from '../ops/recurrent.ts';
import { reshape } from '../ops/view.ts';
import { sameShape, show } from '../tensor/shape.ts';
import { Parameter, type Tensor } from '../tensor/tensor.ts';
import * as init from './init.ts';
import { checkCount } from './linear.ts';
import { type Member, Module } from './module.ts';

export interface RecurrentLayerOptions {
  /** Layers, each reading the output of the one before. Default 1. */
  numLayers?: number;
  /** Default true. */
  bias?: boolean;
  /** Dropped from the output of every layer but the last, while training. Default 0. */
  dropout?: number;
  /** A second set of cells reads from the end; outputs lie side by side. Default false. */
  bidirectional?: boolean;
}

const known = ['numLayers', 'bias', 'dropout', 'bidirectional'];

export interface RecurrentInputs {
  /** How many steps of each row count: numbers, or i32 [B]. The results are those of PyTorch's packed sequences: rows behind their end give zeros. */
  lengths?: Tensor | readonly number[];
  /** The first hidden state, [numLayers directions, B, H]. Default: zeros. */
  h0?: Tensor;
}
export interface LSTMInputs extends RecurrentInputs {
  /** The first cell state, [numLayers directions, B, H]. Default: zeros. */
  c0?: Tensor;
}

export interface RecurrentOutputs {
  /** [B, T, directions H] of the last layer. */
  output: Tensor;
  /** [numLayers directions, B, H]: each layer and direction behind its last step. */
  h: Tensor;
}
export interface LSTMOutputs extends RecurrentOutputs {
  c: Tensor;
}

/** The parameters of one layer and direction, under PyTorch's names. */
interface Cell {
  readonly suffix: string;
  readonly ih: Parameter;
  readonly hh: Parameter;
  readonly biasIh: Parameter | null;
  readonly biasHh: Parameter | null;
}

let made = 0;

abstract class Recurrent extends Module {
  readonly inputSize: number;
  readonly hiddenSize: number;
  readonly numLayers: number;
  readonly bidirectional: boolean;
  readonly dropout: number;
  /** Layer by layer, forward before reverse. */
  readonly cells: readonly Cell[];
  readonly #serial = made++;

  constructor(mode: RecurrentMode, inputSize: number, hiddenSize: number, options: RecurrentLayerOptions) {
    super();
    const where = new.target.name;
    checkOptions(where, options, known);
    this.inputSize = checkCount(where, 'inputSize', inputSize);
    this.hiddenSize = checkCount(where, 'hiddenSize', hiddenSize);
    this.numLayers = checkCount(where, 'numLayers', options.numLayers ?? 1);
    this.dropout = checkNumber(where, options.dropout ?? 0, 'dropout', 0, 1);
    this.bidirectional = options.bidirectional ?? false;
    const directions = this.bidirectional ? 2 : 1;
    const [rows, bound] = [gatesOf(mode) * hiddenSize, 1 / Math.sqrt(hiddenSize)];
    const draw = (...shape: number[]) => new Parameter(init.uniform(shape, bound));
    const bias = options.bias ?? true;
    this.cells = Array.from({ length: this.numLayers * directions }, (_, i) => ({
      suffix: `l${Math.floor(i / directions)}${i % directions ? '_reverse' : ''}`,
      ih: draw(rows, i < directions ? inputSize : directions * hiddenSize),
      hh: draw(rows, hiddenSize),
      biasIh: bias ? draw(rows) : null,
      biasHh: bias ? draw(rows) : null,
    }));
  }

  override *entries(): Iterable<[string, Member]> {
    for (const { suffix, ih, hh, biasIh, biasHh } of this.cells) {
      yield [`weight_ih_${suffix}`, ih];
      yield [`weight_hh_${suffix}`, hh];
      if (biasIh) yield [`bias_ih_${suffix}`, biasIh];
      if (biasHh) yield [`bias_hh_${suffix}`, biasHh];
    }
  }

  /** All layers and directions; `given` are the first states. */
  protected run(mode: RecurrentMode, x: Tensor, given: LSTMInputs): LSTMOutputs {
    const where = this.constructor.name;
    checkOptions(where, given, mode === 'lstm' ? ['lengths', 'h0', 'c0'] : ['lengths', 'h0']);
    checkFloat(where, x);
    if (x.ndim !== 3 || x.shape[2] !== this.inputSize)
      throw new ShapeError(`${where}: x must be [batch, time, ${this.inputSize}], got ${show(x.shape)}`);
    const [batch, steps] = x.shape as [number, number, number];
    if (steps === 0) throw new ShapeError(`${where}: x ${show(x.shape)} has no steps in time`);
    const lengths = lengthsOf(where, given.lengths, batch, steps, x);
    for (const name of ['h0', 'c0'] as const) this.#checkState(where, given[name], name, batch);
    const part = (t: Tensor | undefined, i: number) => (t ? reshape(narrow(t, 0, i, 1), [batch, this.hiddenSize]) : null);
    const directions = this.bidirectional ? 2 : 1;
    const results: { h: Tensor; c: Tensor | null }[] = [];
    let y = permute(x, [1, 0, 2]);
    for (let layer = 0; layer < this.numLayers; layer++) {
      if (layer > 0) y = this.#dropped(y, layer);
      const outputs = [0, 1].slice(0, directions).map((d) => {
        const i = layer * directions + d;
        const options: RecurrentOptions = { reverse: d === 1, lengths, h0: part(given.h0, i), c0: part(given.c0, i) };
        const { output, h, c } = recurrent(mode, y, this.cells[i] as Cell, options);
        results.push({ h, c });
        return output;
      });
      y = outputs.length === 1 ? (outputs[0] as Tensor) : concat(outputs, { axis: 2 });
    }
    const joined = (list: Tensor[]) => stack(list, { axis: 0 });
    const cells = results.flatMap(({ c }) => (c ? [c] : []));
    const h = joined(results.map((r) => r.h));
    return { output: permute(y, [1, 0, 2]), h, c: cells.length ? joined(cells) : h };
  }

  #checkState(where: string, t: Tensor | undefined, name: string, batch: number): void {
    if (t === undefined) return;
    const shape = [this.cells.length, batch, this.hiddenSize];
    if (!sameShape(checkFloat(where, t, name).shape, shape))
      throw new ShapeError(
        `${where}: ${name} must be [numLayers directions, batch, hidden] = ${show(shape)}, got ${show(t.shape)}`,
      );
  }

  /** Dropout between layers. Rows first: masks are keyed by the place in the batch. */
  #dropped(y: Tensor, layer: number): Tensor {
    if (!this.training || this.dropout === 0) return y;
    const path = `${this.path || `${this.constructor.name}:${this.#serial}`}.dropout${layer}`;
    return permute(dropout(permute(y, [1, 0, 2]), this.dropout, { path }), [1, 0, 2]);
  }
}

/**
 * Long short-term memory (Hochreiter and Schmidhuber 1997), batch first: x [B, T, inputSize] to output [B, T, directions hiddenSize], last states
 * h and c. State as PyTorch's nn.LSTM (weight_ih_l0 [4H, I], ...); starts as U(-1/sqrt(H), 1/sqrt(H)).
 */
export class LSTM extends Recurrent {
  constructor(inputSize: number, hiddenSize: number, options: RecurrentLayerOptions = {}) {
    super('lstm', inputSize, hiddenSize, options);
  }
  forward(x: Tensor, given: LSTMInputs = {}): LSTMOutputs {
    return this.run('lstm', x, given);
  }
}

/** Gated recurrent units (Cho et al. 2014), as nn.LSTM but with one state, h. State as PyTorch's nn.GRU: weight_ih_l0 [3H, I], ... */
export class GRU extends Recurrent {
  constructor(inputSize: number, hiddenSize: number, options: RecurrentLayerOptions = {}) {
    super('gru', inputSize, hiddenSize, options);
  }
  forward(x: Tensor, given: RecurrentInputs = {}): RecurrentOutputs {
    const { output, h } = this.run('gru', x, given);
    return { output, h };
  }
}

/** A plain recurrent network (Elman 1990): h = tanh(W x + b + U h' + b'), or relu by `nonlinearity`. State as PyTorch's nn.RNN. */
export class RNN extends Recurrent {
  readonly nonlinearity: 'tanh' | 'relu';
  constructor(inputSize: number, hiddenSize: number, options: RecurrentLayerOptions & { nonlinearity?: 'tanh' | 'relu' } = {}) {
    checkOptions('RNN', options, [...known, 'nonlinearity']);
    const { nonlinearity = 'tanh', ...rest } = options;
    if (nonlinearity !== 'tanh' && nonlinearity !== 'relu')
      throw new ConfigError(`RNN: nonlinearity must be 'tanh' or 'relu', got ${describe(nonlinearity)}`);
    super(nonlinearity, inputSize, hiddenSize, rest);
    this.nonlinearity = nonlinearity;
  }
  forward(x: Tensor, given: RecurrentInputs = {}): RecurrentOutputs {
    const { output, h } = this.run(this.nonlinearity, x, given);
    return { output, h };
  }
}
