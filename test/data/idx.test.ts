import { mkdtempSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { idx } from '../../lib/data/idx.ts';
import { AnnealError, ConfigError, DataError } from '../../lib/native/errors.ts';
import { PhiloxStream } from '../../lib/tensor/philox.ts';
import { errorOf, tempFile } from './helpers.ts';

/** An IDX file of `type` with these dimensions and body. */
function build(type: number, dims: number[], body: Buffer): Buffer {
  const head = Buffer.alloc(4 + 4 * dims.length);
  head[2] = type;
  head[3] = dims.length;
  dims.forEach((n, i) => {
    head.writeUInt32BE(n, 4 + 4 * i);
  });
  return Buffer.concat([head, body]);
}

function body(values: number[], bytes: number, write: (b: Buffer, v: number, at: number) => void): Buffer {
  const out = Buffer.alloc(values.length * bytes);
  values.forEach((v, i) => {
    write(out, v, i * bytes);
  });
  return out;
}

describe('data.idx', () => {
  const cases = [
    [8, 'u8', [0, 1, 254, 255], body([0, 1, 254, 255], 1, (b, v, at) => b.writeUInt8(v, at))],
    [9, 'i32', [0, 1, -128, 127], body([0, 1, -128, 127], 1, (b, v, at) => b.writeInt8(v, at))],
    [11, 'i32', [0, 1, -32768, 32767], body([0, 1, -32768, 32767], 2, (b, v, at) => b.writeInt16BE(v, at))],
    [12, 'i32', [0, 1, -(2 ** 31), 2 ** 31 - 1], body([0, 1, -(2 ** 31), 2 ** 31 - 1], 4, (b, v, at) => b.writeInt32BE(v, at))],
    [13, 'f32', [0, 0.5, -1.25, 1e10], body([0, 0.5, -1.25, 1e10], 4, (b, v, at) => b.writeFloatBE(v, at))],
    [14, 'f64', [0, 0.1, -1.25, 1e300], body([0, 0.1, -1.25, 1e300], 8, (b, v, at) => b.writeDoubleBE(v, at))],
  ] as const;
  it.each(cases)('reads type %d as %s, plain and gzip', async (type, dtype, values, bytes) => {
    const file = build(type, [2, 2], bytes);
    for (const content of [file, gzipSync(file)]) {
      const array = await idx(tempFile(content));
      expect([array.dtype, array.shape]).toEqual([dtype, [2, 2]]);
      expect([...array.data]).toEqual(values);
      expect(array.data.buffer).toBeInstanceOf(SharedArrayBuffer);
    }
  });

  it('joins values cut by the pieces in which a file is read', async () => {
    const values = Array.from({ length: 50_000 }, (_, i) => i * 1.5);
    const file = build(
      14,
      [50_000],
      body(values, 8, (b, v, at) => b.writeDoubleBE(v, at)),
    );
    for (const content of [file, gzipSync(file)]) expect([...(await idx(tempFile(content))).data]).toEqual(values);
  });

  const good = build(8, [2, 3], Buffer.alloc(6, 7));
  const gz = gzipSync(good);
  const refused: [string, Buffer, RegExp][] = [
    ['an empty file', Buffer.alloc(0), /ends within the header, after 0 bytes/],
    ['half a header', good.subarray(0, 6), /ends within the header, after 6 bytes/],
    ['another magic', Buffer.concat([Buffer.from('PNG.'), good]), /bytes 0 and 1 must be 0/],
    ['an unknown type', build(10, [6], Buffer.alloc(6)), /byte 2 .* found 10/],
    ['no dimensions', build(8, [], Buffer.alloc(6)), /byte 3 .* found 0/],
    ['too many dimensions', build(8, new Array(9).fill(1), Buffer.alloc(1)), /byte 3 .* found 9/],
    ['a dimension of 0', build(8, [0, 28], Buffer.alloc(0)), /dimension 0 \(at byte 4\) is 0/],
    ['a cut body', good.subarray(0, 13), /\[2, 3\] = 6 bytes .* but 1 follow: the file is cut short/],
    ['a longer body', Buffer.concat([good, good]), /longer than it says/],
    ['a header far beyond the file', build(14, [0xffffffff, 0xffffffff, 0xffffffff], Buffer.alloc(6)), /cut short/],
    [
      'a gzip header far beyond the file',
      gzipSync(build(8, [0xffffffff, 0xffff], Buffer.alloc(6))),
      /more than \d+ bytes of gzip can inflate to/,
    ],
    ['cut gzip', gz.subarray(0, gz.length - 12), /damaged or cut short/],
    ['damaged gzip', Buffer.concat([gz.subarray(0, gz.length - 8), Buffer.alloc(8, 0xff)]), /damaged or cut short/],
    ['gzip with a cut body', gzipSync(good.subarray(0, 13)), /expected 6 bytes .* found 1/],
    ['gzip with a longer body', gzipSync(Buffer.concat([good, good])), /more bytes follow than the 6/],
  ];
  it.each(refused)('refuses %s', async (_, content, message) => {
    const path = tempFile(content);
    const error = await errorOf(() => idx(path));
    expect(error).toBeInstanceOf(DataError);
    expect(error.message).toMatch(message);
    expect(error.message).toContain(path);
  });

  it('refuses what is no file, and options that do not exist', async () => {
    expect((await errorOf(() => idx('/nowhere/at/all'))).message).toMatch(/there is no such file/);
    expect((await errorOf(() => idx(mkdtempSync(`${tmpdir()}/d-`)))).message).toMatch(/is a directory/);
    expect((await errorOf(() => idx('/dev/zero'))).message).toMatch(/not a regular file/);
    expect(await errorOf(() => idx(7 as unknown as string))).toBeInstanceOf(ConfigError);
    expect((await errorOf(() => idx('f', { maxByte: 1 } as object))).message).toMatch(/should be "maxBytes"/);
    expect((await errorOf(() => idx(tempFile(good), { maxBytes: 3 }))).message).toMatch(/limit of 3/);
  });

  it('does not take memory for a sparse giant: the limit names itself', async () => {
    const path = tempFile(build(8, [4, 1024, 1024, 1024], Buffer.alloc(0)));
    truncateSync(path, 20 + 4 * 2 ** 30); // sparse
    expect((await errorOf(() => idx(path, { maxBytes: 2 ** 20 }))).message).toMatch(/maxBytes: 4294967296/);
  });

  it('survives 400 seeded mutations, plain and gzip', async () => {
    const rng = new PhiloxStream(11, 'fuzz/idx');
    for (let round = 0; round < 400; round++) {
      const source = rng.below(2) ? good : gz;
      let bytes = Buffer.from(source);
      for (let k = rng.below(4); k >= 0; k--) bytes[rng.below(bytes.length)] = rng.below(256);
      if (rng.below(3) === 0) bytes = bytes.subarray(0, rng.below(bytes.length));
      try {
        const array = await idx(tempFile(bytes));
        expect(array.data.length).toBeLessThan(100);
      } catch (error) {
        expect(error).toBeInstanceOf(AnnealError);
      }
    }
  });
});
