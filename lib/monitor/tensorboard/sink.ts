import { hostname } from 'node:os';
import { join } from 'node:path';
import { ConfigError, checkFunction, checkOptions, checkText, describe } from '../../native/errors.ts';
import { AppendFile } from '../append-file.ts';
import type { HistoryRecord, HistoryValue, Sink } from '../history.ts';
import { imagePng, pngOf } from '../png.ts';
import { sampleOutputs } from '../samples.ts';
import { frame, histogramValue, imageValue, scalarValue, sessionStart, summary, textValue, version } from './events.ts';
import { histogramOf } from './histogram.ts';
import type { Message } from './protobuf.ts';

let files = 0;
/** Fields of a record that are no figures of the run. */
const keys = new Set(['attempt', 'step', 'type', 'time']);

/**
 * Writes event files that TensorBoard reads: `tensorboard --logdir dir`. As a sink of a Trainer it tells every number of a record as a scalar (train/loss,
 * val/accuracy, ...), and the run's configuration, notices and end as text; histograms, images and texts of one's own go beside them. A resumed run
 * writes a file of its own, which takes the place of the steps done again. Numbers are f32, as TensorBoard's are.
 *
 * Nothing waits: `flush` and `close` do, and throw what went wrong.
 * @example new Trainer({ ..., sinks: [new monitor.TensorBoardSink('runs/mnist/tensorboard')] })
 */
export class TensorBoardSink implements Sink {
  /** The event file; written when there is something to write. */
  readonly path: string;
  readonly #file: AppendFile;
  readonly #now: () => number;
  #begun = false;

  /** @param options.now the clock, in seconds since 1970; default: the machine's */
  constructor(dir: string, options: { now?: () => number } = {}) {
    checkText('TensorBoardSink', 'the folder', dir);
    checkOptions('TensorBoardSink', options, ['now']);
    if (options.now !== undefined) checkFunction('TensorBoardSink', 'now', options.now, '() => Date.now() / 1000');
    this.#now = options.now ?? (() => Date.now() / 1000);
    // Readers take files in the order of their names, so a later one must sort behind.
    const at = String(Math.floor(this.#now())).padStart(10, '0');
    const name = `events.out.tfevents.${at}.${hostname()}.${process.pid}.${String(files++).padStart(6, '0')}`;
    this.path = join(dir, name);
    this.#file = new AppendFile(this.path, 'events');
  }

  begin(_attempt: number, from: number): void {
    if (from > 0) this.#put((now) => sessionStart(now, from + 1));
  }
  write(record: HistoryRecord): void {
    const { type, step } = record;
    if (type === 'samples') {
      this.#samples(record);
      return;
    }
    if (type === 'run' || type === 'notice' || type === 'end') this.text(type, textOf(record), step);
    const scalars: Message[] = [];
    for (const [name, value] of Object.entries(record)) if (!keys.has(name)) collect(tagOf(type, name), value, scalars);
    if (type !== 'run' && scalars.length > 0) this.#put((now) => summary(now, step, scalars));
  }

  scalar(tag: string, value: number, step: number): void {
    if (typeof value !== 'number')
      throw new ConfigError(`TensorBoardSink.scalar: the value must be a number, got ${describe(value)}.`);
    this.#value('scalar', tag, step, (t) => scalarValue(t, value));
  }
  /** How values are spread, in TensorFlow's buckets. What is not finite is told apart, as the scalar `tag/nonFinite`. */
  histogram(tag: string, values: ArrayLike<number>, step: number): void {
    if (!Array.isArray(values) && !(ArrayBuffer.isView(values) && 'length' in values))
      throw new ConfigError(`TensorBoardSink.histogram: values must be a list of numbers on the host, got ${describe(values)}.`);
    const { histogram, skipped } = histogramOf(values);
    this.#value('histogram', tag, step, (t) => histogramValue(t, histogram));
    if (skipped > 0) this.scalar(`${tag}/nonFinite`, skipped, step);
  }
  /** An image [channels, height, width] of bytes, or of floats from 0 to 1 (others are stretched); 1, 3 or 4 channels. */
  image(tag: string, image: { data: ArrayLike<number>; shape: readonly number[] }, step: number): void {
    checkOptions('TensorBoardSink.image', image, ['data', 'shape', 'dtype']);
    const { data, shape } = Object(image) as typeof image;
    if (!Array.isArray(shape) || shape.length !== 3 || !(Array.isArray(data) || ArrayBuffer.isView(data)))
      throw new ConfigError(
        `TensorBoardSink.image: expected { data, shape: [channels, height, width] }, got ${describe(image)}.`,
      );
    const png = imagePng({ data, shape: shape as [number, number, number], bytes: data instanceof Uint8Array });
    this.#value('image', tag, step, (t) => imageValue(t, png, shape));
  }
  /** Text, shown as Markdown. */
  text(tag: string, text: string, step: number): void {
    if (typeof text !== 'string') throw new ConfigError(`TensorBoardSink.text: expected a text, got ${describe(text)}.`);
    this.#value('text', tag, step, (t) => textValue(t, text));
  }

  /** Sample outputs of a Trainer, as text to the letter and as images. */
  #samples(record: HistoryRecord): void {
    for (const { name, text, image } of sampleOutputs(record)?.samples ?? []) {
      const tag = `samples/${name}`;
      const png = image === undefined ? undefined : pngOf(image);
      if (png) this.#value('image', tag, record.step, (t) => imageValue(t, png.bytes, png.shape));
      if (text !== undefined) this.text(tag, toTheLetter(text), record.step);
    }
  }

  flush(): Promise<void> {
    return this.#file.flush();
  }
  close(): Promise<void> {
    return this.#file.close();
  }

  #value(what: string, tag: string, step: number, make: (tag: string) => Message): void {
    checkText(`TensorBoardSink.${what}`, 'the tag', tag);
    if (!Number.isSafeInteger(step) || step < 0)
      throw new ConfigError(`TensorBoardSink.${what}: the step must be a whole number >= 0, got ${describe(step)}.`);
    const value = make(tag);
    this.#put((now) => summary(now, step, [value]));
  }
  #put(make: (now: number) => Message): void {
    const now = this.#now();
    if (!this.#begun) this.#file.append(frame(version(now).finish()));
    this.#begun = true;
    this.#file.append(frame(make(now).finish()));
  }
}

/** TensorBoard groups by what stands before the slash. */
const tagOf = (type: string, name: string): string => (name.includes('/') ? name : `${type === 'step' ? 'train' : type}/${name}`);

/** Numbers in a value, those of objects under their path. */
function collect(tag: string, value: HistoryValue | undefined, into: Message[]): void {
  if (typeof value === 'number') into.push(scalarValue(tag, value));
  else if (typeof value === 'object' && value !== null && !Array.isArray(value))
    for (const [name, inner] of Object.entries(value)) collect(`${tag}/${name}`, inner, into);
}

/** As Markdown: what it says, or all of it as JSON. */
function textOf(record: HistoryRecord): string {
  if (typeof record.message === 'string') return record.message;
  const { attempt: _, step: __, type: ___, ...rest } = record;
  return toTheLetter(JSON.stringify(rest, null, 2));
}
/** As a block of code, in which Markdown changes nothing. */
const toTheLetter = (text: string): string => `    ${text.replaceAll('\n', '\n    ')}`;
