import { readdir, stat } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type sharp from 'sharp';
import { ConfigError, checkList, checkOptions, checkText, DataError, describe, didYouMean } from '../native/errors.ts';
import { type Dataset, type Row, TensorDataset } from './dataset.ts';
import { allocate } from './host.ts';
import { importPackage } from './packages.ts';

/** Options of `imageFolder`. */
export interface ImageFolderOptions {
  /** Height and width in pixels, or one number for both. */
  size: number | readonly [height: number, width: number];
  /** 3: red, green, blue (default); 1: grey. */
  channels?: 1 | 3;
  /**
   * How an image of another shape comes to that size: 'cover' (default) resizes to the shorter side and cuts out the middle, as torchvision's Resize and CenterCrop;
   * 'fill' stretches; 'contain' adds black bars.
   */
  fit?: 'cover' | 'fill' | 'contain';
  /** The folders that are classes, in the order of their numbers. Default: every folder, sorted by name. */
  classes?: readonly string[];
}

/** Options of `ImageFolder.inMemory`. */
export interface InMemoryOptions {
  /** An image that cannot be read: 'throw' (default) names its file; 'skip' leaves it out, and `skipped` lists it. */
  badImages?: 'throw' | 'skip';
  /** Told after each image how many of how many have been looked at. */
  progress?: (done: number, of: number) => void;
}

const where = 'data.imageFolder';
const extensions = new Set(['.jpg', '.jpeg', '.png', '.webp', '.gif', '.avif', '.tif', '.tiff']);

interface Settings {
  readonly height: number;
  readonly width: number;
  readonly channels: 1 | 3;
  readonly fit: 'cover' | 'fill' | 'contain';
}

/** Images in a folder for each class, decoded when they are asked for. */
export class ImageFolder implements Dataset<Row<'x' | 'y'>> {
  readonly length: number;
  /** Names of the classes, by number. */
  readonly classes: readonly string[];
  /** The file of each sample. */
  readonly files: readonly string[];
  readonly #labels: Int32Array;
  readonly #settings: Settings;
  readonly #sharp: typeof sharp;

  /** Use `data.imageFolder`. */
  constructor(
    library: typeof sharp,
    settings: Settings,
    classes: readonly string[],
    files: readonly string[],
    labels: Int32Array,
  ) {
    this.#sharp = library;
    this.#settings = settings;
    this.classes = classes;
    this.files = files;
    this.#labels = labels;
    this.length = files.length;
  }

  /** Writes an image's bytes, channel by channel, to `to` from `at` on. */
  async #decode(file: string, to: Uint8Array, at: number): Promise<void> {
    const { height, width, channels, fit } = this.#settings;
    let pixels: Buffer;
    try {
      pixels = await this.#sharp(file, { failOn: 'warning' })
        .resize(width, height, { fit, kernel: 'linear', background: { r: 0, g: 0, b: 0, alpha: 1 } })
        .removeAlpha()
        .toColourspace(channels === 1 ? 'b-w' : 'srgb')
        .raw({ depth: 'uchar' })
        .toBuffer();
    } catch (cause) {
      throw new DataError(`${where}: ${file}: the image cannot be read (${(cause as Error).message}). Is it damaged?`, { cause });
    }
    const area = height * width;
    if (pixels.length !== area * channels)
      throw new DataError(`${where}: ${file}: expected ${channels} channels, found ${pixels.length / area}.`);
    for (let c = 0; c < channels; c++) for (let p = 0; p < area; p++) to[at + c * area + p] = pixels[p * channels + c] as number;
  }

  get #shape(): [number, number, number] {
    const { height, width, channels } = this.#settings;
    return [channels, height, width];
  }

  /** One sample: x f32 [channels, height, width] from 0 to 1, y i32 []. Throws DataError naming a file that cannot be read: see the loader's `badSamples`. */
  async get(i: number): Promise<Row<'x' | 'y'>> {
    if (!Number.isInteger(i) || i < 0 || i >= this.length)
      throw new DataError(`${where}: image ${describe(i)} does not exist: there are ${this.length}, 0 to ${this.length - 1}.`);
    const shape = this.#shape;
    const bytes = new Uint8Array(shape[0] * shape[1] * shape[2]);
    await this.#decode(this.files[i] as string, bytes, 0);
    const x = { data: Float32Array.from(bytes, (b) => b / 255), shape, dtype: 'f32' as const };
    return { x, y: { data: Int32Array.of(this.#labels[i] as number), shape: [], dtype: 'i32' } };
  }

  /**
   * All images as bytes in shared memory, from which loader threads make batches: one decoding for all epochs. x u8 [channels, height, width], from 0 to 1 in
   * batches; y i32 [].
   */
  async inMemory(options: InMemoryOptions = {}): Promise<TensorDataset<'x' | 'y'> & { readonly skipped: readonly string[] }> {
    checkOptions(`${where}: inMemory`, options, ['badImages', 'progress']);
    const { badImages = 'throw', progress } = options;
    if (badImages !== 'throw' && badImages !== 'skip')
      throw new ConfigError(`${where}: inMemory: badImages must be 'throw' or 'skip', got ${describe(badImages)}.`);
    if (progress !== undefined && typeof progress !== 'function')
      throw new ConfigError(`${where}: inMemory: progress must be a function, got ${describe(progress)}.`);
    const shape = this.#shape;
    const size = shape[0] * shape[1] * shape[2];
    const x = allocate('u8', this.length * size, true) as Uint8Array;
    const bad = new Set<number>();
    let next = 0;
    let done = 0;
    const work = async () => {
      for (let i = next++; i < this.length; i = next++) {
        try {
          await this.#decode(this.files[i] as string, x, i * size);
        } catch (error) {
          if (badImages === 'throw') {
            next = this.length; // the others stop too
            throw error;
          }
          bad.add(i);
        }
        progress?.(++done, this.length);
      }
    };
    await Promise.all(Array.from({ length: availableParallelism() }, work));
    const all = new TensorDataset({ x: { data: x, shape, encoding: { scale: 1 / 255 } }, y: { data: this.#labels } });
    const good = Uint32Array.from(this.files.keys()).filter((i) => !bad.has(i));
    if (good.length === 0) throw new DataError(`${where}: none of ${this.length} images can be read.`);
    return Object.assign(bad.size ? all.select(good) : all, {
      skipped: [...bad].sort((a, b) => a - b).map((i) => this.files[i] as string),
    });
  }
}

function settle(options: ImageFolderOptions): Settings {
  checkOptions(where, options, ['size', 'channels', 'fit', 'classes']);
  const { size, channels = 3, fit = 'cover', classes } = Object(options) as Partial<ImageFolderOptions>;
  const both = typeof size === 'number' ? [size, size] : size;
  if (!Array.isArray(both) || both.length !== 2 || !both.every((n) => Number.isSafeInteger(n) && n >= 1 && n <= 16_384))
    throw new ConfigError(`${where}: size must be pixels from 1 to 16384, or [height, width] of such; got ${describe(size)}.`);
  if (channels !== 1 && channels !== 3) throw new ConfigError(`${where}: channels must be 1 or 3, got ${describe(channels)}.`);
  if (!['cover', 'fill', 'contain'].includes(fit))
    throw new ConfigError(`${where}: fit must be 'cover', 'fill' or 'contain', got ${describe(fit)}.`);
  if (classes !== undefined) for (const name of checkList(where, 'classes', classes)) checkText(where, 'a class', name);
  return { height: both[0] as number, width: both[1] as number, channels, fit };
}

async function entries(dir: string) {
  try {
    return await readdir(dir, { withFileTypes: true });
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code;
    const what =
      code === 'ENOENT' ? 'there is no such folder' : code === 'ENOTDIR' ? 'it is no folder' : `it cannot be read (${code})`;
    throw new DataError(`${where}: ${dir}: ${what}. Give a folder with one folder of images for each class.`, { cause });
  }
}

/** The images below a folder, sorted by path. Links are followed to files, not to folders: those may lead in a circle. */
async function imagesIn(dir: string): Promise<string[]> {
  const found: string[] = [];
  for (const entry of await entries(dir)) {
    const path = join(dir, entry.name);
    if (entry.isDirectory()) found.push(...(await imagesIn(path)));
    else if (extensions.has(extname(entry.name).toLowerCase()) && (entry.isFile() || (await stat(path)).isFile()))
      found.push(path);
  }
  return found.sort();
}

/**
 * Images in one folder for each class, `DIR/dog/1.jpg`, as torchvision's ImageFolder has them: classes are numbered in the order of their names. JPEG, PNG, WebP, GIF
 * (the first frame), AVIF and TIFF, by the package sharp. Orientation marks (EXIF) are not looked at.
 * Throws DataError for a folder or class without images, or naming the package where it is missing.
 */
export async function imageFolder(dir: string | URL, options: ImageFolderOptions): Promise<ImageFolder> {
  const settings = settle(options);
  if (typeof dir !== 'string' && !(dir instanceof URL))
    throw new ConfigError(`${where}: the folder must be a path or a file URL, got ${describe(dir)}.`);
  const root = typeof dir === 'string' ? dir : fileURLToPath(dir);
  const { default: library } = await importPackage<{ default: typeof sharp }>(where, 'sharp');
  const present = (await entries(root))
    .filter((e) => e.isDirectory())
    .map((e) => e.name)
    .sort();
  if (present.length === 0) throw new DataError(`${where}: ${root} has no folders: one for each class is expected.`);
  const classes = options.classes ?? present;
  const files: string[] = [];
  const labels: number[] = [];
  for (const [y, name] of classes.entries()) {
    if (!present.includes(name)) {
      const near = didYouMean(name, present);
      throw new DataError(
        `${where}: ${root} has no folder "${name}". ${near ? `Did you mean "${near}"?` : `It has: ${present.join(', ')}.`}`,
      );
    }
    const found = await imagesIn(join(root, name));
    if (found.length === 0)
      throw new DataError(`${where}: no image is in ${join(root, name)}. Known: ${[...extensions].join(' ')}.`);
    for (const file of found) {
      files.push(file);
      labels.push(y);
    }
  }
  return new ImageFolder(library, settings, [...classes], files, Int32Array.from(labels));
}
