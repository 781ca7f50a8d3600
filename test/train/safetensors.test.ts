import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { CheckpointError } from '../../lib/native/errors.ts';
import { readSafetensors, type SafetensorsEntry, writeSafetensors } from '../../lib/train/safetensors.ts';
import { parseHeader } from '../../lib/train/safetensors-header.ts';

const dir = mkdtempSync(join(tmpdir(), 'anneal-safetensors-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));
let files = 0;
const fresh = () => join(dir, `${files++}.safetensors`);

const bytes = (a: ArrayBufferView) => new Uint8Array(a.buffer, a.byteOffset, a.byteLength);
const entry = (name: string, dtype: SafetensorsEntry['dtype'], shape: number[], a: ArrayBufferView): SafetensorsEntry => ({
  name,
  dtype,
  shape,
  data: bytes(a),
});

/** Every dtype, a scalar, an empty tensor, a name that needs escapes; given in no useful order. */
const everything = () => [
  entry('z', 'f32', [3], Float32Array.of(0, 1, 2)),
  entry('b.x', 'bool', [3], Uint8Array.of(1, 0, 1)),
  entry('c', 'f16', [2], Uint16Array.of(0x3e00, 0xc000)),
  entry('cc', 'bf16', [2], Uint16Array.of(0x3fc0, 0xc000)),
  entry('d', 'f64', [2, 1], Float64Array.of(1, 2)),
  entry('e', 'i32', [2], Int32Array.of(-1, 7)),
  entry('f', 'u8', [3], Uint8Array.of(1, 2, 255)),
  entry('a', 'f32', [], Float32Array.of(4)),
  entry('é"', 'f32', [0, 2], new Float32Array(0)),
];

// safetensors 0.8.0 (Python, torch 2.13): save({the same tensors}, {'format': 'pt'}).
const reference = Buffer.from(
  '18020000000000007b225f5f6d657461646174615f5f223a7b22666f726d6174223a227074227d2c2264223a7b226474797065223a22463634222c227368617065223a5b322c315d2c22646174615f6f666673657473223a5b302c31365d7d2c2261223a7b226474797065223a22463332222c227368617065223a5b5d2c22646174615f6f666673657473223a5b31362c32305d7d2c227a223a7b226474797065223a22463332222c227368617065223a5b335d2c22646174615f6f666673657473223a5b32302c33325d7d2c22c3a95c22223a7b226474797065223a22463332222c227368617065223a5b302c325d2c22646174615f6f666673657473223a5b33322c33325d7d2c2265223a7b226474797065223a22493332222c227368617065223a5b325d2c22646174615f6f666673657473223a5b33322c34305d7d2c226363223a7b226474797065223a2242463136222c227368617065223a5b325d2c22646174615f6f666673657473223a5b34302c34345d7d2c2263223a7b226474797065223a22463136222c227368617065223a5b325d2c22646174615f6f666673657473223a5b34342c34385d7d2c2266223a7b226474797065223a225538222c227368617065223a5b335d2c22646174615f6f666673657473223a5b34382c35315d7d2c22622e78223a7b226474797065223a22424f4f4c222c227368617065223a5b335d2c22646174615f6f666673657473223a5b35312c35345d7d7d000000000000f03f000000000000004000008040000000000000803f00000040ffffffff07000000c03f00c0003e00c00102ff010001',
  'hex',
);

/** A file with this header text (or object) and `data` bytes after it. */
function forge(header: string | object, data = 0, length?: bigint): string {
  const text = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const out = Buffer.alloc(8 + text.length + data);
  out.writeBigUInt64LE(length ?? BigInt(text.length));
  text.copy(out, 8);
  const path = fresh();
  writeFileSync(path, out);
  return path;
}

/** Opens a file and reads each tensor; the result as plain values. */
async function contents(path: string) {
  const file = await readSafetensors(path);
  try {
    const out = new Map<string, string>();
    for (const t of file.tensors.values()) {
      out.set(t.name, `${t.dtype} [${t.shape}] ${Buffer.from(await file.read(t.name)).toString('hex')}`);
    }
    return { tensors: out, metadata: new Map(file.metadata) };
  } finally {
    await file.close();
  }
}

describe('writing', () => {
  test('gives the bytes of the reference implementation, whatever the order', async () => {
    for (const entries of [everything(), everything().reverse()]) {
      const path = fresh();
      expect(await writeSafetensors(path, entries, { format: 'pt' })).toBe(reference.length);
      expect(readFileSync(path).equals(reference)).toBe(true);
    }
  });
  test('asks for one tensor at a time, in the order of the file', async () => {
    const asked: string[] = [];
    const lazy = everything().map((e) => ({
      ...e,
      data: async () => {
        asked.push(e.name);
        return e.data as Uint8Array;
      },
    }));
    const path = fresh();
    await writeSafetensors(path, lazy, { format: 'pt' });
    expect(asked).toEqual(['d', 'a', 'z', 'é"', 'e', 'cc', 'c', 'f', 'b.x']);
    expect(readFileSync(path).equals(reference)).toBe(true);
  });
  test('a failure leaves the older file as it was, and nothing beside it', async () => {
    const path = fresh();
    await writeSafetensors(path, everything(), { format: 'pt' });
    const failing = { ...(everything()[0] as SafetensorsEntry), data: () => Promise.reject(new Error('device lost')) };
    await expect(writeSafetensors(path, [failing])).rejects.toThrow(/could not be written \(device lost\).*untouched/);
    expect(readFileSync(path).equals(reference)).toBe(true);
    expect(readdirSync(dir).filter((n) => n.includes('tmp'))).toEqual([]);
  });
  test.each([
    ['two of a name', [everything()[0], everything()[0]], /two tensors are named "z"/],
    ['the reserved name', [entry('__metadata__', 'u8', [0], new Uint8Array(0))], /cannot be named/],
    ['half a surrogate pair', [entry('\ud800', 'u8', [0], new Uint8Array(0))], /not valid Unicode/],
    ['too few bytes', [entry('w', 'f32', [3], new Uint8Array(11))], /w is f32 of shape \[3\], 12 bytes, but its data has 11/],
    ['a negative dimension', [entry('w', 'f32', [-1], new Uint8Array(0))], /impossible shape \[-1\]/],
    ['too big a shape', [entry('w', 'f32', [2 ** 40, 2 ** 40], new Uint8Array(0))], /impossible shape/],
  ])('refuses %s', async (_, entries, message) => {
    const path = fresh();
    const act = writeSafetensors(path, entries as SafetensorsEntry[]);
    await expect(act).rejects.toThrow(CheckpointError);
    await expect(act).rejects.toThrow(message);
  });
  test('a missing folder is a clear error', async () => {
    await expect(writeSafetensors(join(dir, 'no', 'x.safetensors'), [])).rejects.toThrow(
      /A folder on the way there does not exist/,
    );
  });
});

describe('reading', () => {
  test('gives back every dtype, the metadata, and the order of the data', async () => {
    const path = fresh();
    writeFileSync(path, reference);
    const { tensors, metadata } = await contents(path);
    expect([...metadata]).toEqual([['format', 'pt']]);
    expect([...tensors.keys()]).toEqual(['d', 'a', 'z', 'é"', 'e', 'cc', 'c', 'f', 'b.x']);
    for (const e of everything()) {
      expect(tensors.get(e.name)).toBe(`${e.dtype} [${e.shape}] ${Buffer.from(e.data as Uint8Array).toString('hex')}`);
    }
  });
  test('I64 becomes i32, and a value beyond it is refused', async () => {
    const values = BigInt64Array.of(5n, -6n, 2147483647n, -2147483648n);
    const path = forge({ i: { dtype: 'I64', shape: [4], data_offsets: [0, 32] } }, 32);
    const raw = readFileSync(path);
    const put = (v: BigInt64Array) => writeFileSync(path, Buffer.concat([raw.subarray(0, raw.length - 32), bytes(v)]));
    put(values);
    await using file = await readSafetensors(path);
    expect(file.tensors.get('i')).toMatchObject({ dtype: 'i32', stored: 'I64' });
    const into = new Int32Array(4);
    await file.read('i', bytes(into));
    expect([...into]).toEqual([5, -6, 2147483647, -2147483648]);
    for (const beyond of [2147483648n, -2147483649n, 4294967296n]) {
      put(BigInt64Array.of(0n, 0n, beyond, 0n));
      await expect(file.read('i')).rejects.toThrow(`element 2 is ${beyond}, which does not fit into i32`);
    }
  });
  test('names such as __proto__ and constructor are names', async () => {
    const path = fresh();
    const names = ['__proto__', 'constructor', 'toString', '0'];
    await writeSafetensors(
      path,
      names.map((n, i) => entry(n, 'u8', [1], Uint8Array.of(i))),
    );
    await using file = await readSafetensors(path);
    expect([...file.tensors.keys()].sort()).toEqual([...names].sort());
    for (let i = 0; i < names.length; i++) expect([...(await file.read(names[i] as string))]).toEqual([i]);
    await expect(file.read('hasOwnProperty')).rejects.toThrow(/holds no tensor "hasOwnProperty"; it has 0, /);
    expect(({} as Record<string, unknown>).dtype).toBeUndefined();
  });
  test('a buffer of the wrong length, a file that shrinks, a bool that is none', async () => {
    const path = fresh();
    writeFileSync(path, reference);
    await using file = await readSafetensors(path);
    await expect(file.read('z', new Uint8Array(11))).rejects.toThrow(/takes 12 bytes, the given buffer has 11/);
    truncateSync(path, reference.length - 1);
    await expect(file.read('b.x')).rejects.toThrow(/cut short/);
    const wrong = Buffer.from(reference);
    wrong[wrong.length - 2] = 2;
    writeFileSync(path, wrong);
    await expect(file.read('b.x')).rejects.toThrow(/b\.x is BOOL, but byte 1 is 2/);
  });
});

describe('hostile files', () => {
  const f32 = (begin: number, end: number, shape: unknown = [(end - begin) / 4]) => ({
    dtype: 'F32',
    shape,
    data_offsets: [begin, end],
  });
  const cases: [string, () => string, RegExp][] = [
    ['no file', () => join(dir, 'none'), /there is no such file/],
    ['a folder', () => dir, /not a regular file/],
    ['a device that never ends', () => '/dev/zero', /not a regular file/],
    ['too short', () => forge('', 0), /8 bytes are too few/],
    ['header beyond the file', () => forge('{}', 8, 1000n), /header would take 1000 bytes, the file has 18/],
    ['header beyond 100 MB', () => forge('{}', 8, 1n << 40n), /more than the format's 100000000/],
    ['header of 2^64 - 1', () => forge('{}', 8, (1n << 64n) - 1n), /18446744073709551615 bytes/],
    ['not JSON', () => forge('{"a":'), /not JSON/],
    ['an array', () => forge('[1,2]'), /does not begin with/],
    ['leading blank', () => forge(' {}'), /does not begin with/],
    ['text after it', () => forge('{}x'), /not JSON/],
    ['deep nesting', () => forge(`{"a":${'['.repeat(200_000)}${']'.repeat(200_000)}}`), /not described by an object|not JSON/],
    [
      'a key twice',
      () => forge('{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'),
      /"a" occurs twice/,
    ],
    [
      'a key twice, escaped',
      () =>
        forge('{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"\\u0061":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'),
      /"a" occurs twice/,
    ],
    [
      'an inner key twice',
      () => forge('{"a":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}}'),
      /"dtype" occurs twice/,
    ],
    ['metadata keys twice', () => forge('{"__metadata__":{"k":"1","k":"2"}}'), /"k" occurs twice/],
    ['metadata no map', () => forge('{"__metadata__":["x"]}'), /__metadata__ is not an object/],
    ['metadata not strings', () => forge('{"__metadata__":{"k":{}}}'), /__metadata__ "k" is not a string/],
    ['no dtype', () => forge({ a: { shape: [0], data_offsets: [0, 0] } }), /has no dtype/],
    [
      'a dtype of the prototype',
      () => forge({ a: { dtype: 'constructor', shape: [0], data_offsets: [0, 0] } }),
      /readable are F32/,
    ],
    ['a dtype we lack', () => forge({ a: { dtype: 'F8_E4M3', shape: [0], data_offsets: [0, 0] } }), /"F8_E4M3"; readable are/],
    ['no shape', () => forge({ a: { dtype: 'F32', data_offsets: [0, 0] } }), /has no shape/],
    ['overlap', () => forge({ a: f32(0, 8), b: f32(4, 12) }, 12), /"b" begins at byte 4, expected 8/],
    ['the same bytes twice', () => forge({ a: f32(0, 8), b: f32(0, 8) }, 8), /begins at byte 0, expected 8/],
    ['a gap', () => forge({ a: f32(0, 4), b: f32(8, 12) }, 12), /"b" begins at byte 8, expected 4/],
    ['a gap in front', () => forge({ a: f32(4, 8) }, 8), /begins at byte 4, expected 0/],
    ['cut short', () => forge({ a: f32(0, 8) }, 7), /need 8 bytes of data and the file has 7/],
    ['trailing bytes', () => forge({ a: f32(0, 8) }, 9), /1 bytes follow/],
    ['size against shape', () => forge({ a: f32(0, 8, [3]) }, 8), /spans 8 bytes, but F32 of shape \[3\] takes 12/],
    ['overflowing shape', () => forge({ a: f32(0, 0, [2 ** 30, 2 ** 30, 2 ** 30, 0]) }), /impossible shape/],
    [
      'negative dimension',
      () => forge('{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,0]}}'),
      /the number -1 is not a count/,
    ],
    ['fraction', () => forge('{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}', 4), /the number 1\.0 is not a count/],
    ['exponent', () => forge('{"a":{"dtype":"U8","shape":[1e1],"data_offsets":[0,10]}}', 10), /the number 1e1 is not a count/],
    ['a string dimension', () => forge('{"a":{"dtype":"U8","shape":["1"],"data_offsets":[0,1]}}', 1), /impossible shape \["1"\]/],
    [
      'offsets beyond 2^53',
      () => forge('{"a":{"dtype":"U8","shape":[0],"data_offsets":[9007199254740993,9007199254740993]}}'),
      /wrong data_offsets/,
    ],
    ['offsets reversed', () => forge('{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}}', 1), /wrong data_offsets/],
    ['three offsets', () => forge('{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}}', 2), /wrong data_offsets/],
    ['no offsets', () => forge('{"a":{"dtype":"U8","shape":[1]}}', 1), /wrong data_offsets/],
  ];
  test.each(cases)('%s', async (_, make, message) => {
    const error = await readSafetensors(make()).then(
      () => new Error('was accepted'),
      (e: unknown) => e,
    );
    expect(error).toBeInstanceOf(CheckpointError);
    expect((error as Error).message).toMatch(message);
  });
  test('bytes that are not UTF-8', () => {
    const bad = Uint8Array.of(0x7b, 0x22, 0xff, 0x22, 0x3a, 0x7b, 0x7d, 0x7d);
    expect(() => parseHeader('x', bad, 0)).toThrow(/not JSON in UTF-8/);
  });
  test('a 4 MB string in the header is no trouble', () => {
    const header = Buffer.from(JSON.stringify({ __metadata__: { k: '\\"'.repeat(1 << 20) } }));
    expect(parseHeader('x', header, 0).metadata.get('k')).toHaveLength(2 << 20);
  });
});

/** mulberry32: a small seeded generator. */
function generator(seed: number): () => number {
  let a = seed;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

describe('fuzz', () => {
  /** Header and data lengths of damaged bytes as readSafetensors takes them, without the disk. */
  const parse = (file: Uint8Array) => {
    if (file.length < 10) throw new CheckpointError('short');
    const length = new DataView(file.buffer, file.byteOffset).getBigUint64(0, true);
    if (length > BigInt(file.length - 8)) throw new CheckpointError('long');
    const n = Number(length);
    return { ...parseHeader('x', file.subarray(8, 8 + n), file.length - 8 - n), start: 8 + n };
  };

  test('cut at every byte: always refused', async () => {
    const path = fresh();
    for (let n = 0; n < reference.length; n++) {
      writeFileSync(path, reference.subarray(0, n));
      await expect(readSafetensors(path), `cut to ${n}`).rejects.toThrow(CheckpointError);
    }
    writeFileSync(path, reference);
    expect((await contents(path)).tensors.size).toBe(9);
  });

  test('every single bit flipped: refused, or read within bounds with sizes that agree', () => {
    const original = parse(reference);
    let accepted = 0;
    for (let bit = 0; bit < reference.length * 8; bit++) {
      const file = Uint8Array.from(reference);
      file[bit >> 3] = (file[bit >> 3] as number) ^ (1 << (bit & 7));
      try {
        const { tensors, start } = parse(file);
        accepted++;
        let total = 0;
        for (const t of tensors.values()) total += t.end - t.begin;
        expect(start + total).toBe(file.length);
        expect(tensors.size).toBeLessThanOrEqual(original.tensors.size + 1);
        if (bit >> 3 >= original.start) expect(tensors).toEqual(original.tensors); // data: the header is the same
        if (bit >> 3 < 8) expect.fail(`the length was changed by bit ${bit} and passed`);
      } catch (error) {
        if (!(error instanceof CheckpointError)) throw error;
      }
    }
    expect(accepted).toBeGreaterThan((reference.length - original.start) * 8 - 1);
  });

  test('20,000 files with several faults: never another error than CheckpointError', () => {
    const random = generator(20240);
    const below = (n: number) => Math.floor(random() * n);
    const tokens = [
      '"',
      '{',
      '}',
      '[',
      ']',
      ',',
      ':',
      '-1',
      '1e9',
      '\\',
      '\\u0000',
      '__proto__',
      'null',
      '99999999999999999999',
      '0',
      ' ',
    ];
    let refused = 0;
    for (let i = 0; i < 20_000; i++) {
      let file: Uint8Array = Uint8Array.from(reference);
      for (let k = 0, faults = 1 + below(4); k < faults; k++) {
        const at = 8 + below(file.length - 8);
        const kind = below(4);
        const token = Buffer.from(tokens[below(tokens.length)] as string);
        if (kind === 0) file[at] = below(256);
        else if (kind === 1) file = Buffer.concat([file.subarray(0, at), token, file.subarray(at)]);
        else if (kind === 2)
          file = Buffer.concat([file.subarray(0, at), file.subarray(Math.min(file.length, at + 1 + below(16)))]);
        else file.set(token.subarray(0, file.length - at), at);
        if (file.length < 16) break;
      }
      try {
        const { tensors, start } = parse(file);
        for (const t of tensors.values()) expect(start + t.end).toBeLessThanOrEqual(file.length);
      } catch (error) {
        refused++;
        if (!(error instanceof CheckpointError)) throw error;
      }
    }
    expect(refused).toBeGreaterThan(10_000);
  });
});
