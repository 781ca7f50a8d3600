import { type Operand, run } from '../native/run.ts';
import { filled, nativeOp } from '../ops/define.ts';
import { bytesOf } from '../tensor/dtype.ts';
import { type Tensor, unwritten } from '../tensor/tensor.ts';
import { chunk, NativeList } from './lists.ts';
import { StepState } from './step-state.ts';

const copyOp = nativeOp('copy');
const subOp = nativeOp('sub');
const normOp = nativeOp('gradNorm');

/** Elements that are looked at: of larger models the first part of every parameter, so that the copy stays small. 64 MiB of f32. */
export const ratioElements = 2 ** 24;

/** The walk over operands of one shape: one long loop (lib/ops/binary.ts). */
const flat = (size: number): number[] => (size === 1 ? [0] : [1, size, 1, 1]);

/** Some elements of a tensor, in memory order. */
const span = (t: Tensor, size: number, from = 0): Operand => ({
  ...{ storage: t.storage, offset: t.offset + from * bytesOf(t.dtype), size },
  ...{ code: t.code, shape: [size], device: t.device },
});

/**
 * How far an update moves the weights, measured on the device: the norm of the weights before it, and of what it adds to them. About 1e-3 is what small
 * networks do that learn well; 0.1 and more tears them apart.
 *
 * Costs a copy of the weights and four passes over it, so it is for every so many steps.
 */
export class UpdateRatio {
  readonly #state: StepState;
  readonly #list = new NativeList(1, 1);

  constructor(device: Tensor['device']) {
    this.#state = new StepState(device);
  }

  /**
   * Before an update: copies the parameters that have a gradient. After it, the function returned gives the two norms as device scalars. Both within
   * one scope; nothing waits. Undefined where there is nothing of one dtype to measure.
   */
  begin(parameters: readonly Tensor[]): (() => [weights: Tensor, update: Tensor]) | undefined {
    const moving = parameters.filter((p) => p.grad !== null);
    const total = moving.reduce((n, p) => n + p.size, 0);
    const dtype = moving[0]?.dtype;
    if (dtype === undefined || total === 0 || moving.some((p) => p.dtype !== dtype)) return undefined;
    const share = Math.min(1, ratioElements / total);
    let size = 0;
    const parts = moving.map((param) => {
      const part = { param, from: size, length: Math.ceil(param.size * share) };
      size += part.length;
      return part;
    });
    // Memory is allocated by the first op that writes all of it.
    const before = filled([size], 0, dtype, { device: (moving[0] as Tensor).device });
    for (const { param, from, length } of parts) run(copyOp, [span(param, length)], [span(before, length, from)]);
    const weights = this.#norm(before);
    return () => {
      for (const { param, from, length } of parts) {
        const old = span(before, length, from);
        run(subOp, [old, span(param, length)], [old], flat(length));
      }
      return [weights, this.#norm(before)];
    };
  }

  /** The same sum as the gradients' norm, in f64 over fixed chunks: the same bits for any number of threads. */
  #norm(of: Tensor): Tensor {
    const { device } = of;
    this.#list.set(0, 0, of);
    this.#state.begin();
    const norm = unwritten([], 'f32', device);
    const partials = unwritten([Math.ceil(of.size / chunk)], 'f64', device);
    run(normOp, [this.#list], [this.#state.tensor, partials, norm], [1, 1, 0]);
    this.#list.release();
    return norm;
  }
}
