import { ConfigError, checkText, describe } from '../../native/errors.ts';

/** Throws ConfigError unless `value` is a number from `low` to `high`; bounds that are infinite are left out of the message. */
export function checkNumber(where: string, name: string, value: unknown, low: number, high = Infinity): number {
  if (typeof value === 'number' && Number.isFinite(value) && value >= low && value <= high) return value;
  const range = high === Infinity ? (low === -Infinity ? 'a finite number' : `a number >= ${low}`) : `from ${low} to ${high}`;
  throw new ConfigError(`${where}: ${name} must be ${range}, got ${describe(value)}.`);
}

/** Throws ConfigError unless `value` is an integer from `low` to `high`. */
export function checkWhole(where: string, name: string, value: unknown, low: number, high: number): number {
  if (Number.isInteger(value) && (value as number) >= low && (value as number) <= high) return value as number;
  throw new ConfigError(`${where}: ${name} must be an integer from ${low} to ${high}, got ${describe(value)}.`);
}

/** Throws ConfigError unless `value` is [min, max] with low <= min <= max <= high. */
export function checkRange(where: string, name: string, value: unknown, low: number, high = Infinity): [number, number] {
  const [min, max] = Array.isArray(value) ? (value as unknown[]) : [];
  const right = Array.isArray(value) && value.length === 2 && value.every((v) => typeof v === 'number' && Number.isFinite(v));
  if (right && (min as number) >= low && (max as number) <= high && (min as number) <= (max as number))
    return [min as number, max as number];
  const range = high === Infinity ? `${low} <= min <= max` : `${low} <= min <= max <= ${high}`;
  throw new ConfigError(`${where}: ${name} must be [min, max] with ${range}, got ${describe(value)}.`);
}

/** A number, or a list of them: as a list. Throws ConfigError for what is neither or not finite. */
export function checkNumbers(where: string, name: string, value: unknown, low = -Infinity): number[] {
  const list = typeof value === 'number' ? [value] : value;
  if (
    (Array.isArray(list) || ArrayBuffer.isView(list)) &&
    (list as number[]).length > 0 &&
    Array.prototype.every.call(list, (v) => typeof v === 'number' && Number.isFinite(v) && v >= low)
  )
    return Array.from(list as number[]);
  const which = low === -Infinity ? 'finite numbers' : `numbers >= ${low}`;
  throw new ConfigError(`${where}: ${name} must be a number or a list of ${which}, got ${describe(value)}.`);
}

/** Throws ConfigError unless `value` is one of `words`. */
export function checkWord<W extends string>(where: string, name: string, value: unknown, words: readonly W[]): W {
  if (words.includes(value as W)) return value as W;
  throw new ConfigError(`${where}: ${name} must be ${words.map((w) => `'${w}'`).join(' or ')}, got ${describe(value)}.`);
}

/** A probability. */
export const checkP = (where: string, value: unknown): number => checkNumber(where, 'p', value, 0, 1);

/** A column's name, 'x' by default. */
export const checkColumn = (where: string, value: unknown): string =>
  value === undefined ? 'x' : checkText(where, 'column', value);

/** A side or [height, width], in pixels. */
export function checkSize(where: string, size: unknown): [number, number] {
  const [height, width] = Array.isArray(size) && size.length === 2 ? (size as unknown[]) : [size, size];
  const positive = (n: unknown) => Number.isSafeInteger(n) && (n as number) >= 1;
  if (positive(height) && positive(width)) return [height as number, width as number];
  throw new ConfigError(`${where}: size must be a positive integer or [height, width], got ${describe(size)}.`);
}
