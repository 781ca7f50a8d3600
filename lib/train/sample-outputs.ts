// What a model gives while it trains, looked at now and then: generated text, predicted images.
import { imagePng } from '../monitor/png.ts';
import { type ShownSample, sampleBytes, samplesAtOnce } from '../monitor/samples.ts';
import { ConfigError, checkFunction, checkOptions, DataError, describe } from '../native/errors.ts';
import { synchronize } from '../native/run.ts';
import type { Module } from '../nn/module.ts';
import type { AveragedWeights } from '../optim/index.ts';
import { bindAsync, type Precision } from '../tensor/context.ts';
import { scope } from '../tensor/scope.ts';
import { Parameter, Tensor } from '../tensor/tensor.ts';
import { undrawn } from './evaluate.ts';
import { rememberModes } from './modes.ts';
import type { Stepper } from './stepper.ts';

/** Bytes, or floats from 0 to 1 (others are stretched to it): [height, width], or [1, 3 or 4 channels, height, width]. */
export interface SampleImage {
  readonly data: ArrayLike<number>;
  readonly shape: readonly number[];
}
/** Text, a picture, or such a picture as a tensor; a tensor of four dimensions is several. */
export type SampleOutput = string | SampleImage | Tensor;

export interface SampleMoment {
  /** Steps and epochs done. */
  readonly step: number;
  readonly epoch: number;
  /** Aborted where the run is to end at once: `generate` and `predict` take it. */
  readonly signal: AbortSignal;
}

export interface SamplesOptions {
  /** Steps between two times, or 'epoch': after each. At the end of the run there is one too. */
  every: number | 'epoch';
  /** One output, several, or several by name. At most 64; pictures are thinned out to 256 pixels, texts cut at 4,000 characters. */
  make: (at: SampleMoment) => MadeSamples | Promise<MadeSamples>;
}
export type MadeSamples = SampleOutput | readonly SampleOutput[] | { readonly [name: string]: SampleOutput };

const [textLimit, nameLimit, imageLimit] = [4000, 200, 256];

/** Throws ConfigError unless the option makes sense. */
export function checkSamples(where: string, options: SamplesOptions): void {
  checkOptions(where, options, ['every', 'make']);
  const { every, make } = Object(options) as SamplesOptions;
  if (every !== 'epoch' && !(Number.isSafeInteger(every) && every >= 1))
    throw new ConfigError(`${where}: every must be a whole number of steps >= 1, or 'epoch', got ${describe(every)}`);
  checkFunction(where, 'make', make, '() => generate(model, prompt)');
}

const cut = (text: string, limit: number): string => (text.length > limit ? `${text.slice(0, limit)} ...` : text);

/** A plain object that is no picture: outputs by name. */
const isNamed = (made: unknown): made is { [name: string]: SampleOutput } =>
  typeof made === 'object' &&
  made !== null &&
  [Object.prototype, null].includes(Object.getPrototypeOf(made)) &&
  !('data' in made);

function picture(name: string, data: ArrayLike<number>, shape: readonly number[], bytes: boolean): ShownSample {
  const [channels, height, width] = shape.length === 2 ? [1, ...shape] : shape;
  const png = imagePng({ data, shape: [channels, height, width] as [number, number, number], bytes }, imageLimit);
  return { name, image: `data:image/png;base64,${png.toString('base64')}` };
}

/** A tensor [height, width], [channels, height, width], or several of the latter. */
async function pictures(name: string, t: Tensor): Promise<ShownSample[]> {
  if (t.ndim < 2 || t.ndim > 4 || t.size === 0)
    throw new DataError(
      `'${name}' is a tensor of shape [${t.shape.join(', ')}], which is no picture: [height, width], [channels, height, width], or several such.`,
    );
  const values = await t.detach().data();
  const bytes = t.dtype === 'u8';
  if (t.ndim < 4) return [picture(name, values, t.shape, bytes)];
  const [n = 0, ...shape] = t.shape;
  const size = t.size / n;
  return Array.from({ length: Math.min(n, samplesAtOnce + 1) }, (_, i) =>
    picture(`${name} ${i + 1}`, values.subarray(i * size, (i + 1) * size), shape, bytes),
  );
}

async function shown(name: string, output: SampleOutput): Promise<ShownSample[]> {
  if (typeof output === 'string') return [{ name, text: cut(output, textLimit) }];
  if (output instanceof Tensor) return pictures(name, output);
  const { data, shape } = Object(output) as Partial<SampleImage>;
  const values = Array.isArray(data) || (ArrayBuffer.isView(data) && 'length' in data);
  if (!values || !Array.isArray(shape) || ![2, 3].includes(shape.length))
    throw new DataError(
      `'${name}' is neither text nor a picture { data, shape: [channels, height, width] } nor a tensor: ${describe(output)}.`,
    );
  return [picture(name, data as ArrayLike<number>, shape, data instanceof Uint8Array)];
}

async function allShown(made: MadeSamples): Promise<ShownSample[]> {
  const named: [string, SampleOutput][] = isNamed(made)
    ? Object.entries(made)
    : Array.isArray(made)
      ? made.map((output, i): [string, SampleOutput] => [`sample ${i + 1}`, output])
      : [['sample', made as SampleOutput]];
  if (named.length > samplesAtOnce)
    throw new DataError(`${named.length} outputs at once, where at most ${samplesAtOnce} are kept.`);
  const all: ShownSample[] = [];
  for (const [name, output] of named) all.push(...(await shown(cut(name, nameLimit) || 'sample', output)));
  if (all.length > samplesAtOnce) throw new DataError(`more than ${samplesAtOnce} outputs at once.`);
  const bytes = all.reduce((sum, s) => sum + Buffer.byteLength(s.text ?? s.image ?? ''), 0);
  if (bytes > sampleBytes)
    throw new DataError(`${bytes} bytes at once, where at most ${sampleBytes} are kept. Make fewer, or smaller ones.`);
  return all;
}

/** Whose outputs they are. */
export interface Sampled {
  model: Module;
  precision: Precision;
  /** Averages that stand in for the weights. */
  average?: AveragedWeights | undefined;
}

/** Of calls that were dropped behind one that failed some may have written 16-bit copies of the weights: they are made again. */
function forgetShadows(model: Module): void {
  for (const p of model.parameters()) if (p instanceof Parameter) p.shadowVersion = -1;
}

/**
 * Makes outputs, in evaluation mode and without gradients. Training does not notice: modes, random numbers and weights are as before, and what failed on the
 * device has been told here. Throws what the user's function throws.
 */
export async function makeSamples(
  options: SamplesOptions,
  { model, precision, average }: Sampled,
  at: SampleMoment,
): Promise<ShownSample[]> {
  const putBack = rememberModes(model);
  const device = model.parameters()[0]?.device.number;
  const make = async () => {
    try {
      const samples = await allShown(await options.make(at));
      await synchronize('compute', device);
      return samples;
    } catch (error) {
      await synchronize('compute', device).catch(() => {});
      forgetShadows(model);
      throw error;
    }
  };
  model.eval();
  try {
    const within = () => bindAsync({ grad: false, precision }, () => scope.run(make));
    return await undrawn(() => (average ? average.throughout(within) : within()));
  } finally {
    putBack();
  }
}

/** Who hears of what was made. */
export interface SampleListener {
  /** The run's pace and its steps', which do not count the time. */
  readonly progress: { pause(): void; resume(): void };
  readonly pace: { arrived(step: Promise<unknown>): Promise<boolean>; goOn(): void };
  /** Lets others use the model meanwhile. */
  atRest<T>(use: () => Promise<T>): Promise<T>;
  made(at: { step: number; epoch: number }, samples: readonly ShownSample[]): void;
  /** A sentence: why there is nothing this time. */
  failed(sentence: string): void;
}

/** When a run makes sample outputs: it asks at each step boundary. */
export class SampleTimes {
  readonly #options: SamplesOptions | undefined;
  readonly #to: SampleListener;
  #last = 0;

  constructor(options: SamplesOptions | undefined, to: SampleListener) {
    this.#options = options;
    this.#to = to;
  }

  /** An earlier attempt made what was due up to this step. */
  goOnFrom(step: number): void {
    this.#last = step;
  }

  /**
   * Makes outputs where they are due, of the weights after the last step queued. What the user's function throws ends nothing.
   * @param ends has an epoch, or the run, just ended?
   * @param inFlight the last step queued. It is waited for, and told of later: hooks hear of it when they would without
   */
  async take(
    of: Sampled & Pick<Stepper, 'cursor'>,
    signal: AbortSignal,
    ends: 'run' | 'epoch' | undefined,
    inFlight?: Promise<unknown>,
  ): Promise<void> {
    const { step, epoch } = of.cursor;
    const options = this.#options;
    if (!options || step === this.#last || signal.aborted) return;
    const due = ends === 'run' || (options.every === 'epoch' ? ends === 'epoch' : step % options.every === 0);
    if (!due) return;
    this.#last = step;
    if (inFlight && !(await this.#to.pace.arrived(inFlight))) return; // the run fails when it hears of that step
    this.#to.progress.pause();
    try {
      const samples = await this.#to.atRest(() => makeSamples(options, of, { step, epoch, signal }));
      this.#to.made({ step, epoch }, samples);
    } catch (error) {
      if (signal.aborted) return; // cut off, as the run is
      const why = error instanceof Error ? error.message : String(error);
      this.#to.failed(`samples: make failed at step ${step}, and training goes on: ${why}`);
    } finally {
      this.#to.progress.resume();
      if (inFlight) this.#to.pace.goOn();
    }
  }
}
