// TensorBoard's event files: records of TFRecord's framing, each an Event. Field numbers are those of tensorflow/core/util/event.proto and
// tensorflow/core/framework/{summary,tensor,histogram}.proto.
import { crc32c } from '../crc.ts';
import { Message } from './protobuf.ts';

/** Checksums are rotated and shifted, since a checksum of data that holds checksums is weak. */
const masked = (data: Uint8Array): number => {
  const crc = crc32c(data);
  return ((((crc >>> 15) | (crc << 17)) >>> 0) + 0xa282ead8) >>> 0;
};

/** Length (8 bytes), its checksum, the data, their checksum. */
export function frame(data: Uint8Array): Buffer {
  const out = Buffer.alloc(16 + data.length);
  out.writeBigUInt64LE(BigInt(data.length), 0);
  out.writeUInt32LE(masked(out.subarray(0, 8)), 8);
  out.set(data, 12);
  out.writeUInt32LE(masked(data), 12 + data.length);
  return out;
}

/** @param wallTime seconds since 1970 */
const event = (wallTime: number, step: number): Message => new Message().double(1, wallTime).int(2, step);

/** What a file begins with. */
export const version = (wallTime: number): Message => event(wallTime, 0).bytes(3, 'brain.Event:2');

/** A start of the program: readers forget what was told of `step` and later ones. */
export const sessionStart = (wallTime: number, step: number): Message =>
  event(wallTime, step).message(7, new Message().int(1, 1));

export const summary = (wallTime: number, step: number, values: readonly Message[]): Message =>
  event(wallTime, step).message(
    5,
    values.reduce((all, v) => all.message(1, v), new Message()),
  );

export const scalarValue = (tag: string, value: number): Message => new Message().bytes(1, tag).float(2, value);

export const imageValue = (tag: string, png: Uint8Array, [channels, height, width]: readonly number[]): Message => {
  const image = new Message().int(1, height as number).int(2, width as number);
  return new Message().bytes(1, tag).message(4, image.int(3, channels as number).bytes(4, png));
};

/** A string tensor of shape [1] of the text plugin. */
export const textValue = (tag: string, text: string): Message => {
  const shape = new Message().message(2, new Message().int(1, 1));
  const tensor = new Message().int(1, 7).message(2, shape).bytes(8, text);
  const metadata = new Message().message(1, new Message().bytes(1, 'text'));
  return new Message().bytes(1, tag).message(8, tensor).message(9, metadata);
};

export interface Histogram {
  min: number;
  max: number;
  count: number;
  sum: number;
  sumSquares: number;
  /** Upper ends of the buckets, ascending. */
  limits: number[];
  counts: number[];
}
export const histogramValue = (tag: string, h: Histogram): Message => {
  const proto = new Message().double(1, h.min).double(2, h.max).double(3, h.count).double(4, h.sum).double(5, h.sumSquares);
  return new Message().bytes(1, tag).message(5, proto.doubles(6, h.limits).doubles(7, h.counts));
};
