/** Pickles that want to run something, and files whose numbers lie: refused by CheckpointError, and nothing else happens. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { CheckpointError, PhiloxStream } from '../../lib/index.ts';
import {
  archive,
  bytes,
  call,
  type Entry,
  free,
  global,
  int,
  type Part,
  pickle,
  readBytes,
  storage,
  tensor,
  text,
  torchFile,
  tuple,
  u32,
  u64,
} from './torch-archive.ts';

const golden = (name: string): Buffer =>
  readFileSync(fileURLToPath(new URL(`../golden/torch-files/${name}.pt`, import.meta.url)));
const repeat = (n: number, ...parts: readonly Part[]): Buffer => Buffer.concat(Array(n).fill(bytes(...parts)));
const code = (name: string) =>
  new RegExp(`Python object "${name.replaceAll('.', '\\.')}", which would have been code to run\\. Nothing was run`);

const pickles: readonly (readonly [string, Buffer, RegExp])[] = [
  // code
  ['os.system by REDUCE', pickle(call('os', 'system', text('touch /tmp/x'))), code('os.system')],
  ['posix.system', pickle(call('posix', 'system', text('id'))), code('posix.system')],
  ['builtins.eval', pickle(call('builtins', 'eval', text('1+1'))), code('builtins.eval')],
  ['__builtin__.exec', pickle(call('__builtin__', 'exec', text('x'))), code('__builtin__.exec')],
  ['builtins.getattr', pickle(call('builtins', 'getattr', global('torch', 'Size'), text('x'))), code('builtins.getattr')],
  ['a name that is not even called', pickle(global('subprocess', 'Popen')), code('subprocess.Popen')],
  ['STACK_GLOBAL', pickle(0x8c, 2, 'os', 0x8c, 6, 'system', 0x93), code('os.system')],
  ['STACK_GLOBAL of a dotted name', pickle(text('torch'), text('hub.load'), 0x93), code('torch.hub.load')],
  ['STACK_GLOBAL of numbers', pickle(int(1), int(2), 0x93), /the name of a global is no string/],
  ['torch.load within', pickle(call('torch.serialization', 'load', text('y'))), code('torch.serialization.load')],
  ['a name of JavaScript', pickle(global('constructor', 'constructor')), code('constructor.constructor')],
  ['__proto__', pickle(text('__proto__'), text(''), 0x93), code('__proto__.')],
  ['INST', pickle('(', text('id'), 'ios\nsystem\n'), /opcode INST at byte .*may run code\. Nothing was run/],
  ['OBJ', pickle('(', 'o'), /opcode OBJ/],
  ['NEWOBJ of os.system', pickle(global('os', 'system'), tuple(), 0x81), code('os.system')],
  ['NEWOBJ_EX', pickle(0x92), /opcode NEWOBJ_EX/],
  ['EXT1', pickle(0x82, 1), /opcode EXT1/],
  ['BUILD on a tensor', pickle(tensor(), '}', 'b'), /sets the state of an object that is no dict\. Nothing was run/],
  ['BUILD on a name', pickle(global('torch', 'Tensor'), '}', 'b'), /sets the state/],
  ['a call of a string', pickle(text('os.system'), tuple(), 'R'), /calls what is no function/],
  ['a call of a class', pickle(call('torch', 'FloatStorage', int(1 << 30))), /calls torch\.FloatStorage/],
  ['a call of a result', pickle(call('torch', 'Size', tuple()), tuple(), 'R'), /calls what is no function/],
  [
    'a builder of builders',
    pickle(call('torch._tensor', '_rebuild_from_type_v2', global('torch._tensor', '_rebuild_from_type_v2'), int(0), tuple())),
    /made by something else/,
  ],
  [
    '_codecs.encode with a codec',
    pickle(call('_codecs', 'encode', text('x'), text('rot13'))),
    /bytes are written in an unknown way/,
  ],
  ['protocol 0', bytes('cos\nsystem\n(S', "'id'", '\ntR.'), /neither as a zip|os\.system/],
  // stack, memo, lengths
  ['an empty pickle', Buffer.alloc(0), /1 bytes are wanted where 0 are left/],
  ['STOP with nothing', pickle(), /its stack is empty/],
  ['values left over', pickle(int(1), int(2)), /values left over/],
  ['a pop below a mark', pickle(int(1), '(', '0', '0', 'a'), /its stack is empty|appends to what/],
  ['a tuple over a mark', pickle(int(1), '(', int(2), 0x86), /its stack is empty/],
  ['a mark that is missing', pickle('t'), /a mark is missing/],
  ['a memo out of range', pickle('h', 7), /asks for memo 7, which is not there/],
  ['a memo of 2^32 - 1', pickle('j', u32(0xffffffff)), /asks for memo 4294967295/],
  ['LONG4 of 2 GB', pickle(0x8b, u32(0x7fffffff)), /an integer of 2147483647 bytes is too long/],
  ['LONG4 of -1 byte', pickle(0x8b, u32(0xffffffff)), /an integer of 4294967295 bytes/],
  ['a string of 4 GB', pickle('X', u32(0xffffffff)), /4294967295 bytes are wanted/],
  ['a string of 2^63 bytes', pickle(0x8d, u64(1n << 63n)), /a length of 9223372036854775808 bytes/],
  ['a bytearray of 2^53', pickle(0x96, u64(1n << 53n)), /a length of/],
  ['a frame beyond the end', pickle(0x95, u64(1000n)), /a length of|a frame is cut off/],
  ['a string that is not UTF-8', pickle('X', u32(2), 0xff, 0xfe), /not UTF-8/],
  ['protocol 6', bytes(0x80, 6, 'N.'), /newer than 5/],
  ['an opcode that is none', pickle(0xff), /0xff is no opcode/],
  ['a name without an end', pickle(`c${'a'.repeat(2000)}`), /a name has no end/],
  ['a list that holds itself', pickle(']', 'q', 0, 'h', 0, 'a'), /holds itself/],
  ['a dict that holds itself', pickle('}', 'q', 0, text('x'), 'h', 0, 's'), /holds itself/],
  ['lists 100,000 deep', pickle(repeat(100_000, ']'), repeat(99_999, 'a')), /nested deeper than 256/],
  ['tuples 100,000 deep', pickle(')', repeat(100_000, 0x85)), /nested deeper than 256/],
  ['a dict with a list as key', pickle('}', ']', int(1), 's'), /a key that is no string/],
  ['a dict with half an item', pickle('}', '(', int(1), 'u'), /a key without a value/],
  ['items of a list', pickle(']', int(1), int(1), 's'), /sets items of what is no dict/],
  ['an append to a tensor', pickle(tensor(), int(1), 'a'), /appends to what is no list/],
  // bombs
  ['three million lists', pickle('(', repeat(3_000_000, ']'), 't'), /makes more than 2000000 objects/],
  ['three million memos', pickle('N', ...[...Array(47)].map(() => repeat(65_536, 0x94))), /keeps more than 2000000 values/],
  [
    'one string encoded again and again',
    pickle(
      text('x'.repeat(1 << 20)),
      'q',
      0,
      '0',
      '(',
      repeat(200, global('_codecs', 'encode'), '(h', 0, text('latin1'), 'tR'),
      't',
    ),
    /copies too much/,
  ],
  [
    'one tuple copied again and again',
    pickle('(', repeat(100_000, 'N'), 'tq', 0, '0(', repeat(100, global('torch', 'Size'), 'h', 0, 0x85, 'R'), 't'),
    /copies too much/,
  ],
  // tensors
  ['a storage that is not there', pickle(tensor({ key: '9' })), /the storage "9" is not in the file/],
  ['a storage outside of its folder', pickle(tensor({ key: '../data.pkl' })), /the storage "..\/data\.pkl" is not in the file/],
  ['a storage of more than the file has', pickle(tensor({ numel: 5 })), /takes 20 bytes, but the file has 16/],
  ['a storage of 2^52', pickle(tensor({ numel: 2 ** 52 })), /takes 18014398509481984 bytes/],
  ['a storage of 2^62', pickle(tensor({ numel: 1n << 62n })), /the id of a storage is broken/],
  ['a wider dtype', pickle(tensor({ kind: 'DoubleStorage' })), /takes 32 bytes/],
  ['an offset behind the end', pickle(tensor({ offset: 1 })), /reaches to element 5 of a storage of 4/],
  ['an offset of 2^52', pickle(tensor({ offset: 2 ** 52, size: [1] })), /of a storage of 4/],
  ['a negative offset', pickle(tensor({ offset: -1 })), /a wrong offset, size or stride/],
  ['a negative stride', pickle(tensor({ offset: 3, stride: [-1] })), /a wrong offset, size or stride/],
  ['a negative size', pickle(tensor({ size: [-4] })), /a wrong offset, size or stride/],
  ['a size beyond 2^53', pickle(tensor({ size: [2 ** 30, 2 ** 30], stride: [0, 0] })), /is too large/],
  ['a size beyond memory', pickle(tensor({ size: [2 ** 20, 2 ** 19], stride: [0, 0] })), /take more than .* bytes/],
  ['strides whose product is beyond 2^53', pickle(tensor({ size: [2, 2], stride: [2 ** 52, 2 ** 52] })), /of a storage of 4/],
  ['more strides than sizes', pickle(tensor({ stride: [1, 1] })), /a wrong offset, size or stride/],
  [
    'a size that is a string',
    pickle(call('torch._utils', '_rebuild_tensor_v2', storage(), int(0), tuple(text('4')), tuple(int(1)))),
    /a wrong offset/,
  ],
  ['a tensor without arguments', pickle(call('torch._utils', '_rebuild_tensor_v2')), /a tensor has no storage/],
  ['a tensor on a dict', pickle(call('torch._utils', '_rebuild_tensor_v2', '}', int(0), ')', ')')), /a tensor has no storage/],
  [
    'a Parameter of a string',
    pickle(call('torch._utils', '_rebuild_parameter', text('x'), 0x88, 'N')),
    /a Parameter holds no tensor/,
  ],
  ['a persistent id of a string', pickle(text('storage'), 'Q'), /a persistent id is not of a storage/],
  ['a storage by itself', pickle(storage()), /holds a storage by itself/],
  ['a class as a value', pickle(global('torch', 'Tensor')), /holds the Python class torch\.Tensor/],
  [
    'a thousand views that each span all',
    pickle(
      '(',
      ...[...Array(1000)].map((_, i) => tensor({ key: '1', numel: 1 << 18, size: [2, 1], stride: [(1 << 18) - 1 - i, 1] })),
      't',
    ),
    /take more than .* bytes/,
  ],
];

describe('a hostile pickle', () => {
  const big: Entry = { name: 'a/data/1', data: new Uint8Array(1 << 20) };
  test.each(pickles)('%s is refused', async (_, data, message) => {
    const error = await readBytes(torchFile(data, [big])).then(
      () => undefined,
      (e: unknown) => e,
    );
    expect(error).toBeInstanceOf(CheckpointError);
    expect((error as Error).message).toMatch(message);
    expect((error as Error).message.length).toBeLessThan(700);
  });
  test('is what more than thirty of these are', () => expect(pickles.length).toBeGreaterThan(60));

  test('what is no threat is read: the same forge, honest', async () => {
    const value = await readBytes(torchFile(pickle('}', text('w'), tensor({ size: [2, 2], stride: [1, 2] }), 's')));
    expect(value).toBeInstanceOf(Map);
    free(value);
  });
});

describe('an archive whose numbers lie', () => {
  const data = pickle('N');
  const main: Entry = { name: 'a/data.pkl', data };
  test.each<[string, Buffer, RegExp]>([
    ['two pickles', archive([main, { name: 'b/data.pkl', data }]), /a zip archive with 2 files NAME\/data\.pkl/],
    ['no pickle', archive([{ name: 'a/x', data }]), /with 0 files/],
    ['a name twice', archive([main, main]), /"a\/data\.pkl" is in its zip directory twice/],
    ['an entry beyond the data', archive([{ ...main, size: 10_000 }]), /reaches beyond the archive's data/],
    ['an entry at 2^32 - 1', archive([{ ...main, header: 0xfffffffe }]), /reaches beyond/],
    [
      'an entry inside of another',
      archive([
        { name: 'a/x', data: bytes('PK') },
        { ...main, header: 1 },
      ]),
      /reaches over what follows it/,
    ],
    [
      'two entries at one place',
      archive([
        { name: 'a/x', data: new Uint8Array(100) },
        { ...main, header: 0 },
      ]),
      /reaches over what follows it/,
    ],
    [
      'an entry that is not where it should be',
      archive([
        { name: 'a/x', data: new Uint8Array(100), size: 10 },
        { ...main, header: 60 },
      ]),
      /is not where the zip directory says/,
    ],
    ['an encrypted entry', archive([{ ...main, flags: 1 }]), /is encrypted/],
    ['a compressed entry', archive([{ ...main, method: 8 }]), /is compressed/],
    ['a directory beyond the end', archive([main], { at: 10_000 }), /reaches beyond its end/],
    ['a directory of more entries', archive([main], { count: 60_000 }), /says 60000 entries/],
    ['a directory of one entry more', archive([main], { count: 2, size: 56 + 46 }), /beyond its end|is broken/],
    [
      'a zip64 number of 2^63',
      archive([{ ...main, size: 0xffffffff, extra: bytes(1, 0, 16, 0, u64(1n << 63n), u64(1n << 63n)) }]),
      /a zip64 number is beyond the file/,
    ],
    [
      'a zip64 field cut short',
      archive([{ ...main, size: 0xffffffff, extra: bytes(1, 0, 4, 0, u32(1)) }]),
      /lacks its zip64 numbers/,
    ],
    ['big-endian numbers', archive([main, { name: 'a/byteorder', data: bytes('big') }]), /big-endian/],
    ['an unknown byte order', archive([main, { name: 'a/byteorder', data: bytes('middle') }]), /unknown byte order/],
  ])('%s is refused', async (_, content, message) => {
    await expect(readBytes(content)).rejects.toThrow(message);
    await expect(readBytes(content)).rejects.toBeInstanceOf(CheckpointError);
  });
});

/** Reads it; whatever is no CheckpointError is thrown. */
async function survive(content: Uint8Array): Promise<boolean> {
  try {
    free(await readBytes(content, 1 << 20));
    return true;
  } catch (error) {
    if (error instanceof CheckpointError) return false;
    throw error;
  }
}

describe('a damaged file is refused by CheckpointError, or read within its bounds', () => {
  test.each(['tensor', 'zip64', 'parameter', 'views-legacy', 'plain-4'])('%s cut at each byte', async (name) => {
    const whole = golden(name);
    for (let n = 0; n < whole.length; n++) expect(await survive(whole.subarray(0, n)), `cut at ${n}`).toBe(false);
  });

  test.each(['tensor', 'dtypes-legacy'])('%s with each bit of each byte turned', async (name) => {
    const whole = golden(name);
    let read = 0;
    for (let i = 0; i < 8 * whole.length; i++) {
      const copy = Buffer.from(whole);
      copy[i >> 3] = (copy[i >> 3] as number) ^ (1 << (i & 7));
      if (await survive(copy)) read++;
    }
    expect(read).toBeGreaterThan(0); // padding, numbers
  });

  test('20,000 mutations of whole files', async () => {
    const files = ['checkpoint', 'views', 'shared', 'plain-5', 'attributes', 'dtypes', 'resnet-legacy', 'checkpoint-4'].map(
      golden,
    );
    const draw = new PhiloxStream(11, 'torch-fuzz');
    const special = [0, 1, 0x7f, 0x80, 0xff, ...Buffer.from('(t.}]QRcbqhasu\x85\x86\x87\x93\x94', 'latin1')];
    let refused = 0;
    for (let k = 0; k < 20_000; k++) {
      const copy = Buffer.from(files[k % files.length] as Buffer);
      for (let n = 1 + draw.below(4); n > 0; n--) {
        const at = draw.below(copy.length);
        const kind = draw.below(4);
        if (kind === 0) copy[at] = draw.below(256);
        else if (kind === 1) copy[at] = special[draw.below(special.length)] as number;
        else if (kind === 2) copy.copyWithin(at, draw.below(copy.length), draw.below(copy.length));
        else if (at + 4 <= copy.length) copy.writeUInt32LE([0, 0xffffffff, 0x7fffffff, 0x80000000][draw.below(4)] as number, at);
      }
      if (!(await survive(copy))) refused++;
    }
    expect(refused).toBeGreaterThan(5000);
    expect(refused).toBeLessThan(20_000);
  }, 120_000);
});
