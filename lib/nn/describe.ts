// A module as text: PyTorch's indented tree, options in words.
import { Parameter, Tensor } from '../tensor/tensor.ts';
import type { Module } from './module.ts';

const isPlain = (v: unknown): v is number | string | readonly number[] =>
  typeof v === 'number' || typeof v === 'string' || (Array.isArray(v) && v.every((n) => typeof n === 'number'));

function* fields(owner: object): Iterable<string> {
  for (const [name, v] of Object.entries(owner)) {
    if (name === 'training' || name === 'path') continue;
    if (isPlain(v)) yield `${name} ${Array.isArray(v) ? `[${v.join(', ')}]` : v}`;
    else if (v === true) yield name;
    else if (v instanceof Tensor) yield `${name} [${v.shape.join(', ')}]`;
    else if (name === 'options' && v !== null && typeof v === 'object') yield* fields(v);
  }
}

/** A module's own fields in words: 'p 0.5', 'normalizedShape [64], eps 0.00001, weight [64], bias [64]'. */
export const options = (module: Module): string => [...fields(module)].join(', ');

const frozen = (module: Module): boolean => {
  const own = [...module.entries()].flatMap(([, m]) => (m instanceof Parameter ? [m] : []));
  return own.length > 0 && own.every((p) => p.frozen);
};

interface Child {
  name: string;
  text: string;
}

/** '(layers.0-3): 4 x Block(...)' for equal neighbours of one list. */
function folded(children: readonly Child[]): string[] {
  const lines: string[] = [];
  const number = (name: string) => /^(.*?)(\d+)$/.exec(name);
  for (let i = 0; i < children.length; ) {
    const { name, text } = children[i] as Child;
    const [, stem, first] = number(name) ?? [];
    let n = 1;
    if (first !== undefined)
      while (children[i + n]?.text === text && children[i + n]?.name === `${stem}${Number(first) + n}`) n++;
    lines.push(n > 1 ? `(${stem}${first}-${Number(first) + n - 1}): ${n} x ${text}` : `(${name}): ${text}`);
    i += n;
  }
  return lines;
}

export function drawTree(module: Module, above: readonly Module[] = []): string {
  if (above.includes(module)) return `${module.constructor.name}(...)`;
  const children: Child[] = [];
  for (const [name, member] of module.entries())
    if (!(member instanceof Tensor)) children.push({ name, text: drawTree(member, [...above, module]) });
  const extra = [module.extraRepr(), frozen(module) ? 'frozen' : ''].filter((t) => t !== '').join(', ');
  const { name } = module.constructor;
  if (children.length === 0) return `${name}(${extra})`;
  const lines = [...(extra ? [extra] : []), ...folded(children)];
  return `${name}(\n${lines.map((line) => `  ${line.replaceAll('\n', '\n  ')}`).join('\n')}\n)`;
}
