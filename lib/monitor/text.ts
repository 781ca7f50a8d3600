import { ConfigError, checkOptions, describe, ShapeError } from '../native/errors.ts';

const bars = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/** Throws ConfigError unless `value` is a number; NaN and infinities are shown as such. */
export function checkNumber(where: string, name: string, value: unknown): void {
  if (typeof value !== 'number') throw new ConfigError(`${where}: ${name} must be a number, got ${describe(value)}.`);
}

/**
 * The last `width` values as bars, scaled between their smallest and largest. More values than `width` are first averaged
 * in groups. NaN and infinities show as '×', never as a bar.
 */
export function sparkline(values: ArrayLike<number>, width: number): string {
  if (!Array.isArray(values) && !(ArrayBuffer.isView(values) && 'length' in values))
    throw new ConfigError(`sparkline: values must be a list of numbers, got ${describe(values)}.`);
  checkNumber('sparkline', 'width', width);
  const n = Math.min(values.length, Math.max(0, width));
  const groups = Array.from({ length: n }, (_, g) => {
    const [from, to] = [Math.floor((g * values.length) / n), Math.floor(((g + 1) * values.length) / n)];
    let total = 0;
    for (let i = from; i < to; i++) total += values[i] as number;
    return total / (to - from); // one NaN makes the whole group NaN
  });
  const finite = groups.filter(Number.isFinite);
  const low = Math.min(...finite);
  const span = Math.max(...finite) - low;
  return groups.map((v) => (Number.isFinite(v) ? bars[span > 0 ? Math.round(((v - low) / span) * 7) : 3] : '×')).join('');
}

/** Seconds as 45s, 3m05s, 2h07m, 3d04h; '?' for what is not a time. */
export function formatDuration(seconds: number): string {
  checkNumber('formatDuration', 'seconds', seconds);
  if (!Number.isFinite(seconds) || seconds < 0) return '?';
  const s = Math.round(seconds);
  const two = (v: number) => String(v).padStart(2, '0');
  if (s < 60) return `${s}s`;
  if (s < 3600) return `${Math.floor(s / 60)}m${two(s % 60)}s`;
  if (s < 86_400) return `${Math.floor(s / 3600)}h${two(Math.floor((s % 3600) / 60))}m`;
  return `${Math.floor(s / 86_400)}d${two(Math.floor((s % 86_400) / 3600))}h`;
}

/** A number in four digits: 0.0312, 3.142, 31.42, 3142, 3.14e-5, NaN. */
export function formatNumber(v: number): string {
  checkNumber('formatNumber', 'the value', v);
  const size = Math.abs(v);
  if (!Number.isFinite(v) || v === 0) return String(v);
  if (size < 1e-3 || size >= 1e6) return v.toExponential(2);
  return size >= 1000 ? v.toFixed(0) : v.toPrecision(4);
}

/** A rate with three digits: 7.25, 950, 12.3k, 4.50M. */
export function formatRate(v: number): string {
  checkNumber('formatRate', 'the value', v);
  if (!Number.isFinite(v)) return String(v);
  for (const [unit, size] of [
    ['G', 1e9],
    ['M', 1e6],
    ['k', 1e4],
  ] as const) {
    if (v >= size) return `${(v / (unit === 'k' ? 1e3 : size)).toPrecision(3)}${unit}`;
  }
  return v >= 100 ? v.toFixed(0) : v.toPrecision(3);
}

export interface TerminalImageOptions {
  /** Two shades a character by 256-colour escapes; without it a pixel is either on or off. Default false. */
  color?: boolean;
  /** Bright pixels are drawn dark, for a light terminal. Default false. */
  invert?: boolean;
}

/**
 * A grey picture of `w` x `h` pixels, row-major, as text of `w` columns and ceil(h / 2) lines: each character holds two
 * pixels, one above the other. Bytes are taken from 0 to 255; floats from their smallest to their largest, so that a
 * normalised image needs no undoing. A NaN pixel shows as '?' (in colour: red). Throws ShapeError when the sizes disagree.
 */
export function terminalImage(
  pixels: Uint8Array | Float32Array,
  w: number,
  h: number,
  options: TerminalImageOptions = {},
): string {
  checkOptions('terminalImage', options, ['color', 'invert']);
  if (!ArrayBuffer.isView(pixels))
    throw new ConfigError(`terminalImage: pixels must be a Uint8Array or Float32Array, got ${describe(pixels)}.`);
  if (!Number.isSafeInteger(w) || !Number.isSafeInteger(h) || w < 1 || h < 1 || pixels.length !== w * h) {
    throw new ShapeError(`terminalImage: ${pixels.length} pixels are no picture of ${describe(w)} x ${describe(h)}.`);
  }
  const finite = pixels instanceof Uint8Array ? [0, 255] : [...pixels].filter(Number.isFinite);
  const low = finite.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
  const span = finite.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY) - low || 1;
  /** 0 (dark) to 1 (bright); below the last line of an odd picture it is dark. */
  const shade = (x: number, y: number): number => {
    if (y >= h) return 0;
    const v = Math.max(0, Math.min(1, ((pixels[y * w + x] as number) - low) / span));
    return options.invert ? 1 - v : v;
  };
  const cell = options.color ? colorCell : plainCell;
  const lines: string[] = [];
  for (let y = 0; y < h; y += 2) {
    let line = '';
    for (let x = 0; x < w; x++) line += cell(shade(x, y), shade(x, y + 1));
    lines.push(options.color ? `${line}\x1b[0m` : line);
  }
  return lines.join('\n');
}

function plainCell(top: number, bottom: number): string {
  if (Number.isNaN(top) || Number.isNaN(bottom)) return '?';
  return (top >= 0.5 ? (bottom >= 0.5 ? '█' : '▀') : bottom >= 0.5 ? '▄' : ' ') as string;
}

/** 232 to 255 are the 24 greys of the 256-colour palette, 196 is red. */
function colorCell(top: number, bottom: number): string {
  const code = (v: number) => (Number.isNaN(v) ? 196 : 232 + Math.round(v * 23));
  return `\x1b[38;5;${code(top)};48;5;${code(bottom)}m▀`;
}

/** Bytes as 512 B, 3.0 KB, 14 MB, 2.1 GB: of 1024 each. */
export function formatBytes(bytes: number): string {
  let [v, unit] = [bytes, 0];
  while (v >= 1024 && unit < 4) {
    v /= 1024;
    unit++;
  }
  return `${unit === 0 || v >= 10 ? v.toFixed(0) : v.toFixed(1)} ${['B', 'KB', 'MB', 'GB', 'TB'][unit]}`;
}

/** A count as 950, 12.3 k, 4.56 M, 1.23 G: of 1000 each. */
export function formatCount(n: number): string {
  let [v, unit] = [n, 0];
  while (v >= 1000 && unit < 4) {
    v /= 1000;
    unit++;
  }
  return unit === 0 ? String(Math.round(v)) : `${v.toPrecision(3)} ${['', 'k', 'M', 'G', 'T'][unit]}`;
}

/** Columns of text, the first `left` of them flush left, the others right, under a rule; `total` below another. */
export function table(
  head: readonly string[],
  rows: readonly (readonly string[])[],
  total: readonly string[] | null,
  left: number,
): string {
  const all = [head, ...rows, ...(total ? [total] : [])];
  const widths = head.map((_, c) => all.reduce((w, row) => Math.max(w, (row[c] as string).length), 0));
  const line = (row: readonly string[]) =>
    row
      .map((text, c) => (c < left ? text.padEnd(widths[c] as number) : text.padStart(widths[c] as number)))
      .join('  ')
      .trimEnd();
  const rule = '-'.repeat(widths.reduce((a, b) => a + b + 2, -2));
  return [line(head), rule, ...rows.map(line), ...(total ? [rule, line(total)] : [])].join('\n');
}
