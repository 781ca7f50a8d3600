import { GraphError, ShapeError } from '../native/errors.ts';
import { current, enter, restore, type ScopeRecord } from '../tensor/context.ts';
import { sameShape, show } from '../tensor/shape.ts';
import type { TapeNode, Tensor } from '../tensor/tensor.ts';

/** What a backward rule gets besides the gradient. */
export interface Backward {
  /** Does input `i` want a gradient? What nobody needs must not be computed. */
  needs(i: number): boolean;
  /**
   * The gradient already accumulated on input `i`, given over: the rule adds it to what it returns (writing over it if it likes). Undefined where
   * there is none, or where others still see its memory. With `like`, only one of the same dtype and layout.
   */
  take(i: number, like?: { dtype: Tensor['dtype']; format: Tensor['format'] }): Tensor | undefined;
}

/** A backward rule: from the gradients of the outputs (undefined where none arrived) to those of the inputs. */
export type Vjp = (
  grads: readonly (Tensor | undefined)[],
  saved: readonly Tensor[],
  back: Backward,
) => readonly (Tensor | null | undefined)[];

let nodes = 0;
let passes = 0;
const leaks = new FinalizationRegistry<Tensor[]>((saved) => {
  for (const t of saved) t.dispose();
});

/** One recorded call: where its inputs came from, what it saved, how to go back. */
class Node implements TapeNode {
  readonly op: string;
  readonly id = nodes++;
  readonly sources: readonly (Node | null)[];
  readonly leaves: readonly (Tensor | null)[];
  readonly outputs: readonly number[];
  readonly vjp: Vjp;
  readonly saved: Tensor[];
  readonly versions: readonly number[];
  readonly grads: (Tensor | undefined)[];
  pass = 0;
  released = false;

  constructor(op: string, inputs: readonly Tensor[], outputCount: number, saved: readonly Tensor[], vjp: Vjp) {
    this.op = op;
    this.sources = inputs.map((t) => t.node as Node | null);
    this.leaves = inputs.map((t) => (t.node === null && t.requiresGrad ? t : null));
    this.outputs = inputs.map((t) => t.output);
    this.vjp = vjp;
    this.saved = saved.map((t) => t.alias());
    this.versions = saved.map((t) => t.storage.version);
    this.grads = new Array(outputCount);
    const { scope } = current();
    for (const t of this.saved) scope?.tensors.delete(t);
    if (scope) scope.nodes.add(this);
    else leaks.register(this, this.saved);
  }
  release(): void {
    if (this.released) return;
    this.released = true;
    for (const t of this.saved) t.dispose();
  }
  /** The saved tensors, if nobody has written to them since. */
  take(): readonly Tensor[] {
    if (this.released)
      throw new GraphError(
        `backward: the graph of ${this.op} was freed, by an earlier backward() or by the end of its scope. Run the forward pass again; call backward() inside the scope.`,
      );
    this.saved.forEach((t, i) => {
      if (t.storage.version !== this.versions[i])
        throw new GraphError(
          `backward: a tensor ${show(t.shape)} that ${this.op} saved was written since (an optimizer step between forward and backward?). Run backward before writing.`,
        );
    });
    return this.saved;
  }
}

/** Is anything recorded for these inputs now? */
export const records = (inputs: readonly Tensor[]): boolean => current().grad && inputs.some((t) => t.tracked);

/**
 * Puts a call on the tape: `outputs` become results of `op`. `saved` tensors stay alive until backward has used them.
 * Does nothing where no input wants a gradient or gradients are off.
 */
export function record(
  op: string,
  inputs: readonly Tensor[],
  outputs: readonly Tensor[],
  saved: readonly Tensor[],
  vjp: Vjp,
): void {
  if (!records(inputs)) return;
  const node = new Node(op, inputs, outputs.length, saved, vjp);
  outputs.forEach((t, i) => {
    t.node = node;
    t.output = i;
  });
}

// Sums of gradients and casts to a leaf's dtype are ops, and this room knows none: lib/ops/define.ts provides them.
interface Arithmetic {
  /** a + b, written over `into` where given. */
  add(a: Tensor, b: Tensor, into?: Tensor): Tensor;
  cast(a: Tensor, dtype: Tensor['dtype']): Tensor;
  ones(like: Tensor): Tensor;
}
let arithmetic: Arithmetic;
export function setArithmetic(a: Arithmetic): void {
  arithmetic = a;
}

/** Called with every leaf that receives a gradient; the Stepper uses it to find gradients that nobody owns. */
export type LeafObserver = (leaf: Tensor) => void;

/** Reachable nodes that have not run in this pass, latest first. */
function order(from: Node): Node[] {
  const pass = ++passes;
  const found: Node[] = [];
  const pending = [from];
  from.pass = pass;
  for (let node = pending.pop(); node; node = pending.pop()) {
    found.push(node);
    for (const source of node.sources) {
      if (source && source.pass !== pass) {
        source.pass = pass;
        pending.push(source);
      }
    }
  }
  return found.sort((a, b) => b.id - a.id);
}

const exclusive = (t: Tensor): boolean => t.storage.refs === 1;

/** `have + more`, over whichever memory nobody else sees; both are given over. */
function accumulate(have: Tensor | null | undefined, more: Tensor): Tensor {
  if (!have) return more;
  const into =
    exclusive(have) && have.dtype === more.dtype ? have : exclusive(more) && have.dtype === more.dtype ? more : undefined;
  const sum = arithmetic.add(have, more, into);
  if (sum !== have) have.dispose();
  if (sum !== more) more.dispose();
  return sum;
}

/** A gradient that outlives the walk: outside every scope, off the tape, of the leaf's dtype, in memory of its own. */
function deposit(leaf: Tensor, grad: Tensor, walk: ScopeRecord): void {
  let own = grad;
  if (grad.dtype !== leaf.dtype) {
    own = arithmetic.cast(grad, leaf.dtype);
    grad.dispose();
  }
  const sum = accumulate(leaf.grad, own);
  sum.storage.version++;
  leaf.grad = sum.escape(walk.tensors);
}

function checked(node: Node, i: number, grad: Tensor): Tensor {
  const leaf = node.leaves[i];
  if (leaf && !sameShape(leaf.shape, grad.shape))
    throw new ShapeError(
      `backward of ${node.op}: the gradient of input ${i} has shape ${show(grad.shape)}, the input ${show(leaf.shape)}`,
    );
  return grad;
}

/** Takes a tensor out of the walk's care: it is now a pending gradient's, disposed by the node that consumes it. */
function pend(t: Tensor, walk: ScopeRecord): Tensor {
  walk.tensors.delete(t);
  return t;
}

function step(node: Node, walk: ScopeRecord, observe: LeafObserver | undefined): void {
  const back: Backward = {
    needs: (i) => node.sources[i] != null || node.leaves[i] != null,
    take(i, like) {
      const source = node.sources[i];
      const leaf = node.leaves[i];
      const output = node.outputs[i] as number;
      const have = source ? source.grads[output] : leaf?.grad;
      if (!have || !exclusive(have)) return undefined;
      if (like && (have.dtype !== like.dtype || have.format !== like.format)) return undefined;
      if (source) source.grads[output] = undefined;
      else if (leaf) leaf.grad = null;
      walk.tensors.add(have);
      return have;
    },
  };
  const incoming = [...node.grads];
  node.grads.fill(undefined);
  for (const t of incoming) if (t) walk.tensors.add(t);
  const results = node.vjp(incoming, node.take(), back);
  const given = new Set<Tensor | undefined>(incoming);
  for (let i = 0; i < node.sources.length; i++) {
    let grad = results[i];
    if (!grad || !back.needs(i)) continue;
    checked(node, i, grad);
    // The incoming gradient itself, or one tensor for two inputs: each gets a tensor of its own over the same memory.
    if (given.has(grad)) grad = grad.alias();
    else given.add(grad);
    const source = node.sources[i];
    const output = node.outputs[i] as number;
    if (source) {
      source.grads[output] = pend(accumulate(source.grads[output], grad), walk);
      continue;
    }
    const leaf = node.leaves[i] as Tensor;
    deposit(leaf, grad, walk);
    observe?.(leaf);
  }
  node.release();
}

/**
 * Walks the tape from `root` and adds the gradients to the leaves' `grad`. Saved tensors are freed as they are used.
 * @param seed the gradient of `root`, of its shape; default 1, for a root of one element
 * @throws GraphError where nothing was recorded, or where it was freed
 */
export function backward(root: Tensor, seed?: Tensor, observe?: LeafObserver): void {
  const node = root.node as Node | null;
  if (!node)
    throw new GraphError(
      `backward: ${root} was not computed from anything that requires a gradient. Was it made under noGrad(), or from tensors without requiresGrad?`,
    );
  if (!seed && root.size !== 1)
    throw new ShapeError(
      `backward: ${show(root.shape)} is not a scalar. Reduce it first (.sum(), .mean()), or pass the gradient of its shape.`,
    );
  if (seed && !sameShape(seed.shape, root.shape))
    throw new ShapeError(`backward: the seed has shape ${show(seed.shape)}, the tensor ${show(root.shape)}`);
  // What a rule makes and does not return is freed as soon as the rule is done.
  const walk: ScopeRecord = { tensors: new Set(), nodes: new Set() };
  const sweep = () => {
    for (const t of walk.tensors) t.dispose();
    walk.tensors.clear();
  };
  const before = enter({ grad: false, scope: walk, precision: 'f32' });
  const nodes = order(node);
  try {
    node.grads[root.output] = pend(seed ? seed.alias() : arithmetic.ones(root), walk);
    for (const n of nodes) {
      if (n.grads.some((g) => g !== undefined)) step(n, walk, observe);
      else n.release();
      sweep();
    }
  } finally {
    restore(before);
    sweep();
    for (const n of nodes) {
      for (const g of n.grads) g?.dispose();
      n.grads.fill(undefined);
    }
  }
}
