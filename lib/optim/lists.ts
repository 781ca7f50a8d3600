import { DTypeError, GraphError, ShapeError } from '../native/errors.ts';
import { type ListOperand, native, type Operand, release } from '../native/run.ts';
import { toFormat } from '../ops/define.ts';
import { type Device, defaultDevice } from '../tensor/device.ts';
import { persistent } from '../tensor/scope.ts';
import { sameShape, show } from '../tensor/shape.ts';
import { Parameter, type Tensor, unwritten } from '../tensor/tensor.ts';

/** Elements per unit of work, fixed, so that sums do not depend on the number of threads. native/src/cpu/optim.h has the same. */
export const chunk = 32768;

/** Columns of a list of parameters; a rule's state follows. native/src/cpu/update.cc has the same. */
export const columns = { param: 0, step: 1, shadow: 2, state: 3 } as const;
export const columnCount = columns.state + 3;

interface Held {
  list: number;
}
const lost = new FinalizationRegistry<Held>((held) => {
  if (held.list) release(held.list);
});

/** A native list of tensors that is registered again when what stands in it changes. A list holds its tensors' memory. */
export class NativeList implements ListOperand {
  readonly #held: Held = { list: 0 };
  readonly rows: number;
  readonly columns: number;
  /** Per place handle, offset, size and dtype, as the crossing takes them. */
  readonly operands: Float64Array;
  readonly #numbers: Float64Array;
  stale = true;
  /** Of the tensors in it. */
  device: Device = defaultDevice();

  constructor(rows: number, columns: number) {
    this.rows = rows;
    this.columns = columns;
    this.operands = new Float64Array(rows * columns * 4);
    this.#numbers = new Float64Array(rows);
    lost.register(this, this.#held, this);
  }

  /** Puts an operand (or nothing) in its place; tells whether that is a change. */
  set(row: number, column: number, o: Operand | null): boolean {
    const at = (row * this.columns + column) * 4;
    const to = this.operands;
    const handle = o ? o.storage.handle : 0;
    if (to[at] === handle && (o === null || to[at + 1] === o.offset)) return false;
    to[at] = handle;
    if (o) {
      this.device = o.device as Device;
      to[at + 1] = o.offset;
      to[at + 2] = o.size;
      to[at + 3] = o.code;
    }
    this.stale = true;
    return true;
  }

  /** The handle, registered anew where something changed. */
  get list(): number {
    if (!this.stale) return this.#held.list;
    const next = native().list(this.rows, this.columns, this.operands, this.#numbers, this.device.number);
    this.release();
    this.#held.list = next;
    this.stale = false;
    return next;
  }

  /** Lets go of the tensors. The list registers itself again when used. */
  release(): void {
    this.stale = true;
    if (!this.#held.list) return;
    release(this.#held.list);
    this.#held.list = 0;
  }
}

const nameOf = (p: Tensor, i: number): string => (p instanceof Parameter && p.name ? `parameter ${p.name}` : `parameter ${i}`);

/** A gradient as the update needs it: of the parameter's dtype, shape and memory layout. */
function checked(p: Tensor, i: number): Tensor {
  const g = p.grad as Tensor;
  if (g.disposed) throw new GraphError(`${nameOf(p, i)}: its gradient was freed. Set grad to null, or use optimizer.zeroGrad().`);
  if (!sameShape(g.shape, p.shape))
    throw new ShapeError(`${nameOf(p, i)}: its gradient has shape ${show(g.shape)}, the parameter ${show(p.shape)}`);
  if (g.dtype !== p.dtype)
    throw new DTypeError(
      `${nameOf(p, i)}: its gradient is ${g.dtype}, the parameter ${p.dtype}. Convert it: grad.to('${p.dtype}').`,
    );
  if (g.format === p.format) return g;
  const same = persistent(() => toFormat(g, p.format));
  p.grad = same;
  g.dispose();
  return same;
}

/**
 * The gradients of some parameters as one operand; parameters without one are empty places. Registered again only when a gradient's memory
 * is another than at the last step.
 */
export class GradientList {
  readonly parameters: readonly Tensor[];
  readonly #list: NativeList;
  #partials: Tensor | undefined;

  constructor(parameters: readonly Tensor[]) {
    this.parameters = parameters;
    this.#list = new NativeList(parameters.length, 1);
  }

  /** f64 scratch for one partial sum per chunk, on the device of the gradients. */
  get partials(): Tensor {
    const { device } = this.#list;
    if (this.#partials?.device === device) return this.#partials;
    this.#partials?.dispose();
    const chunks = this.parameters.reduce((n, p) => n + Math.ceil(p.size / chunk), 0);
    this.#partials = persistent(() => unwritten([Math.max(1, chunks)], 'f64', device));
    return this.#partials;
  }

  get operand(): ListOperand {
    return this.#list;
  }

  /** Looks at every parameter's `grad`. */
  refresh(): void {
    const { parameters } = this;
    const list = this.#list;
    for (let i = 0; i < parameters.length; i++) {
      const p = parameters[i] as Tensor;
      const g = p.grad;
      if (g === null) list.set(i, 0, null);
      else if (list.operands[4 * i] !== g.storage.handle || list.operands[4 * i + 1] !== g.offset || g.format !== p.format)
        list.set(i, 0, checked(p, i));
    }
  }

  /** Lets go of the gradients' memory. */
  release(): void {
    this.#list.release();
    this.#list.operands.fill(0);
  }
  dispose(): void {
    this.#list.release();
    this.#partials?.dispose();
  }
}
