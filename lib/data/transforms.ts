import { ConfigError, didYouMean } from '../native/errors.ts';
import { hashStream, philox, seedKey } from '../tensor/philox.ts';
import type { Transform } from './augment/image.ts';
import type { ColumnSource } from './dataset.ts';
import { sizeOf } from './host.ts';
import type { JobColumn, Stage } from './job.ts';

/** A column's way from memory to batch, all but the random words: checked once, when the loader is made. */
interface Route {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly outShape: readonly number[];
  readonly stages: readonly { readonly transform: Transform; readonly stream: number }[];
  readonly encoding: JobColumn['encoding'];
}

const known: readonly string[] = ['randomCrop', 'randomHorizontalFlip', 'normalize'];

/** The built-in transforms of a loader, applied to columns. Every draw is keyed by (seed, epoch, sample id, place in the list). */
export class Transforms {
  readonly #key: [number, number];
  readonly #list: readonly Transform[];

  constructor(list: readonly Transform[], seed: number | bigint) {
    this.#key = seedKey(seed);
    this.#list = list;
    for (const t of list) {
      if (typeof t === 'object' && t !== null && known.includes(t.kind)) continue;
      const kind = String((t as { kind?: unknown } | null)?.kind ?? t);
      const near = didYouMean(kind, known);
      throw new ConfigError(
        `data.loader: unknown transform "${kind}". ${near ? `Did you mean "${near}"?` : `Known: ${known.join(', ')}.`}`,
      );
    }
  }

  get empty(): boolean {
    return this.#list.length === 0;
  }

  /** Throws ConfigError if a transform names a column that is not there, or does not fit its column. */
  check(sources: readonly ColumnSource[]): void {
    const names = sources.map((s) => s.name);
    for (const t of this.#list) {
      if (names.includes(t.column)) continue;
      throw new ConfigError(
        `augment.${t.kind}: there is no column "${t.column}". Columns: ${names.join(', ')}; choose one by the column option.`,
      );
    }
    for (const source of sources) this.#route(source);
  }

  /** Whether a column comes out other than it is stored. */
  changes(source: ColumnSource): boolean {
    return source.encoding !== undefined || this.#list.some((t) => t.column === source.name);
  }

  /** The job for one column of a batch, and the shape of a sample that comes out. */
  column(source: ColumnSource, ids: ArrayLike<number>, epoch: number): { column: JobColumn; shape: readonly number[] } {
    const { channels, height, width, outShape, stages, encoding } = this.#route(source);
    const drawn = stages.map(({ transform: t, stream }): Stage => {
      const words = this.#words(stream, ids, epoch);
      if (t.kind !== 'randomCrop') return { kind: 'flip', p: t.kind === 'randomHorizontalFlip' ? t.p : 0, words };
      return { kind: 'crop', height: t.height, width: t.width, padding: t.padding, fill: t.fill, words };
    });
    const { data, step, shift } = source;
    const size = sizeOf(source.shape);
    const column = { data, size, step, shift, channels, height, width, stages: drawn, outSize: sizeOf(outShape), encoding };
    return { column, shape: outShape };
  }

  #words(stream: number, ids: ArrayLike<number>, epoch: number): Uint32Array {
    const words = new Uint32Array(4 * ids.length);
    for (let k = 0; k < ids.length; k++) {
      philox([(ids[k] as number) >>> 0, 0, stream, epoch >>> 0], this.#key, words, 4 * k);
    }
    return words;
  }

  #route(source: ColumnSource): Route {
    const { name, shape } = source;
    const mine = this.#list
      .map((transform, i) => ({ transform, stream: hashStream(`data/augment/${i}/${transform.kind}`) }))
      .filter(({ transform }) => transform.column === name);
    const stages = mine.filter(({ transform }) => transform.kind !== 'normalize');
    if (stages.length > 0 && shape.length !== 2 && shape.length !== 3) {
      throw new ConfigError(
        `augment.${stages[0]?.transform.kind}: column "${name}" has samples of shape [${shape.join(', ')}]; images are [channels, height, width] or [height, width].`,
      );
    }
    const [channels, height, width] =
      shape.length === 3
        ? (shape as [number, number, number])
        : shape.length === 2
          ? [1, ...(shape as [number, number])]
          : [1, 1, sizeOf(shape)];
    let [h, w] = [height, width];
    for (const { transform: t } of stages) {
      if (t.kind !== 'randomCrop') continue;
      if (t.height > h + 2 * t.padding || t.width > w + 2 * t.padding) {
        throw new ConfigError(
          `augment.randomCrop: a crop of ${t.height} x ${t.width} does not fit column "${name}", ${h} x ${w} with padding ${t.padding}. ` +
            'Ask for a smaller size or more padding.',
        );
      }
      [h, w] = [t.height, t.width];
    }
    const outShape = stages.length === 0 ? shape : [...shape.slice(0, -2), h, w];
    return { channels, height, width, outShape, stages, encoding: this.#encoding(source, channels) };
  }

  #encoding(source: ColumnSource, channels: number): JobColumn['encoding'] {
    const { name, dtype, encoding } = source;
    let normalize: { readonly mean?: readonly number[]; readonly std?: readonly number[] } | undefined = encoding;
    for (const t of this.#list) if (t.kind === 'normalize' && t.column === name) normalize = t;
    if (!encoding && !normalize) return undefined;
    if (dtype === 'f16' || dtype === 'bf16') {
      throw new ConfigError(
        `column "${name}" is stored as ${dtype} and cannot be scaled or normalised by the loader. Store it as f32 or u8.`,
      );
    }
    const spread = (values: readonly number[] | undefined, fallback: number, what: string): number[] => {
      const list = values ?? [fallback];
      if (list.length !== 1 && list.length !== channels) {
        throw new ConfigError(
          `column "${name}": ${list.length} values of ${what} for ${channels} channel(s). Give one, or one per channel.`,
        );
      }
      return Array.from({ length: channels }, (_, c) => list[c % list.length] as number);
    };
    return { scale: encoding?.scale ?? 1, mean: spread(normalize?.mean, 0, 'mean'), std: spread(normalize?.std, 1, 'std') };
  }
}
