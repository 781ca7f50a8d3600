import { DTypeError, describe, GraphError, ShapeError } from '../native/errors.ts';
import { current, enter, restore, type ScopeRecord } from '../tensor/context.ts';
import { type Shape, sameShape, show } from '../tensor/shape.ts';
import { type Storage, type TapeNode, Tensor } from '../tensor/tensor.ts';
import { hooked, leafHooks, type OutputHooks } from './hooks.ts';

/** What a backward rule gets besides the gradient. */
export interface Backward {
  /** Does input `i` want a gradient? What nobody needs must not be computed. */
  needs(i: number): boolean;
  /**
   * The gradient already accumulated on input `i`, given over: the rule adds it to what it returns (writing over it if it likes). Undefined where
   * there is none, or where others still see its memory. With `like`, only one of the same dtype and layout.
   */
  take(i: number, like?: { dtype: Tensor['dtype']; format: Tensor['format'] }): Tensor | undefined;
  /** For rules that walk a tape of their own: tells whoever watches this walk of a leaf that got its gradient there. */
  observe(leaf: Tensor): void;
}

/** A backward rule: from the gradients of the outputs (undefined where none arrived) to those of the inputs. */
export type Vjp = (
  grads: readonly (Tensor | undefined)[],
  saved: readonly Tensor[],
  back: Backward,
) => readonly (Tensor | null | undefined)[];

/** One input of a recorded call: the node that made it, or the leaf that it is, or neither. */
interface Edge {
  readonly source: Node | null;
  readonly leaf: Tensor | null;
  /** Which of the source's outputs. */
  readonly output: number;
  readonly shape: Shape;
}

let nodes = 0;
let passes = 0;

/** Memory that a node holds, and the version that it saved. */
interface Retained {
  readonly storage: Storage;
  readonly version: number;
}
function releaseAll(memory: Retained[]): void {
  for (let m = memory.pop(); m; m = memory.pop()) m.storage.release();
}
const leaks = new FinalizationRegistry<Retained[]>(releaseAll);

/** One recorded call: where its inputs came from, what it saved, how to go back. */
class Node implements TapeNode {
  readonly op: string;
  readonly id = nodes++;
  readonly edges: readonly Edge[];
  readonly vjp: Vjp;
  /** Walks a tape of its own, which may reach leaves that are not among the edges. */
  readonly nested: boolean;
  /** Gradients of the outputs that have arrived in this walk. */
  readonly grads: (Tensor | undefined)[];
  pass = 0;
  /** Of tensor.registerHook, by output. */
  hooks: OutputHooks | null = null;
  #saved: readonly Tensor[] | null;
  readonly #memory: Retained[];

  constructor(
    op: string,
    inputs: readonly Tensor[],
    outputs: number,
    saved: readonly Tensor[],
    vjp: Vjp,
    scope: ScopeRecord | null,
    nested: boolean,
  ) {
    this.op = op;
    this.nested = nested;
    const edges = new Array<Edge>(inputs.length);
    for (let i = 0; i < inputs.length; i++) {
      const t = inputs[i] as Tensor;
      const source = t.node as Node | null;
      edges[i] = { source, leaf: source === null && t.requiresGrad ? t : null, output: t.output, shape: t.shape };
    }
    this.edges = edges;
    this.vjp = vjp;
    this.grads = new Array(outputs);
    // The memory is retained, whatever becomes of the tensors.
    const memory = new Array<Retained>(saved.length);
    for (let i = 0; i < saved.length; i++) {
      const storage = (saved[i] as Tensor).storage.retain();
      memory[i] = { storage, version: storage.version };
    }
    this.#saved = saved;
    this.#memory = memory;
    if (scope) scope.nodes.add(this);
    else if (saved.length) leaks.register(this, memory);
  }
  release(): void {
    this.#saved = null;
    releaseAll(this.#memory);
  }
  /** The saved tensors, if nobody has written to them since; they belong to the caller's scope. */
  take(): readonly Tensor[] {
    if (!this.#saved)
      throw new GraphError(
        `backward: the graph of ${this.op} was freed, by an earlier backward() or by the end of its scope. Run the forward pass again; call backward() inside the scope.`,
      );
    this.#saved.forEach((t, i) => {
      if (t.storage.version !== this.#memory[i]?.version)
        throw new GraphError(
          `backward: a tensor ${show(t.shape)} that ${this.op} saved was written since (an optimizer step between forward and backward?). Run backward before writing.`,
        );
    });
    const saved = this.#saved.map((t) => t.alias());
    this.release();
    return saved;
  }
  takeGrads(): (Tensor | undefined)[] {
    const grads = [...this.grads];
    this.grads.fill(undefined);
    return grads;
  }
  eachSource(visit: (source: Node) => void): void {
    for (const { source } of this.edges) if (source) visit(source);
  }
}

/** Sees what goes on the tape and what comes back: summaries and the search for NaN. */
export interface TapeWatcher {
  recorded?(node: TapeNode, saved: readonly Tensor[]): void;
  /** Around the node's backward rule. */
  entering?(node: TapeNode): void;
  left?(node: TapeNode): void;
}
let watcher: TapeWatcher | null = null;

/** Makes `w` the watcher of this thread's tape (null: none); returns the one before. */
export function watchTape(w: TapeWatcher | null): TapeWatcher | null {
  const before = watcher;
  watcher = w;
  return before;
}

const wanted = (inputs: readonly Tensor[]): boolean => {
  for (let i = 0; i < inputs.length; i++) if ((inputs[i] as Tensor).tracked) return true;
  return false;
};

/** Is anything recorded for these inputs now? */
export const records = (inputs: readonly Tensor[]): boolean => wanted(inputs) && current().grad;

/**
 * Puts a call on the tape: `outputs` become results of `op`. The memory of `saved` stays until backward has used it.
 * Does nothing where no input wants a gradient or gradients are off.
 * @param nested whether `vjp` walks a tape of its own
 */
export function record(
  op: string,
  inputs: readonly Tensor[],
  outputs: readonly Tensor[],
  saved: readonly Tensor[],
  vjp: Vjp,
  nested = false,
): void {
  if (!wanted(inputs)) return;
  const { grad, scope } = current();
  if (!grad) return;
  const node = new Node(op, inputs, outputs.length, saved, vjp, scope, nested);
  for (let i = 0; i < outputs.length; i++) {
    const t = outputs[i] as Tensor;
    t.node = node;
    t.output = i;
  }
  if (watcher !== null) watcher.recorded?.(node, saved);
}

// Sums of gradients and conversions to a leaf's dtype are ops, and this room knows none: lib/ops/define.ts provides them.
interface Arithmetic {
  /** a + b, written over `into` where given. */
  add(a: Tensor, b: Tensor, into?: Tensor): Tensor;
  /** A tensor of its own, of the dtype and layout of `like`. */
  copy(a: Tensor, like: Tensor): Tensor;
  ones(like: Tensor): Tensor;
}
let arithmetic: Arithmetic;
export function setArithmetic(a: Arithmetic): void {
  arithmetic = a;
}

/** Called with every leaf that receives a gradient; the Stepper uses it to find gradients that nobody owns. */
export type LeafObserver = (leaf: Tensor) => void;

/** Who waits for whole gradients of these leaves. */
export interface Settled {
  readonly leaves: readonly Tensor[];
  /** The walk will not touch this leaf's gradient again; there may be none. Of leaves with hooks it is never said. */
  ready(leaf: Tensor): void;
}

/** Follows how often the nodes that are still to come use each leaf: a leaf that none will use has its whole gradient. */
class Settling {
  readonly #uses = new Map<Tensor, number>();
  readonly #settled: Settled;
  #nested = 0;
  #waiting: Tensor[];

  constructor(nodes: readonly Node[], settled: Settled) {
    this.#settled = settled;
    for (const { edges, nested } of nodes) {
      this.#nested += +nested;
      for (const { leaf } of edges) if (leaf) this.#uses.set(leaf, (this.#uses.get(leaf) ?? 0) + 1);
    }
    this.#waiting = settled.leaves.filter((leaf) => !this.#uses.has(leaf) && !leafHooks(leaf));
  }

  passed({ edges, nested }: Node): void {
    this.#nested -= +nested;
    for (const { leaf } of edges) {
      if (!leaf) continue;
      const uses = (this.#uses.get(leaf) as number) - 1;
      this.#uses.set(leaf, uses);
      if (uses === 0 && !leafHooks(leaf)) this.#waiting.push(leaf);
    }
    if (this.#nested > 0 || this.#waiting.length === 0) return;
    for (const leaf of this.#waiting) this.#settled.ready(leaf);
    this.#waiting = [];
  }
}

/** Reachable nodes, latest first: a node's outputs were all used by later ones. */
function order(from: Node): Node[] {
  const pass = ++passes;
  const found: Node[] = [];
  const pending = [from];
  from.pass = pass;
  for (let node = pending.pop(); node; node = pending.pop()) {
    found.push(node);
    for (const { source } of node.edges) {
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

/** A leaf's gradient outlives the walk: outside every scope, off the tape, of the leaf's dtype and layout, in memory that nothing else sees. */
function deposit(leaf: Tensor, grad: Tensor, walk: ScopeRecord): void {
  let own = accumulate(leaf.grad, grad);
  if (!exclusive(own) || own.dtype !== leaf.dtype || own.format !== leaf.format) {
    const copy = arithmetic.copy(own, leaf);
    own.dispose();
    own = copy;
  }
  own.storage.version++;
  leaf.grad = own.escape(walk.tensors);
}

/** Takes a tensor out of the walk's care: it is now a pending gradient's, disposed by the node that consumes it. */
function pend(t: Tensor, walk: ScopeRecord): Tensor {
  walk.tensors.delete(t);
  return t;
}

function sweep(walk: ScopeRecord): void {
  for (const t of walk.tensors) t.dispose();
  walk.tensors.clear();
}

/** One walk: what is made in it, and the gradients of leaves with hooks, which wait for its end. */
interface Walk extends ScopeRecord {
  readonly leaves: Map<Tensor, Tensor>;
}

/** What a rule may ask for. */
function helper(node: Node, walk: Walk, observe: LeafObserver | undefined): Backward {
  const needs = (i: number) => {
    const edge = node.edges[i];
    return edge !== undefined && (edge.source !== null || edge.leaf !== null);
  };
  const take: Backward['take'] = (i, like) => {
    const { source, leaf, output } = node.edges[i] as Edge;
    const waits = leaf && leafHooks(leaf); // its gradient in this walk is not in `grad` yet
    const have = source ? source.grads[output] : waits ? walk.leaves.get(leaf) : leaf?.grad;
    if (!have || !exclusive(have)) return undefined;
    if (like && (have.dtype !== like.dtype || have.format !== like.format)) return undefined;
    if (source) source.grads[output] = undefined;
    else if (waits) walk.leaves.delete(leaf);
    else if (leaf) leaf.grad = null;
    walk.tensors.add(have);
    return have;
  };
  return { needs, take, observe: (leaf) => observe?.(leaf) };
}

/**
 * A rule's results as tensors that are the walk's to give away. One tensor for two inputs, or one that the rule found elsewhere (a constant), is
 * replaced by another over the same memory. All that the rule made and did not return is freed here, so that a gradient passed through
 * unchanged is nobody else's.
 */
function results(node: Node, walk: Walk, needs: (i: number) => boolean, found: ReturnType<Vjp>): (Tensor | null)[] {
  const given = node.edges.map(({ shape }, i) => {
    const grad = found[i];
    if (!grad || !needs(i)) return null;
    if (!sameShape(shape, grad.shape))
      throw new ShapeError(
        `backward of ${node.op}: the gradient of input ${i} has shape ${show(grad.shape)}, the input ${show(shape)}`,
      );
    return pend(walk.tensors.has(grad) ? grad : grad.alias(), walk);
  });
  sweep(walk);
  return given;
}

function step(node: Node, walk: Walk, observe: LeafObserver | undefined): void {
  const back = helper(node, walk, observe);
  const incoming = node.takeGrads();
  for (const t of incoming) if (t) walk.tensors.add(t);
  if (watcher !== null) watcher.entering?.(node);
  if (node.hooks !== null) for (const [i, list] of node.hooks) if (incoming[i]) incoming[i] = hooked(list.all, incoming[i], walk);
  const given = results(node, walk, back.needs, node.vjp(incoming, node.take(), back));
  if (watcher !== null) watcher.left?.(node);
  for (let i = 0; i < given.length; i++) {
    const grad = given[i];
    if (!grad) continue;
    const { source, leaf, output } = node.edges[i] as Edge;
    if (source) source.grads[output] = pend(accumulate(source.grads[output], grad), walk);
    else if (leaf && leafHooks(leaf)) walk.leaves.set(leaf, pend(accumulate(walk.leaves.get(leaf), grad), walk));
    else if (leaf) {
      deposit(leaf, grad, walk);
      observe?.(leaf);
    }
  }
}

/** Leaves with hooks get their gradients when the walk has summed them. */
function finishLeaves(walk: Walk, observe: LeafObserver | undefined): void {
  for (const [leaf, grad] of walk.leaves) {
    walk.leaves.delete(leaf);
    walk.tensors.add(grad);
    deposit(leaf, pend(hooked(leafHooks(leaf) ?? [], grad, walk), walk), walk);
    sweep(walk);
    observe?.(leaf);
  }
}

/**
 * Walks the tape from `root` and adds the gradients to the leaves' `grad`. Saved tensors are freed as they are used.
 * @param seed the gradient of `root`, of its shape; default 1, for a root of one element
 * @param settled hears of leaves whose gradient is whole, as soon as that is known
 * @throws GraphError where nothing was recorded, or where it was freed
 */
export function backward(root: Tensor, seed?: Tensor, observe?: LeafObserver, settled?: Settled): void {
  const node = root.node as Node | null;
  if (!node)
    throw new GraphError(
      `backward: ${root} was not computed from anything that requires a gradient. Was it made under noGrad(), or from tensors without requiresGrad?`,
    );
  if (seed !== undefined && !((seed as unknown) instanceof Tensor))
    throw new DTypeError(`backward: the seed must be a Tensor of shape ${show(root.shape)}, got ${describe(seed)}`);
  if (!seed && root.size !== 1)
    throw new ShapeError(
      `backward: ${show(root.shape)} is not a scalar. Reduce it first (.sum(), .mean()), or pass the gradient of its shape.`,
    );
  if (seed && !sameShape(seed.shape, root.shape))
    throw new ShapeError(`backward: the seed has shape ${show(seed.shape)}, the tensor ${show(root.shape)}`);
  walkFrom(root, seed ? seed.alias() : undefined, observe, settled);
}

/** The walk alone. `seed`, 1 where there is none, is given over: rules may write over it. */
export function walkFrom(root: Tensor, seed?: Tensor, observe?: LeafObserver, settled?: Settled): void {
  const node = root.node as Node;
  // What a rule makes and does not return is freed as soon as the rule is done.
  const walk: Walk = { tensors: new Set(), nodes: new Set(), leaves: new Map() };
  const before = enter({ grad: false, scope: walk, precision: 'f32' });
  const nodes = order(node);
  const settling = settled && new Settling(nodes, settled);
  try {
    node.grads[root.output] = pend(seed ?? arithmetic.ones(root), walk);
    for (const n of nodes) {
      if (n.grads.some((g) => g !== undefined)) step(n, walk, observe);
      else n.release();
      sweep(walk);
      settling?.passed(n);
    }
    finishLeaves(walk, observe);
  } finally {
    restore(before);
    sweep(walk);
    for (const g of walk.leaves.values()) g.dispose();
    for (const n of nodes) for (const g of n.takeGrads()) g?.dispose();
  }
}
