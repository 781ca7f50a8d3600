import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type HostArray, sizeOf } from '../data/host.ts';
import {
  classesShown,
  type DoubtfulSample,
  type EvalTables,
  evalFolder,
  type ShownInput,
  type ShownMistake,
} from '../monitor/index.ts';
import { imagePng } from '../monitor/png.ts';
import { ConfigError, describe } from '../native/errors.ts';
import type { EvalMetrics } from './events.ts';
import { evalFigures } from './recording.ts';
import { writeWhole } from './whole-file.ts';

/** A sample on the host, by column, without the batch's dimension. */
export type HostSample = { readonly [column: string]: HostArray };
/** What an evaluation got most confidently wrong, with the inputs where the loader gave them on the host. */
export interface Mistake {
  mistake: DoubtfulSample;
  sample: HostSample | undefined;
}
/** Text to show for a sample, or an image [channels, height, width]. */
export type ShowSample = (sample: HostSample, id: number) => string | HostArray;

const textLimit = 4000;
const imageLimit = 128;

const isImage = ({ shape }: HostArray): boolean =>
  shape.length === 3 && [1, 3, 4].includes(shape[0] as number) && (shape[1] as number) > 3 && (shape[2] as number) > 3;

/** A picture, or the first numbers as text. */
function shown(column: HostArray): ShownInput {
  const { data, shape, dtype } = column;
  if (dtype === 'f16' || dtype === 'bf16') return { text: `${dtype} [${shape.join(', ')}]` };
  if (isImage(column)) {
    const png = imagePng({ data, shape: shape as [number, number, number], bytes: dtype === 'u8' }, imageLimit);
    return { image: `data:image/png;base64,${png.toString('base64')}` };
  }
  const numbers = Array.from(data.subarray(0, 64), (v) => String(+v.toPrecision(4)));
  return { text: `${numbers.join(', ')}${sizeOf(shape) > 64 ? ', ...' : ''}` };
}

function inputOf(sample: HostSample, id: number, show: ShowSample | undefined): ShownInput | undefined {
  const given = show ? show(sample, id) : sample.x;
  if (given === undefined) return undefined;
  if (typeof given === 'string') return { text: given.length > textLimit ? `${given.slice(0, textLimit)} ...` : given };
  if (!ArrayBuffer.isView(given?.data) || !Array.isArray(given.shape) || sizeOf(given.shape) !== given.data.length)
    throw new ConfigError(`Trainer: showSample must give text or { data, shape, dtype }, got ${describe(given)}.`);
  return shown(given);
}

/** Writes each evaluation's tables to the run's folder while training goes on: the latest, and the best. One write at a time; of those that wait, the last. */
export class EvalFiles {
  readonly #dir: string;
  readonly #show: ShowSample | undefined;
  readonly #waiting = new Map<string, string>();
  #writing: Promise<void> | undefined;
  #error: unknown;

  constructor(dir: string, show: ShowSample | undefined) {
    this.#dir = join(dir, evalFolder);
    this.#show = show;
  }

  write(metrics: EvalMetrics, mistakes: readonly Mistake[], at: { attempt: number; step: number; epoch: number }, best: boolean) {
    const { labels, counts, mostConfused } = metrics.confusion ?? {};
    const { perClass, reliability, strata } = metrics;
    const tables: EvalTables = {
      ...at,
      figures: evalFigures(metrics),
      ...(labels ? { labels } : {}),
      ...(perClass ? { perClass } : {}),
      ...(counts && counts.length <= classesShown ? { confusion: counts } : {}),
      ...(mostConfused ? { mostConfused } : {}),
      ...(reliability ? { reliability } : {}),
      ...(strata ? { strata: strata.slice(0, 1000) } : {}),
      ...(metrics.mistakes ? { mistakes: mistakes.map((m) => this.#shown(m)) } : {}),
    };
    const text = JSON.stringify(tables, (_, v) => (typeof v === 'number' && !Number.isFinite(v) ? String(v) : v));
    for (const name of ['latest', ...(best ? ['best'] : [])]) this.#waiting.set(name, text);
    this.#writing ??= this.#drain();
  }
  #shown({ mistake, sample }: Mistake): ShownMistake {
    const input = sample && inputOf(sample, mistake.id, this.#show);
    return input ? { ...mistake, input } : mistake;
  }
  async #drain(): Promise<void> {
    try {
      await mkdir(this.#dir, { recursive: true });
      for (let next = this.#next(); next; next = this.#next()) await writeWhole(join(this.#dir, `${next[0]}.json`), next[1]);
    } catch (error) {
      this.#error ??= error;
    } finally {
      this.#writing = undefined;
    }
  }
  #next(): [string, string] | undefined {
    const [next] = this.#waiting;
    if (next) this.#waiting.delete(next[0]);
    return next;
  }
  /** Waits until the files are there; throws what went wrong. */
  async close(): Promise<void> {
    while (this.#writing) await this.#writing;
    if (this.#error) throw this.#error;
  }
}
