import { ConfigError, checkText, describe, ShapeError } from '../native/errors.ts';
import { type Shape, show, sizeOf } from '../tensor/shape.ts';
import type { Tensor } from '../tensor/tensor.ts';
import { mul } from './binary.ts';
import { checkDevice, checkTensor } from './define.ts';
import { permute } from './index.ts';
import { at } from './indexing.ts';
import { matmul } from './matmul.ts';
import { sum } from './reduce.ts';
import { reshape } from './view.ts';

// A label is a letter, or '.0', '.1', ... for a dimension of '...', counted from the back.

/** A tensor and what its dimensions are called. */
interface Term {
  t: Tensor;
  labels: string[];
}

function parse(equation: string, ranks: readonly number[]): { inputs: string[][]; output: string[] } {
  const fail = (why: string): never => {
    throw new ConfigError(`einsum: '${equation}': ${why}`);
  };
  const text = equation.replaceAll(' ', '');
  const [left, right, ...more] = text.split('->') as [string, string?, ...string[]];
  if (more.length || !/^[a-zA-Z.,]*$/.test(left) || !/^[a-zA-Z.]*$/.test(right ?? ''))
    fail("an equation is letters for dimensions, ',' between operands, '->' before the result, such as 'ij,jk->ik'");
  const terms = left.split(',');
  if (terms.length !== ranks.length) fail(`it names ${terms.length} operands, got ${ranks.length}`);
  let widest = 0;
  const expand = (term: string, dots: number) => {
    const parts = term.split('...');
    if (parts.length > 2 || parts.some((p) => p.includes('.'))) fail("'...' may stand once in an operand, and no other dots");
    const names = Array.from({ length: parts.length === 2 ? dots : 0 }, (_, i) => `.${dots - 1 - i}`);
    return [...(parts[0] as string), ...names, ...(parts[1] ?? '')];
  };
  const inputs = terms.map((term, i) => {
    const rank = ranks[i] as number;
    const letters = term.replaceAll('.', '').length;
    const dots = rank - letters;
    if (term.includes('...') ? dots < 0 : dots !== 0) fail(`'${term}' names ${letters} dimensions, operand ${i} has ${rank}`);
    if (term.includes('...')) widest = Math.max(widest, dots);
    return expand(term, dots);
  });
  const all = inputs.flat();
  if (right === undefined) {
    // what stands once, in the alphabet's order, behind the dimensions of '...'
    const once = [...new Set(all)].filter((l) => !l.startsWith('.') && all.indexOf(l) === all.lastIndexOf(l)).sort();
    return { inputs, output: [...expand('...', widest), ...once] };
  }
  const output = expand(right, widest);
  const strange = output.find((l) => !all.includes(l));
  if (strange !== undefined) fail(`'${strange}' of the result stands in no operand`);
  if (new Set(output).size !== output.length) fail('a dimension stands twice in the result');
  return { inputs, output };
}

/** The size of every label; dimensions of 1 repeat under '...' alone. */
function sizesOf(equation: string, terms: readonly Term[]): Map<string, number> {
  const sizes = new Map<string, number>();
  for (const { t, labels } of terms)
    labels.forEach((label, i) => {
      const [have, d] = [sizes.get(label), t.shape[i] as number];
      const repeats = label.startsWith('.') && (have === 1 || d === 1);
      if (have !== undefined && have !== d && !repeats)
        throw new ShapeError(
          `einsum: '${equation}': ${label.startsWith('.') ? "'...'" : `'${label}'`} is ${have} in one place and ${d} in ${show(t.shape)}`,
        );
      if (have === undefined || have === 1) sizes.set(label, d);
    });
  return sizes;
}

/** Labels that stand twice in an operand name its diagonal. */
function diagonals(term: Term): Term {
  let { t, labels } = term;
  for (let i = 0; i < labels.length; i++) {
    const j = labels.indexOf(labels[i] as string, i + 1);
    if (j < 0) continue;
    const rest = labels.map((_, k) => k).filter((k) => k !== i && k !== j);
    const n = t.shape[i] as number;
    const places = Array.from({ length: n }, (_, k) => k);
    t = n ? at(permute(t, [i, j, ...rest]), places, places) : reshape(t, [0, ...rest.map((k) => t.shape[k] as number)]);
    labels = [labels[i] as string, ...rest.map((k) => labels[k] as string)];
    i = -1;
  }
  return { t, labels };
}

/** Without the dimensions that `gone` names: those that are summed, and those of 1 that would repeat. */
function dropped({ t, labels }: Term, gone: (label: string, i: number) => boolean): Term {
  const axis = labels.flatMap((l, i) => (gone(l, i) ? [i] : []));
  return axis.length ? { t: sum(t, { axis }), labels: labels.filter((l, i) => !gone(l, i)) } : { t, labels };
}

/** Dimensions in the order of `labels`, and seen as `shape`. */
function ordered(term: Term, labels: readonly string[], shape: Shape): Tensor {
  const axes = labels.map((l) => term.labels.indexOf(l));
  return reshape(axes.every((a, i) => a === i) ? term.t : permute(term.t, axes), shape);
}

/** Two operands into one; `kept`: labels that are wanted later. */
function pair(a: Term, b: Term, kept: ReadonlySet<string>, sizes: ReadonlyMap<string, number>): Term {
  const shared = a.labels.filter((l) => b.labels.includes(l));
  const batch = shared.filter((l) => kept.has(l));
  const inner = shared.filter((l) => !kept.has(l));
  const rows = a.labels.filter((l) => !shared.includes(l));
  const columns = b.labels.filter((l) => !shared.includes(l));
  const of = (labels: readonly string[]) => sizeOf(labels.map((l) => sizes.get(l) as number));
  const [n, m, k, c] = [of(batch), of(rows), of(inner), of(columns)];
  const labels = [...batch, ...rows, ...columns];
  const shape = labels.map((l) => sizes.get(l) as number);
  if (inner.length === 0) {
    const product = mul(ordered(a, [...batch, ...rows], [n, m, 1]), ordered(b, [...batch, ...columns], [n, 1, c]));
    return { t: reshape(product, shape), labels };
  }
  // whichever way an operand lies, the product reads it as it is
  const lies = (t: Term, order: readonly string[]) => order.every((l, i) => t.labels[i] === l);
  const transposeA = lies(a, [...batch, ...inner, ...rows]);
  const transposeB = lies(b, [...batch, ...columns, ...inner]);
  const x = transposeA ? reshape(a.t, [n, k, m]) : ordered(a, [...batch, ...rows, ...inner], [n, m, k]);
  const y = transposeB ? reshape(b.t, [n, c, k]) : ordered(b, [...batch, ...inner, ...columns], [n, k, c]);
  return { t: reshape(matmul(x, y, { transposeA, transposeB }), shape), labels };
}

/**
 * Einstein's sums: `einsum('bij,bjk->bik', a, b)`. Letters name dimensions; those that the result does not name are summed; twice in an operand is its
 * diagonal; '...' stands for dimensions that broadcast; without '->' the result has what stands once, by the alphabet. Operands are taken from the left,
 * two at a time, sums over shared dimensions by matmul (whose precision policy holds).
 */
export function einsum(equation: string, ...tensors: Tensor[]): Tensor {
  checkText('einsum', 'the equation', equation);
  if (tensors.length === 0)
    throw new ConfigError(`einsum: '${equation}': give operands behind the equation, got ${describe(tensors)}`);
  tensors.forEach((t, i) => void checkTensor('einsum', t, `operand ${i}`));
  checkDevice('einsum', ...tensors);
  const { inputs, output } = parse(
    equation,
    tensors.map((t) => t.ndim),
  );
  const given = tensors.map((t, i) => ({ t, labels: inputs[i] as string[] }));
  const sizes = sizesOf(equation, given);
  const terms = given.map(diagonals).map((term) => dropped(term, (l, i) => term.t.shape[i] === 1 && sizes.get(l) !== 1));
  const later = (from: number) => new Set([...output, ...terms.slice(from).flatMap((t) => t.labels)]);
  const alone = (term: Term, i: number): Term => {
    const wanted = new Set([...output, ...terms.flatMap((t, k) => (k === i ? [] : t.labels))]);
    return dropped(term, (l) => !wanted.has(l));
  };
  const ready = terms.map(alone);
  let result = ready[0] as Term;
  ready.slice(1).forEach((next, i) => {
    const kept = later(i + 2);
    result = dropped(pair(result, next, kept, sizes), (l) => !kept.has(l));
  });
  const shape = output.map((l) => sizes.get(l) as number);
  // a dimension of '...' may be gone where it was 1 everywhere that it stood
  return ordered(result, output, shape);
}
