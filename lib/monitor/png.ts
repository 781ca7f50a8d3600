import { deflateSync } from 'node:zlib';
import { ConfigError, describe, ShapeError } from '../native/errors.ts';
import { crc32 } from './crc.ts';

const signature = Uint8Array.of(137, 80, 78, 71, 13, 10, 26, 10);
/** PNG's colour types by channels: grey, grey with alpha, RGB, RGBA. */
const colorTypes = [0, 4, 2, 6] as const;

function chunk(type: string, data: Uint8Array): Buffer {
  const out = Buffer.alloc(12 + data.length);
  out.writeUInt32BE(data.length, 0);
  out.write(type, 4, 'latin1');
  out.set(data, 8);
  out.writeUInt32BE(crc32(out.subarray(4, 8 + data.length)), 8 + data.length);
  return out;
}

/**
 * A picture of bytes as a PNG file of 8 bits (ISO/IEC 15948), without filters: for small pictures such as samples of a data set.
 * @param pixels height x width x channels, row-major
 * @param channels 1: grey, 2: grey and alpha, 3: RGB, 4: RGBA
 */
export function encodePng(pixels: Uint8Array, width: number, height: number, channels: 1 | 2 | 3 | 4): Buffer {
  if (!(pixels instanceof Uint8Array)) throw new ConfigError(`encodePng: pixels must be a Uint8Array, got ${describe(pixels)}.`);
  const sizes = [width, height].every((n) => Number.isSafeInteger(n) && n >= 1 && n < 2 ** 31);
  const colorType = colorTypes[channels - 1];
  if (!sizes || colorType === undefined || pixels.length !== width * height * channels)
    throw new ShapeError(
      `encodePng: ${pixels.length} bytes are no picture of ${width} x ${height} with ${channels} channels (1 to 4).`,
    );
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, colorType, 0, 0, 0], 8);
  const row = width * channels;
  const lines = Buffer.alloc((row + 1) * height); // each line begins with its filter, 0: none
  for (let y = 0; y < height; y++) lines.set(pixels.subarray(y * row, (y + 1) * row), y * (row + 1) + 1);
  return Buffer.concat([signature, chunk('IHDR', header), chunk('IDAT', deflateSync(lines)), chunk('IEND', Buffer.alloc(0))]);
}

/** An image [channels, height, width] of floats or bytes as such a picture. */
export interface PlanarImage {
  data: ArrayLike<number>;
  shape: readonly [channels: number, height: number, width: number];
  /** Bytes are taken as they are; floats from 0 to 1, or where they leave that, from the smallest to the largest. */
  bytes: boolean;
}

/**
 * PNG of an image as models take it, no longer than `longest` pixels at a side: larger ones are thinned out. A NaN is a full first channel, red in colour.
 * @throws ShapeError unless there are 1, 3 or 4 channels
 */
export function imagePng(image: PlanarImage, longest = Infinity): Buffer {
  const { data, shape, bytes } = image;
  const [channels, height, width] = shape;
  if (![1, 3, 4].includes(channels)) throw new ShapeError(`imagePng: an image has 1, 3 or 4 channels, got ${channels}.`);
  if (data.length !== channels * height * width)
    throw new ShapeError(`imagePng: ${data.length} values are no image [${channels}, ${height}, ${width}].`);
  const every = Math.max(1, Math.ceil(Math.max(height, width) / longest));
  const [h, w] = [Math.ceil(height / every), Math.ceil(width / every)];
  const [low, span] = bytes ? [0, 255] : rangeOf(data);
  const pixels = new Uint8Array(h * w * channels);
  for (let c = 0; c < channels; c++)
    for (let y = 0; y < h; y++)
      for (let x = 0; x < w; x++) {
        const v = data[(c * height + y * every) * width + x * every] as number;
        const level = Number.isNaN(v) ? +(c === 0) : (v - low) / span;
        pixels[(y * w + x) * channels + c] = Math.round(255 * Math.min(1, Math.max(0, level)));
      }
  return encodePng(pixels, w, h, channels as 1 | 3 | 4);
}

function rangeOf(data: ArrayLike<number>): [low: number, span: number] {
  let [low, high] = [0, 1];
  for (let i = 0; i < data.length; i++) {
    const v = data[i] as number;
    if (v < low && v > Number.NEGATIVE_INFINITY) low = v;
    if (v > high && v < Number.POSITIVE_INFINITY) high = v;
  }
  if (low === 0 && high === 1) return [0, 1];
  [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (let i = 0; i < data.length; i++) {
    const v = data[i] as number;
    if (!Number.isFinite(v)) continue;
    low = Math.min(low, v);
    high = Math.max(high, v);
  }
  return [low, high - low || 1];
}

/** The file in a data URL of a PNG, and [channels, height, width] as its header tells them; undefined for anything else. */
export function pngOf(url: string): { bytes: Buffer; shape: [number, number, number] } | undefined {
  if (!pngUrl.test(url)) return undefined;
  const bytes = Buffer.from(url.slice(url.indexOf(',') + 1), 'base64');
  if (bytes.length < 26 || !bytes.subarray(0, 8).equals(signature)) return undefined;
  const channels = colorTypes.indexOf(bytes[25] as (typeof colorTypes)[number]) + 1;
  return { bytes, shape: [channels, bytes.readUInt32BE(20), bytes.readUInt32BE(16)] };
}
/** Pictures that come with what names them: a page may show these and no others. */
export const pngUrl = /^data:image\/png;base64,[A-Za-z0-9+/=]+$/;
