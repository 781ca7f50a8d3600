import { ConfigError, DataError, didYouMean } from '../native/errors.ts';
import { hashStream, PhiloxStream, seedKey } from '../tensor/philox.ts';
import {
  columnsOf,
  type ImageTransform,
  isImage,
  isMix,
  isValue,
  kinds,
  type MixTransform,
  type Transform,
  type ValueTransform,
} from './augment/descriptors.ts';
import { SampleDraws } from './augment/draws.ts';
import { headerOf, Programs } from './augment/instructions.ts';
import { drawMix } from './augment/mix.ts';
import { type Extent, plan, room } from './augment/plan.ts';
import type { ColumnSource } from './dataset.ts';
import { sizeOf } from './host.ts';
import type { JobColumn, JobMix } from './job.ts';

/** The samples of a batch; `again`: how often each has come before in its epoch. */
export interface BatchSamples {
  readonly ids: Int32Array;
  readonly epoch: number;
  readonly again?: Uint8Array | undefined;
}

/** A column's way from memory to batch, all but the random words. */
interface Route {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly outShape: readonly number[];
  readonly images: readonly { readonly transform: ImageTransform; readonly stream: number; readonly extent: Extent }[];
  readonly values: readonly { readonly transform: ValueTransform; readonly stream: number; readonly place: number }[];
  readonly constants: readonly number[];
  readonly stride: number;
  readonly encoding: JobColumn['encoding'];
}

const numbersOf = (t: ValueTransform): readonly number[] => (t.kind === 'gaussianNoise' ? t.std : t.value);

/** The built-in transforms of a loader, applied to columns. Every draw is keyed by (seed, epoch, sample id, place in the list). */
export class Transforms {
  readonly #seed: number | bigint;
  readonly #list: readonly { readonly transform: Transform; readonly stream: number; readonly name: string }[];

  constructor(list: readonly Transform[], seed: number | bigint) {
    this.#seed = seed;
    for (const t of list) {
      if (typeof t === 'object' && t !== null && kinds.includes(t.kind)) continue;
      const kind = String((t as { kind?: unknown } | null)?.kind ?? t);
      const near = didYouMean(kind, kinds);
      throw new ConfigError(
        `data.loader: unknown transform "${kind}". ${near ? `Did you mean "${near}"?` : `Known: ${kinds.join(', ')}.`}`,
      );
    }
    this.#list = list.map((transform, i) => {
      const name = `data/augment/${i}/${transform.kind}`;
      return { transform, name, stream: hashStream(name) };
    });
  }

  get empty(): boolean {
    return this.#list.length === 0;
  }

  /** Throws ConfigError if a transform names a column that is not there, or does not fit its column. */
  check(sources: readonly ColumnSource[]): void {
    const names = sources.map((s) => s.name);
    for (const { transform } of this.#list) {
      const missing = columnsOf(transform).find((c) => !names.includes(c));
      if (missing === undefined) continue;
      throw new ConfigError(
        `augment.${transform.kind}: there is no column "${missing}". Columns: ${names.join(', ')}; choose one by the column option.`,
      );
    }
    for (const source of sources) this.#route(source);
    this.#plannedMixes(sources);
  }

  /** Whether a column comes out other than it is stored. */
  changes(source: ColumnSource): boolean {
    return source.encoding !== undefined || this.#list.some(({ transform }) => columnsOf(transform).includes(source.name));
  }

  /** The job for one column of a batch, and the shape of a sample that comes out. */
  column(source: ColumnSource, samples: BatchSamples): { column: JobColumn; shape: readonly number[] } {
    const route = this.#route(source);
    const { data, step, shift } = source;
    const { channels, height, width, stride, encoding, constants, outShape } = route;
    const outSize = sizeOf(outShape);
    const program =
      stride === 0
        ? undefined
        : {
            header: headerOf({ step, shift, channels, height, width, outSize, stride, encoding, constants }),
            numbers: this.#programs(route, samples),
          };
    const column = { data, size: sizeOf(source.shape), step, shift, channels, outSize, encoding, program };
    return { column, shape: outShape };
  }

  /** What is done to the batch of these columns as a whole. Throws DataError for a class that is none. */
  mixes(sources: readonly ColumnSource[], positions: Uint32Array, { ids, epoch, again }: BatchSamples): JobMix[] {
    const jobs: JobMix[] = [];
    const soft = new Set<number>();
    const at = (name: string) => sources.findIndex((s) => s.name === name);
    for (const { transform, name } of this.#list) {
      if (!isMix(transform)) continue;
      const place = (ids[0] as number) * 2 ** 20 + (again?.[0] ?? 0) * 2 ** 11;
      const rng = new PhiloxStream(this.#seed, name, epoch).seek(place);
      const drawn = drawMix(
        transform,
        (t) => this.#route(sources[at(t.columns[0] as string)] as ColumnSource).outShape.slice(-2) as [number, number],
        rng,
      );
      const { columns, target, numClasses } = drawn.transform;
      for (const c of columns) {
        const column = at(c);
        if (!drawn.box) jobs.push({ kind: 'mixup', column, lambda: drawn.lambda });
        else {
          const [height, width] = this.#route(sources[column] as ColumnSource).outShape.slice(-2) as [number, number];
          jobs.push({ kind: 'cutmix', column, height, width, box: Float64Array.from(drawn.box) });
        }
      }
      const column = at(target);
      if (numClasses !== undefined && !soft.has(column)) {
        checkClasses(sources[column] as ColumnSource, positions, ids, numClasses);
        jobs.push({ kind: 'soft', column, classes: numClasses });
        soft.add(column);
      }
      jobs.push({ kind: 'mixup', column, lambda: drawn.lambda });
    }
    return jobs;
  }

  #programs({ images, values, stride }: Route, { ids, epoch, again }: BatchSamples): Float64Array {
    const programs = new Programs(ids.length, stride);
    const draws = new SampleDraws(seedKey(this.#seed), epoch);
    for (let k = 0; k < ids.length; k++) {
      programs.begin(k);
      for (const { transform, stream, extent } of images) {
        draws.begin(stream, ids[k] as number, again?.[k]);
        plan(transform, extent, draws, programs.emit);
      }
      for (const { transform: t, stream, place } of values) {
        const origin = draws.begin(stream, ids[k] as number, again?.[k]).origin();
        const list = [place, numbersOf(t).length];
        if (t.kind === 'gaussianNoise') programs.emit('noise', ...origin, ...list);
        else programs.emit('mask', ...origin, t.p, ...list);
      }
    }
    return programs.numbers;
  }

  #route(source: ColumnSource): Route {
    const { name, shape, dtype } = source;
    const mine = this.#list.filter(({ transform }) => 'column' in transform && transform.column === name);
    const stages = mine.filter((m): m is typeof m & { transform: ImageTransform } => isImage(m.transform));
    const after = mine.filter((m): m is typeof m & { transform: ValueTransform } => isValue(m.transform));
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
    const encoding = this.#encoding(source, channels);
    const bound = dtype === 'u8' ? 255 : 1;
    let extent: Extent = { channels, height, width, bound, encoding };
    const images = stages.map(({ transform, stream }) => {
      const before = extent;
      checkFits(transform, before, source);
      if ('height' in transform) extent = { ...extent, height: transform.height, width: transform.width };
      return { transform, stream, extent: before };
    });
    const outShape = stages.length === 0 ? shape : [...shape.slice(0, -2), extent.height, extent.width];
    const constants: number[] = [];
    const values = after.map(({ transform, stream }) => {
      checkNumbersFit(transform, source, encoding !== undefined, sizeOf(outShape));
      const place = constants.length;
      constants.push(...numbersOf(transform));
      return { transform, stream, place };
    });
    const work = images.reduce((sum, i) => sum + room(i.transform, channels), 0) + 11 * values.length;
    return { channels, height, width, outShape, images, values, constants, stride: work === 0 ? 0 : work + 1, encoding };
  }

  #encoding(source: ColumnSource, channels: number): JobColumn['encoding'] {
    const { name, dtype, encoding } = source;
    let normalize: { readonly mean?: readonly number[]; readonly std?: readonly number[] } | undefined = encoding;
    for (const { transform: t } of this.#list) if (t.kind === 'normalize' && t.column === name) normalize = t;
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

  /** Throws ConfigError for mixes that do not fit their columns. */
  #plannedMixes(sources: readonly ColumnSource[]): void {
    const find = (name: string) => sources.find((s) => s.name === name) as ColumnSource;
    const one = (t: MixTransform): void => {
      if (t.kind === 'mixChoice') {
        for (const m of t.of) one(m);
        return;
      }
      const where = `augment.${t.kind}`;
      for (const name of t.columns) {
        const { dtype, shape, encoding } = find(name);
        const isF32 = dtype === 'f32' || encoding !== undefined || this.#route(find(name)).encoding !== undefined;
        if (t.kind === 'mixup' && !isF32)
          throw new ConfigError(
            `${where}: column "${name}" comes out as ${dtype}; only f32 can be mixed. Give it an encoding, or add augment.normalize(0, 255).`,
          );
        if (t.kind === 'cutmix' && shape.length !== 2 && shape.length !== 3)
          throw new ConfigError(
            `${where}: column "${name}" has samples of shape [${shape.join(', ')}]; images are [channels, height, width] or [height, width].`,
          );
      }
      const { dtype, shape } = find(t.target);
      if (t.numClasses === undefined && dtype !== 'f32')
        throw new ConfigError(
          `${where}: targets "${t.target}" are ${dtype}: say how many classes there are, numClasses, for example { numClasses: 10 }.`,
        );
      if (t.numClasses !== undefined && (shape.length !== 0 || !['i32', 'u8', 'bool'].includes(dtype)))
        throw new ConfigError(
          `${where}: numClasses is for integer targets, one per sample; "${t.target}" is ${dtype} [${shape.join(', ')}]. Leave it out.`,
        );
    };
    for (const { transform } of this.#list) if (isMix(transform)) one(transform);
  }
}

/** Throws DataError for a label outside the classes. */
function checkClasses(source: ColumnSource, positions: Uint32Array, ids: Int32Array, classes: number): void {
  for (let k = 0; k < positions.length; k++) {
    const label = source.data[(positions[k] as number) * source.step + source.shift] as number;
    if (label >= 0 && label < classes) continue;
    throw new DataError(
      `sample ${ids[k]}: its "${source.name}" is class ${label}, but there are numClasses: ${classes}, 0 to ${classes - 1}.`,
    );
  }
}

const moves = ['randomCrop', 'randomHorizontalFlip', 'randomVerticalFlip'];
const coloured = ['colorJitter', 'randAugment'];

/** Throws ConfigError for an image transform that its column cannot have. */
function checkFits(t: ImageTransform, { channels, height, width }: Extent, { name, dtype }: ColumnSource): void {
  const where = `augment.${t.kind}`;
  if (!moves.includes(t.kind) && dtype !== 'u8' && dtype !== 'f32')
    throw new ConfigError(`${where}: column "${name}" is ${dtype}; images for this transform are u8 or f32.`);
  if (coloured.includes(t.kind) && channels !== 1 && channels !== 3)
    throw new ConfigError(`${where}: column "${name}" has ${channels} channels; colours have 1 or 3.`);
  const fill = 'fill' in t ? t.fill : 'value' in t && t.value !== 'random' ? t.value : 0;
  const fills = typeof fill === 'number' ? [fill] : fill;
  if (fills.length !== 1 && fills.length !== channels)
    throw new ConfigError(
      `${where}: ${fills.length} values to fill ${channels} channel(s) of "${name}". Give one, or one per channel.`,
    );
  if (dtype === 'u8' && fills.some((v) => !Number.isInteger(v) || v < 0 || v > 255))
    throw new ConfigError(
      `${where}: column "${name}" is u8, which is filled with integers from 0 to 255, got ${fills.join(', ')}.`,
    );
  if (t.kind !== 'randomCrop') return;
  if (t.height > height + 2 * t.padding || t.width > width + 2 * t.padding)
    throw new ConfigError(
      `augment.randomCrop: a crop of ${t.height} x ${t.width} does not fit column "${name}", ${height} x ${width} with padding ${t.padding}. ` +
        'Ask for a smaller size or more padding.',
    );
  const most = Math.min(height, width) - (t.paddingMode === 'reflect' ? 1 : 0);
  if ((t.paddingMode === 'reflect' || t.paddingMode === 'symmetric') && t.padding > most)
    throw new ConfigError(
      `augment.randomCrop: '${t.paddingMode}' padding of "${name}", ${height} x ${width}, is at most ${most}, got ${t.padding}.`,
    );
}

/** Throws ConfigError for noise and masks that their column cannot have. */
function checkNumbersFit(t: ValueTransform, { name, dtype }: ColumnSource, encoded: boolean, size: number): void {
  if (dtype !== 'f32' && !encoded)
    throw new ConfigError(
      `augment.${t.kind}: column "${name}" comes out as ${dtype}, which cannot hold noise. Store it as f32, or give it an encoding.`,
    );
  const count = numbersOf(t).length;
  if (count !== 1 && count !== size)
    throw new ConfigError(
      `augment.${t.kind}: ${count} numbers for the ${size} of a sample of "${name}". Give one, or one per feature.`,
    );
}
