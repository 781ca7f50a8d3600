import { checkFunction, DTypeError, describe, GraphError } from '../native/errors.ts';
import { bind, current, type Rng, refusePromise } from '../tensor/context.ts';
import { isFloat } from '../tensor/dtype.ts';
import { persistent, scope } from '../tensor/scope.ts';
import { checkInitial, Tensor, unwritten } from '../tensor/tensor.ts';
import { record, walkFrom } from './graph.ts';

const asItWas = (rng: Rng): Rng => ({ ...rng, calls: new Map(rng.calls) });

/** A leaf of its own over the same memory. */
const leaf = (t: Tensor): Tensor => Object.assign(t.detach(), { requiresGrad: t.tracked });

/**
 * Inputs as results of a call, as they are without checkpoint (gradients that meet on a leaf are summed otherwise), and the gradients that arrive.
 */
function entered(saved: readonly Tensor[], wanted: readonly boolean[], anchor: Tensor) {
  const found: (Tensor | null)[] = saved.map(() => null);
  const inputs = saved.map((t, i) => {
    const input = t.detach();
    if (wanted[i])
      record('checkpoint.input', [anchor], [input], [], ([g]) => {
        found[i] = g ? persistent(() => g.alias()) : null;
        return [null];
      });
    return input;
  });
  /** For the scope in force. */
  const gradients = () =>
    found.map((g) => {
      const given = g?.alias() ?? null;
      g?.dispose();
      return given;
    });
  return { inputs, gradients };
}

/** Does anything that `fn` used, a parameter say, want a gradient? */
function made(fn: (...inputs: Tensor[]) => Tensor, inputs: readonly Tensor[]): { out: Tensor; tracked: boolean } {
  return scope(() => {
    const out = refusePromise('checkpoint', fn(...inputs.map(leaf)));
    if (!(out instanceof Tensor)) throw new DTypeError(`checkpoint: the function must return one Tensor, got ${describe(out)}`);
    return { out: out.detach(), tracked: out.tracked };
  });
}

/**
 * `fn(...inputs)` without keeping what it computes on the way: backward computes it again, with the same random numbers and in the same precision,
 * so that gradients are bit-equal to those without it. Memory falls to the inputs, time rises by about one forward pass.
 *
 * `fn` must compute the same when it is called again: what else it does (running statistics of batch norm, prints) it does twice.
 * @example x = checkpoint((x) => block.forward(x), x)
 * @param fn takes the inputs, returns one tensor; synchronous. Parameters that it reaches get their gradients too
 * @throws DTypeError where fn returns anything but a tensor
 * @see Chen et al., Training Deep Nets with Sublinear Memory Cost (2016); torch.utils.checkpoint
 */
export function checkpoint(fn: (...inputs: Tensor[]) => Tensor, ...inputs: Tensor[]): Tensor {
  checkFunction('checkpoint', 'the first argument', fn, '(x) => block.forward(x)');
  inputs.forEach((t, i) => {
    checkInitial(`checkpoint: input ${i}`, t);
  });
  const { grad, precision, rng } = current();
  if (!grad) return fn(...inputs);
  const before = asItWas(rng);
  const { out, tracked } = made(fn, inputs);
  if (!tracked) return out;
  const wanted = inputs.map((t) => t.tracked && isFloat(t.dtype));
  // Where only parameters want gradients, the walk must come here all the same.
  const anchor = unwritten([0], 'f32', out.device);
  anchor.requiresGrad = true;
  record(
    'checkpoint',
    [...inputs, anchor],
    [out],
    inputs,
    ([g], saved, back) =>
      scope(() => {
        const { inputs, gradients } = bind({ grad: true }, () => entered(saved, wanted, anchor));
        const result = bind({ grad: true, precision, rng: asItWas(before) }, () => fn(...inputs));
        if (!result.node)
          throw new GraphError(
            'checkpoint: the function gave a result without a tape when it was called again. It must compute the same twice.',
          );
        // The gradient is handed on, as from any node to the next: what is exclusive may be added to in place, which rounds otherwise.
        const seed = g?.alias();
        g?.dispose();
        walkFrom(result, seed, back.observe);
        return gradients();
      }),
    true,
  );
  return out;
}
