import { ConfigError, checkOptions, describe } from '../native/errors.ts';
import { nativeOp, run, upload } from '../native/run.ts';
import { fromHost } from '../tensor/create.ts';
import { type Device, defaultDevice } from '../tensor/device.ts';
import { persistent } from '../tensor/scope.ts';
import type { Tensor } from '../tensor/tensor.ts';

const updateOp = nativeOp('lossScale');

export interface LossScalerOptions {
  /** The first scale. Default 65536. */
  init?: number;
  /** Multiplies the scale after `interval` good steps. Default 2. */
  growth?: number;
  /** Multiplies the scale where a gradient overflowed. Default 0.5. */
  backoff?: number;
  /** Steps in a row without overflow before the scale grows. Default 2000. */
  interval?: number;
  /** Limits of the scale. Default 1 and 2^24. */
  floor?: number;
  ceiling?: number;
}

/** The state as checkpoints have it. */
export interface LossScalerState {
  scale: number;
  /** Good steps since the scale last changed. */
  goodSteps: number;
}

function checked(options: LossScalerOptions): Required<LossScalerOptions> {
  checkOptions('LossScaler', options, ['init', 'growth', 'backoff', 'interval', 'floor', 'ceiling']);
  const o = { init: 65536, growth: 2, backoff: 0.5, interval: 2000, floor: 1, ceiling: 2 ** 24, ...options };
  const refuse = (name: keyof LossScalerOptions, what: string): never => {
    throw new ConfigError(`LossScaler: ${name} must be ${what}, got ${describe(o[name])}`);
  };
  if (!(o.growth >= 1 && o.growth < Infinity)) refuse('growth', 'a number >= 1');
  if (!(o.backoff > 0 && o.backoff <= 1)) refuse('backoff', 'a number above 0, up to 1');
  if (!(Number.isSafeInteger(o.interval) && o.interval >= 1)) refuse('interval', 'a whole number >= 1');
  if (!(o.floor > 0 && o.floor < Infinity)) refuse('floor', 'a number above 0');
  if (!(o.ceiling >= o.floor && o.ceiling < Infinity)) refuse('ceiling', 'a number not below floor');
  if (!(o.init >= o.floor && o.init <= o.ceiling)) refuse('init', 'a number from floor to ceiling');
  return o;
}

/**
 * Dynamic loss scaling for f16, kept on the device (Micikevicius et al. 2018): the loss is scaled before backward so that small gradients
 * survive f16, and gradients are unscaled before anything looks at them. A step whose gradients overflow is skipped and the scale falls by
 * `backoff`; after `interval` good steps in a row it grows by `growth`. The host decides nothing and waits for nothing.
 */
export class LossScaler {
  /** f32 [2] on the device: the scale, and the good steps since it last changed. */
  readonly tensor: Tensor;
  readonly options: Required<LossScalerOptions>;

  constructor(options: LossScalerOptions = {}, on: Device = defaultDevice()) {
    this.options = checked(options);
    this.tensor = persistent(() => fromHost(Float32Array.of(this.options.init, 0), [2], 'f32', on));
  }

  /** The scale as a device scalar, for this step's seed and its unscaling. */
  get scale(): Tensor {
    return this.tensor.alias([], this.tensor.offset);
  }

  /** Queued at the end of a step: looks at the step state (f64 [16], StepState.tensor) and sets the scale of the next. */
  update(state: Tensor): void {
    const { growth, backoff, interval, floor, ceiling } = this.options;
    run(updateOp, [state], [this.tensor], [growth, backoff, interval, floor, ceiling]);
    this.tensor.storage.version++;
  }

  /** As of the last step queued. */
  async state(): Promise<LossScalerState> {
    const [scale = 0, goodSteps = 0] = await this.tensor.data();
    return { scale, goodSteps };
  }
  load(state: LossScalerState): void {
    upload(this.tensor, Float32Array.of(state.scale, state.goodSteps));
  }
}
