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
  // A float with its mantissa's highest bit turned: 1 becomes 1.5. Which NaN it is, makes no difference.
  (text) =>
    /0f(?!00000000|7FFFFFFF)[0-9A-F]{8}/.test(text) && !/^(mov|setp)/.test(text)
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

/**
 * Lines that are not the author's, or where a fault changes no result, whatever the data:
 *
 *  * A 64-bit division of the compiler's: where both operands fit into 32 bits it divides those, else all 64, with the same quotient.
 *  * Logarithm, power and hyperbolic tangent of NVIDIA's library: subnormal arguments are scaled up, log 0 is -infinity, and at the place where two
 *    approximations meet both are good. The library's numbers tell it: no source of ours has them.
 *  * A pointer, or an offset added to one, of which nothing is asked but whether it is null.
 *  * Which lane of a warp stores what all lanes have the same bits of: the sum, or the extreme, that the last step of a butterfly of shuffles gave.
 */
export function immune(lines: readonly string[], kernel: string): Set<number> {
  const [from, to] = bodyOf(lines, kernel);
  const found = new Set<number>();
  const users = new Map<string, number[]>();
  const text = (line: number) => (lines[line] as string).trim();
  for (let line = from + 1; line < to; line++)
    for (const r of new Set(registers(text(line)))) users.set(r, [...(users.get(r) ?? []), line]);
  /** The lines that read what `line` makes. */
  const readers = (line: number, made: string) => (users.get(made) ?? []).filter((user) => user !== line);
  for (let line = from + 1; line < to; line++) {
    const here = text(line);
    const high = /^and\.b64\s+(%rd\d+), %rd\d+, -4294967296;/.exec(here)?.[1];
    if (high)
      for (const compare of readers(line, high)) {
        found.add(compare);
        for (const branch of readers(compare, registers(text(compare))[0] as string)) found.add(branch);
      }
    if (libraryNumber.test(here)) found.add(line);
    const scaled = /^setp\.lt\.f32\s+(%p\d+), %f\d+, 0f00800000;/.exec(here)?.[1];
    for (const choice of scaled ? readers(line, scaled) : []) found.add(choice);
    const zero = /^setp\.eq\.f32\s+(%p\d+), %f\d+, 0f00000000;/.exec(here)?.[1];
    for (const choice of zero ? readers(line, zero) : []) if (/^selp\.f32.*, 0fFF800000, /.test(text(choice))) found.add(choice);
  }
  const onlyForNull = (made: string, line: number, depth = 0): boolean =>
    readers(line, made).length > 0 &&
    readers(line, made).every((user) => {
      const what = text(user);
      if (/^setp\.(eq|ne)\.s64\s+%p\d+, %rd\d+, 0;/.test(what)) return true;
      const next = /^(?:add\.s64|mov\.u64|cvta\.\S+)\s+(%rd\d+),/.exec(what)?.[1];
      // Made anew elsewhere: `mov 0` on the path where there is none.
      if (next === made) return /, 0;$/.test(what);
      return next !== undefined && depth < 8 && onlyForNull(next, user, depth + 1);
    });
  for (const line of anyLaneStores(lines, from, to)) found.add(line);
  for (let line = from + 1; line < to; line++) {
    const made = /^(?:add|shl|mul\.lo)\.[sb]64\s+(%rd\d+),/.exec(text(line))?.[1];
    if (made && onlyForNull(made, line)) found.add(line);
  }
  return found;
}
/** The comparison of a lane's number with 0 and the branch on it, around stores of a butterfly's result and nothing else. */
function anyLaneStores(lines: readonly string[], from: number, to: number): number[] {
  const text = lines.slice(from, to).map((l) => l.trim());
  const makerOf = (register: string, before: number) =>
    text.findLastIndex((l, i) => i < before && new RegExp(`^[a-z][\\w.]*\\s+\\{?${register}[,|}]`).test(l));
  const ofButterfly = (register: string, before: number): boolean => {
    const maker = makerOf(register, before);
    if (!/^(add|max|min)\./.test(text[maker] ?? '')) return false;
    return registers(text[maker] as string)
      .slice(1)
      .some((operand) => {
        const moved = text[makerOf(operand, maker)] ?? '';
        const source = /^mov\.\w+\s+%\w+, (%r\d+);/.exec(moved)?.[1];
        return new RegExp(`^shfl\\.sync\\.bfly\\.b32\\s+${source ?? operand}\\|%p\\d+, %r\\d+, %r\\d+, `).test(
          text[makerOf(source ?? operand, maker)] ?? '',
        );
      });
  };
  return text.flatMap((l, i) => {
    const [, p, lane] = /^setp\.ne\.s32\s+(%p\d+), (%r\d+), 0;/.exec(l) ?? [];
    if (!p || !/^and\.b32\s+%r\d+, %r\d+, 31;/.test(text[makerOf(lane as string, i)] ?? '')) return [];
    const branch = text.findIndex((b, k) => k > i && k < i + 4 && b.startsWith(`@${p} bra`));
    if (branch < 0) return [];
    const label = /bra\s+(\S+);/.exec(text[branch] as string)?.[1];
    const end = text.findIndex((b, k) => k > branch && b === `${label}:`);
    const body = text.slice(branch + 1, end);
    const stores = body.filter((b) => /^st\./.test(b));
    const stored = stores.map((b) => /, (%\w+);$/.exec(b)?.[1]);
    if (end < 0 || !stores.length || body.some((b) => /^(@|bra|bar|atom|red|call|\$)/.test(b))) return [];
    return stored.every((r) => r && ofButterfly(r, branch)) ? [from + i, from + branch] : [];
  });
}

/**
 * 2^-126 and the powers of two that subnormal numbers are scaled by, and what their logarithms are then corrected by; 0.6 and 9.01, between which tanh
 * is of exponentials; 152, beyond which a power of two overflows.
 */
const libraryNumber = /\b0f(00800000|4B000000|4B800000|C1B80000|C1C00000|3F19999A|41102CB4|43180000)\b/;

/**
 * Comparisons in which equality gives the same either way: `first < n ? ceil((n - first) / step) : 0` and `first < n ? n - first : 0` are 0
 * where first is n; of two equal numbers either is the lesser one, the sign of 0 apart, also
 * where NaN is asked for first.
 */
function sameWhereEqual(lines: readonly string[], line: number): boolean {
  const compared = /^setp\.(?:lt|le|gt|ge)\.\w+\s+(%p\d+), (%\w+), (%\w+);/.exec(lines[line]?.trim() ?? '');
  if (compared) {
    const [, p, a, b] = compared;
    const taken = new RegExp(`^selp\\.\\w+\\s+%\\w+, (${a}, ${b}|${b}, ${a}), ${p};`);
    const uses = lines.slice(line + 1, line + 40).filter((l) => new RegExp(`${p}\\b`).test(l));
    if (uses.length === 1 && taken.test((uses[0] as string).trim())) return true;
    // The larger one, or NaN before all: which of the two is taken is asked once, and no place is kept beside it.
    const either = new RegExp(`^or\\.pred\\s+(%p\\d+), (?:%p\\d+, ${p}|${p}, %p\\d+);`).exec((uses[0] ?? '').trim())?.[1];
    const then = either
      ? lines
          .slice(line + 1, line + 40)
          .filter((l) => new RegExp(`${either}\\b`).test(l))
          .slice(1)
      : [];
    const oneOf = new RegExp(`^selp\\.\\w+\\s+%\\w+, (${a}, ${b}|${b}, ${a}), ${either};`);
    if (uses.length === 1 && then.length === 1 && oneOf.test((then[0] as string).trim())) return true;
  }
  const [, p, a, b] = /^setp\.(?:lt|ge)\.s64\s+(%p\d+), (%rd\d+), (%rd\d+);/.exec(lines[line]?.trim() ?? '') ?? [];
  if (!p) return false;
  const next = lines
    .slice(line + 1, line + 12)
    .map((l) => l.trim())
    .filter((l) => l && !/^(\.|\/\/|\$)/.test(l));
  const left = /^sub\.s64\s+(%rd\d+), (%rd\d+), (%rd\d+);/;
  const [, difference, whole, taken] = next.map((l) => left.exec(l)).find((m) => m) ?? [];
  if (!difference || taken !== a) return false;
  if (whole === b) return next.some((l) => new RegExp(`^selp\\.b64\\s+%rd\\d+, ${difference}, 0, ${p};`).test(l));
  // n + step - 1 - first
  const less = next.find((l) => new RegExp(`^add\\.s64\\s+${whole}, %rd\\d+, -1;`).test(l));
  const sum = less && registers(less)[1];
  return next.some((l) => new RegExp(`^add\\.s64\\s+${sum}, ${b}, %rd\\d+;`).test(l));
}

/** Everything that can be done to one kernel. */
export function mutationsOf(lines: readonly string[], kernel: string): Mutation[] {
  const [from, to] = bodyOf(lines, kernel);
  const found: Mutation[] = [];
  const spared = immune(lines, kernel);
  for (let line = from + 1; line < to; line++) {
    const text = (lines[line] as string).trim();
    if (!text || /^(\.|\/\/|\$|[{})])/.test(text) || spared.has(line)) continue;
    const name = (/^(?:@!?%p\d+\s+)?([a-z][\w.:]*)/.exec(text)?.[1] ?? '').trim();
    for (const rule of rules)
      for (const [kind, changed] of rule(text, name))
        if (changed !== text && !(kind === 'guard' && sameWhereEqual(lines, line)))
          found.push({ class: kind, line, to: changed });
  }
  return found;
}
