/** Every error that Anneal throws on purpose. `code` is stable; the message says what was asked, what was found, and the remedy. */
export class AnnealError extends Error {
  readonly code: string;
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
    this.name = new.target.name;
  }
}

function kind(code: string) {
  return class extends AnnealError {
    constructor(message: string, options?: ErrorOptions) {
      super(code, message, options);
    }
  };
}

export class ShapeError extends kind('SHAPE') {}
export class DTypeError extends kind('DTYPE') {}
export class DeviceError extends kind('DEVICE') {}
export class OutOfMemoryError extends kind('OUT_OF_MEMORY') {}
export class NumericsError extends kind('NUMERICS') {}
export class CheckpointError extends kind('CHECKPOINT') {}
export class CollectiveError extends kind('COLLECTIVE') {}
export class DataError extends kind('DATA') {}
export class ConfigError extends kind('CONFIG') {}
/** A tensor used after it was freed, a graph walked twice, an in-place write under a saved tensor. */
export class GraphError extends kind('GRAPH') {}

/** Names what a value is, for messages. Never throws, whatever the value. */
export function describe(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value === 'number') return String(value);
  if (typeof value === 'string') return JSON.stringify(value).slice(0, 60);
  if (typeof value === 'function') return value.name ? `function ${value.name}` : 'a function';
  if (typeof value !== 'object') return `${typeof value} ${String(value)}`;
  if (Array.isArray(value))
    return `[${value.slice(0, 8).map(describe).join(', ')}${value.length > 8 ? ', ...' : ''}]`.slice(0, 120);
  return value.constructor?.name ?? 'object';
}

/** Edit distance, for 'did you mean'. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(substitution, (row[j] as number) + 1, (next[j - 1] as number) + 1));
    }
    row = next;
  }
  return row[b.length] as number;
}

/** The known name nearest to `name`, if it is near enough to be a misspelling. */
export function didYouMean(name: string, known: readonly string[]): string | undefined {
  const near = known.map((k) => ({ k, d: distance(name.toLowerCase(), k.toLowerCase()) })).sort((x, y) => x.d - y.d)[0];
  return near && near.d <= Math.max(2, Math.floor(name.length / 3)) ? near.k : undefined;
}

/** Throws ConfigError unless `value` is a string, such as a name or a path. */
export function checkText(where: string, name: string, value: unknown): string {
  if (typeof value !== 'string') throw new ConfigError(`${where}: ${name} must be a string, got ${describe(value)}`);
  return value;
}

/** Throws ConfigError unless `value` is a function; `example` is how one looks. */
export function checkFunction(where: string, name: string, value: unknown, example: string): void {
  if (typeof value !== 'function')
    throw new ConfigError(`${where}: ${name} must be a function, got ${describe(value)}. For example ${example}.`);
}

/** Throws ConfigError unless `signal` is left out or an AbortSignal. */
export function checkSignal(where: string, signal: unknown): void {
  if (signal !== undefined && !(signal instanceof AbortSignal))
    throw new ConfigError(
      `${where}: signal must be an AbortSignal, for example AbortSignal.timeout(60_000), got ${describe(signal)}`,
    );
}

/** Throws ConfigError unless `value` is a list (an array, or anything to iterate over that is no string); gives it as an array. */
export function checkList<T>(where: string, name: string, value: Iterable<T>): T[] {
  const given: unknown = value;
  if (given === null || typeof given !== 'object' || typeof (given as Iterable<T>)[Symbol.iterator] !== 'function')
    throw new ConfigError(`${where}: ${name} must be a list, got ${describe(given)}`);
  return [...value];
}

/** Throws ConfigError for options that are missing where some must be given. */
export function needOptions(where: string, options: object | undefined, known: readonly string[], example: string): void {
  if (options === undefined) throw new ConfigError(`${where}: options are missing, for example ${example}.`);
  checkOptions(where, options, known);
}

/** Throws ConfigError for an option that `where` does not know, naming the right one when it can be guessed. */
export function checkOptions(where: string, options: object | undefined, known: readonly string[]): void {
  if (options === undefined) return;
  if (options === null || typeof options !== 'object' || Array.isArray(options)) {
    throw new ConfigError(`${where}: options must be an object, got ${describe(options)}`);
  }
  for (const name of Object.keys(options)) {
    if (known.includes(name)) continue;
    const right = didYouMean(name, known);
    const hint = right ? `Misspelled option "${name}" should be "${right}".` : `Known options: ${known.join(', ')}.`;
    throw new ConfigError(`${where}: unknown option "${name}". ${hint}`);
  }
}
