/** Single faults that a kernel's author makes, put into PTX one at a time: each alters, swaps or drops one instruction. */

export type FaultClass =
  | 'barrier'
  | 'wait'
  | 'guard'
  | 'address'
  | 'constant'
  | 'fragment'
  | 'arithmetic'
  | 'store'
  | 'shuffle'
  | 'select';

export interface Mutation {
  class: FaultClass;
  /** Of the PTX file, from 0. */
  line: number;
  to: string;
}

/** The lines of a kernel's body, [from, to). */
export function bodyOf(lines: readonly string[], kernel: string): [number, number] {
  const from = lines.findIndex((line) => line.includes('.entry ') && line.includes(` ${kernel}(`));
  if (from < 0) throw new Error(`no kernel ${kernel}`);
  const to = lines.findIndex((line, i) => i > from && line.startsWith('}'));
  return [from, to];
}

const registers = (text: string): string[] => text.match(/%[a-z]+\d+/g) ?? [];

/**
 * Lines of a kernel, from 0, that the suite executes and on which something it executes depends: a store, a branch, a barrier. An address that
 * is made for a path which is not taken is none of them.
 */
export function effective(lines: readonly string[], kernel: string, reached: ReadonlySet<number>): Set<number> {
  const [from, to] = bodyOf(lines, kernel);
  const makers = new Map<string, number[]>();
  const needs = new Map<number, string[]>();
  const found = new Set<number>();
  for (let line = from + 1; line < to; line++) {
    if (!reached.has(line + 1)) continue;
    const text = (lines[line] as string).trim().replace(/^\{\s*(?=\S)/, ''); // of inline assembly
    const [, guard = '', name = '', rest = ''] = /^(@!?%p\d+\s+)?([a-z][\w.:]*)\s*(.*)$/.exec(text) ?? [];
    const made = /^(st|red|atom|bar|barrier|bra|ret|exit|cp|membar|fence|trap)\b/.test(name)
      ? ''
      : (/^(\{[^}]*\}|[^,]*)/.exec(rest)?.[1] ?? '');
    needs.set(line, registers(guard + rest.slice(made.length)));
    for (const r of registers(made)) makers.set(r, [...(makers.get(r) ?? []), line]);
    if (!made) found.add(line);
  }
  const pending = [...found];
  for (let line = pending.pop(); line !== undefined; line = pending.pop())
    for (const r of needs.get(line) ?? [])
      for (const maker of makers.get(r) ?? [])
        if (!found.has(maker)) {
          found.add(maker);
          pending.push(maker);
        }
  return found;
}

const swaps = (text: string, a: string, b: string): string => text.replace(a, '\0').replace(b, a).replace('\0', b);
const comparison: { readonly [from: string]: string } = {
  lt: 'le',
  le: 'lt',
  gt: 'ge',
  ge: 'gt',
  eq: 'ne',
  ne: 'eq',
  lo: 'ls',
  ls: 'lo',
  hi: 'hs',
  hs: 'hi',
};

type Rule = (instruction: string, name: string) => [FaultClass, string][];
const rules: Rule[] = [
  (text, name) => (/^(bar|barrier)\./.test(name) ? [['barrier', `// ${text}`]] : []),
  (text, name) => (/^cp\.async\.wait/.test(name) ? [['wait', text.replace(/ (\d+);/, (_, n) => ` ${Number(n) + 1};`)]] : []),
  (text, name) => {
    const compared = /^setp\.(\w+)\./.exec(name)?.[1];
    const other = compared && comparison[compared];
    return other ? [['guard', text.replace(`setp.${compared}.`, `setp.${other}.`)]] : [];
  },
  (text) =>
    /^@!?%p\d+/.test(text) ? [['guard', text.startsWith('@!') ? text.replace('@!', '@') : text.replace('@', '@!')]] : [],
  (text, name) => {
    if (/^(ld|st)\.(global|shared)|^ldmatrix/.test(name) && /\[%\w+(\+\d+)?\]/.test(text))
      return [['address', text.replace(/\[(%\w+)(?:\+(\d+))?\]/, (_, r, n) => `[${r}+${Number(n ?? 0) + 16}]`)]];
    const constant = Number(/ (-?\d+);/.exec(text)?.[1] ?? Infinity);
    // Larger ones are bits of floats: how a logarithm splits its argument.
    if (/^(add|mad|shl|mul)\.(\w+\.)?[sub](32|64)/.test(name) && Math.abs(constant) < 2 ** 20)
      return [['address', text.replace(/ (-?\d+);/, (_, n) => ` ${Number(n) + 1};`)]];
    return [];
  },
  // A float with its mantissa's highest bit turned: 1 becomes 1.5.
  (text) =>
    /0f(?!00000000)[0-9A-F]{8}/.test(text) && !/^(mov|setp)/.test(text)
      ? [
          [
            'constant',
            text.replace(
              /0f([0-9A-F]{8})/,
              (_, hex) => `0f${((Number.parseInt(hex, 16) ^ 0x400000) >>> 0).toString(16).toUpperCase().padStart(8, '0')}`,
            ),
          ],
        ]
      : [],
  (text, name) => {
    if (!/^(mma|ldmatrix)\./.test(name)) return [];
    const lists = [...text.matchAll(/\{([^}]*)\}/g)].map((m) => m[1] as string);
    const list = lists[name.startsWith('mma') ? 1 : 0] ?? '';
    const [a, b] = list.split(',').map((r) => r.trim());
    return a && b ? [['fragment', text.replace(`{${list}}`, `{${swaps(list, a, b)}}`)]] : [];
  },
  (text, name) => {
    const changed = {
      'add.f32': 'sub.f32',
      'sub.f32': 'add.f32',
      'max.f32': 'min.f32',
      'mul.f32': 'add.f32',
      'add.rn': 'sub.rn',
    } as const;
    const from = Object.keys(changed).find((op) => name.startsWith(op)) as keyof typeof changed | undefined;
    const nothing = text.endsWith(' 0f00000000;') && !name.startsWith('mul'); // x - 0 is x + 0
    return from && !nothing ? [['arithmetic', text.replace(from, changed[from])]] : [];
  },
  (text, name) => (/^(st\.global|st\.shared|red\.|atom\.)/.test(name) && !text.startsWith('@') ? [['store', `// ${text}`]] : []),
  (text, name) =>
    /^shfl\./.test(name)
      ? [
          [
            'shuffle',
            text.replace(/, (\d+), (\d+), (-?\d+);/, (_, o, c, m) => `, ${Number(o) === 1 ? 2 : Number(o) >> 1}, ${c}, ${m};`),
          ],
        ]
      : [],
  (text, name) => (/^selp\./.test(name) ? [['select', text.replace(/ (\S+), (\S+), (%p\d+);$/, ' $2, $1, $3;')]] : []),
];

/** Everything that can be done to one kernel. */
export function mutationsOf(lines: readonly string[], kernel: string): Mutation[] {
  const [from, to] = bodyOf(lines, kernel);
  const found: Mutation[] = [];
  for (let line = from + 1; line < to; line++) {
    const text = (lines[line] as string).trim();
    if (!text || /^(\.|\/\/|\$|[{})])/.test(text)) continue;
    const name = (/^(?:@!?%p\d+\s+)?([a-z][\w.:]*)/.exec(text)?.[1] ?? '').trim();
    for (const rule of rules)
      for (const [kind, changed] of rule(text, name)) if (changed !== text) found.push({ class: kind, line, to: changed });
  }
  return found;
}
