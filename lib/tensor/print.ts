// Numbers of a tensor as text, laid out as PyTorch's torch/_tensor_str.py lays them out: 4 digits, 80 columns, head and tail of what is large.
import type { DType } from './dtype.ts';
import { isFloat } from './dtype.ts';
import { type Shape, sizeOf } from './shape.ts';

const DIGITS = 4;
/** Of more elements only the first and last EDGE along each dimension are shown. */
export const THRESHOLD = 1000;
export const EDGE = 3;
const COLUMNS = 80;

/** Indices along a dimension that are shown; null stands for those left out. */
function shown(n: number, short: boolean): (number | null)[] {
  if (!short || n <= 2 * EDGE) return Array.from({ length: n }, (_, i) => i);
  return [0, 1, 2, null, n - 3, n - 2, n - 1];
}

const scientific = (v: number): string => v.toExponential(DIGITS).replace(/e([+-])(\d)$/, 'e$10$2');
const special = (v: number): string => (Number.isNaN(v) ? 'nan' : v > 0 ? 'inf' : '-inf');

/** One way of writing for all numbers: whole ones as '3.', others with four digits, by powers of ten where they differ too much. */
function writerOf(values: readonly number[], dtype: DType): (v: number) => string {
  if (dtype === 'bool') return (v) => (v ? 'true' : 'false');
  if (!isFloat(dtype)) return String;
  const sizes = values.filter((v) => Number.isFinite(v) && v !== 0).map(Math.abs);
  const [low, high] = [sizes.reduce((a, b) => Math.min(a, b), Infinity), sizes.reduce((a, b) => Math.max(a, b), 0)];
  const whole = sizes.every(Number.isInteger);
  const powers = sizes.length > 0 && (high / low > 1000 || high > 1e8 || (!whole && low < 1e-4));
  const write = powers ? scientific : whole ? (v: number) => `${v.toFixed(0)}.` : (v: number) => v.toFixed(DIGITS);
  const sign = (v: number) => (Object.is(v, -0) ? '-' : '');
  return (v) => (Number.isFinite(v) ? sign(v) + write(v) : special(v));
}

/**
 * The elements as nested brackets.
 * @param element by row-major index; asked only for what is shown
 * @param indent columns that stand before the first bracket
 */
export function renderElements(shape: Shape, dtype: DType, element: (index: number) => number, indent: number): string {
  if (sizeOf(shape) === 0) return '[]';
  const short = sizeOf(shape) > THRESHOLD;
  const values: number[] = [];
  const visit = (d: number, at: number): void => {
    if (d === shape.length) values.push(element(at));
    else for (const i of shown(shape[d] as number, short)) if (i !== null) visit(d + 1, at * (shape[d] as number) + i);
  };
  visit(0, 0);
  const write = writerOf(values, dtype);
  const width = values.reduce((w, v) => Math.max(w, Number.isFinite(v) ? write(v).length : 0), 1);
  const cell = (at: number) => write(element(at)).padStart(width);
  if (shape.length === 0) return cell(0).trimStart();

  const row = (at: number, n: number, column: number): string => {
    const perLine = Math.max(1, Math.floor((COLUMNS - column) / (width + 2)));
    const cells = shown(n, short).map((i) => (i === null ? ' ...' : cell(at * n + i)));
    const lines: string[] = [];
    for (let i = 0; i < cells.length; i += perLine) lines.push(cells.slice(i, i + perLine).join(', '));
    return `[${lines.join(`,\n${' '.repeat(column + 1)}`)}]`;
  };
  const block = (d: number, at: number, column: number): string => {
    const n = shape[d] as number;
    if (d === shape.length - 1) return row(at, n, column);
    const parts = shown(n, short).map((i) => (i === null ? '...' : block(d + 1, at * n + i, column + 1)));
    return `[${parts.join(`,${'\n'.repeat(shape.length - 1 - d)}${' '.repeat(column + 1)}`)}]`;
  };
  return block(0, 0, indent);
}
