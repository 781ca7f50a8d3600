/** The learning-rate range test over a training script: the curve as text, what it suggests, and on request a picture. */
import { writeFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ConfigError, describe } from '../native/errors.ts';
import type { BatchSource } from '../train/batch.ts';
import type { FindLearningRateOptions } from '../train/lr-finder.ts';
import type { Trainer } from '../train/trainer.ts';
import { tsxOf } from './typescript.ts';

/** What a script's default export is, or gives: by its parts, for its Trainer is of the package that the script imports. */
interface Parts {
  trainer: Pick<Trainer, 'findLearningRate' | 'options'>;
  train: BatchSource;
}

const example =
  'The script exports a Trainer and its loader: `export default trainer; export const train = data.loader(...)`, or a function that gives { trainer, train }.';
const isTrainer = (v: unknown): v is Parts['trainer'] =>
  typeof (Object(v) as Partial<Trainer>).findLearningRate === 'function' && typeof (v as Trainer).options === 'object';
const isLoader = (v: unknown): v is BatchSource => typeof (Object(v) as Partial<BatchSource>).windows === 'function';
const codeOf = (error: unknown): unknown => (Object(error) as { code?: unknown }).code;

/** A script's exports. TypeScript is run by Node where it can, else by the script's own tsx. */
async function load(script: string): Promise<Record<string, unknown>> {
  const url = pathToFileURL(resolve(script)).href;
  try {
    return await import(url);
  } catch (error) {
    if (codeOf(error) === 'ERR_MODULE_NOT_FOUND' && String(error).includes(resolve(script)))
      throw new ConfigError(`lr-find: there is no script ${resolve(script)}`);
    if (codeOf(error) !== 'ERR_UNKNOWN_FILE_EXTENSION') throw error;
  }
  const tsx: { register: () => unknown } = await import(tsxOf('lr-find', script, 'tsx/esm/api'));
  tsx.register();
  return import(url);
}

/** Trainer and loader of a script's exports. */
export async function partsOf(exports: Record<string, unknown>): Promise<Parts> {
  // A CommonJS script's exports come as its default.
  const inner = Object(exports.default) as Record<string, unknown>;
  const all = 'default' in inner && !isTrainer(inner) ? inner : exports;
  const given: unknown = typeof all.default === 'function' ? await all.default() : all.default;
  const parts = isTrainer(given) ? { trainer: given, train: all.train } : (Object(given) as Record<string, unknown>);
  const { trainer, train = all.train } = parts;
  if (!isTrainer(trainer)) throw new ConfigError(`lr-find: the default export is no Trainer, but ${describe(given)}. ${example}`);
  if (!isLoader(train)) throw new ConfigError(`lr-find: there is no loader, but train is ${describe(train)}. ${example}`);
  return { trainer, train };
}

/** Options of the command, as they were typed. */
export interface LrFindOptions {
  from?: string;
  to?: string;
  iterations?: string;
  accumulate?: string;
  stopAt?: string;
  /** Where to write the picture. */
  svg?: string;
  json?: boolean;
}

/** `anneal lr-find`. */
export async function lrFind(script: string, { svg, json, ...numbers }: LrFindOptions): Promise<void> {
  const { trainer, train } = await partsOf(await load(script));
  const options: FindLearningRateOptions = { train };
  for (const [name, text] of Object.entries(numbers)) Object.assign(options, { [name]: Number(text) });
  const curve = await trainer.findLearningRate(options);
  if (svg !== undefined) writeFileSync(svg, curve.toSVG());
  const { rates, losses, smoothed, suggestions, suggestion } = curve;
  if (json) console.log(JSON.stringify({ suggestion, suggestions, rates, losses, smoothed }));
  else
    console.log(
      `${curve}\n\nuse lr: ${suggestion.toExponential(1)}${svg === undefined ? '' : `; the picture is ${resolve(svg)}`}`,
    );
}
