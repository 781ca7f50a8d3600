import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { type CsvOptions, csv } from '../../lib/data/csv.ts';
import { CsvRecords } from '../../lib/data/csv-records.ts';
import { AnnealError, ConfigError, DataError } from '../../lib/native/errors.ts';
import { PhiloxStream } from '../../lib/tensor/philox.ts';
import { errorOf, tempFile } from './helpers.ts';

const read = (content: string | Uint8Array, options?: CsvOptions) => csv(tempFile(content, 'f.csv'), options);
const dialect = { delimiter: ',', maxField: 100, maxFields: 10 };

function records(text: string, piece = text.length || 1): string[][] {
  const parser = new CsvRecords(dialect, (line, what) => new Error(`line ${line}: ${what}`));
  const out = [];
  for (let i = 0; i < text.length; i += piece) out.push(...parser.push(text.slice(i, i + piece)));
  return [...out, ...parser.finish()].map((r) => r.fields);
}

describe('RFC 4180 records', () => {
  const cases: [string, string[][]][] = [
    [
      'a,b\r\n1,2\r\n',
      [
        ['a', 'b'],
        ['1', '2'],
      ],
    ],
    [
      'a,b\n1,2',
      [
        ['a', 'b'],
        ['1', '2'],
      ],
    ],
    ['a\rb\r', [['a'], ['b']]],
    [
      '"x ""y"" z","p,q"\n"two\r\nlines",\n',
      [
        ['x "y" z', 'p,q'],
        ['two\r\nlines', ''],
      ],
    ],
    [
      'a,,\n,,b\n',
      [
        ['a', '', ''],
        ['', '', 'b'],
      ],
    ],
    ['\n\na\n\nb\n\n', [['a'], ['b']]],
    ['""\n"",""\n', [[''], ['', '']]],
    ['', []],
  ];
  it.each(cases)('%j, in pieces of any size', (text, expected) => {
    for (const piece of [1, 2, 3, 1000]) expect(records(text, piece)).toEqual(expected);
  });

  it('counts lines through quoted fields, in pieces of any size', () => {
    const text = '"a\r\nb"\r\n"c\nd\re"\nx"y\n';
    for (const piece of [1, 2, 3, 1000]) expect(() => records(text, piece)).toThrow(/line 6: a quote inside/);
  });
});

describe('data.csv', () => {
  it('reads named columns, an integer label and gzip', async () => {
    const text = 'a,kind,b\n1,0,2.5\n-3,1,4e2\n+.5,2,6.\n';
    for (const content of [text, gzipSync(text), `\ufeff${text}`]) {
      const ds = await read(content, { label: 'kind' });
      expect(ds.names).toEqual(['a', 'b']);
      expect([ds.length, ds.get(1).x.shape, ds.get(1).x.dtype, ds.get(1).y.dtype]).toEqual([3, [2], 'f32', 'i32']);
      expect([...ds.column('x').data]).toEqual([1, 2.5, -3, 400, 0.5, 6]);
      expect([...ds.column('y').data]).toEqual([0, 1, 2]);
    }
  });

  it('chooses columns by name or number, other delimiters, f64, no header', async () => {
    const ds = await read('1;2;3\n4;5;6\n', {
      header: false,
      delimiter: ';',
      columns: [2, 0],
      dtype: 'f64',
      label: 1,
      labelType: 'f32',
    });
    expect([...ds.column('x').data]).toEqual([3, 1, 6, 4]);
    expect(ds.get(0).y).toEqual({ data: Float32Array.of(2), shape: [], dtype: 'f32' });
    expect((await read('1,2\n', { header: ['p', 'q'], columns: ['q'] })).names).toEqual(['q']);
  });

  it('numbers text classes in sorted order', async () => {
    const ds = await read('v,k\n1,wren\n2,"owl"\n3,wren\n', { label: 'k' });
    expect(ds.classes).toEqual(['owl', 'wren']);
    expect([...ds.column('y').data]).toEqual([1, 0, 1]);
  });

  it('fills missing values when told to, and reads nan and inf', async () => {
    const ds = await read('a,b\n,nan\n-inf,2\n', { missing: -1 });
    expect([...ds.column('x').data]).toEqual([-1, Number.NaN, -Infinity, 2]);
  });

  it('reads a file of many pieces', async () => {
    const rows = Array.from({ length: 30_000 }, (_, i) => `${i},${i * 2}`);
    const ds = await read(`a,b\n${rows.join('\n')}`);
    expect(ds.length).toBe(30_000);
    expect([...ds.get(29_999).x.data]).toEqual([29_999, 59_998]);
  });

  const refused: [string, string | Uint8Array, CsvOptions, RegExp][] = [
    ['an empty file', '', {}, /no records/],
    ['a header alone', 'a,b\n', {}, /a header and no records/],
    ['a word for a number', 'a,b\n1,2\n3,x\n', {}, /line 3: column "b": "x" is not a number/],
    ['hexadecimal', 'a\n0x10\n', {}, /line 2: .*"0x10" is not a number/],
    ['a thousand separator', 'a,b\n"1,000",2\n', {}, /line 2: .*"1,000" is not a number/],
    ['an empty field', 'a,b\n1,\n', {}, /line 2: column "b" is empty.*missing/],
    ['a short record', 'a,b\n1,2\n1\n', {}, /line 3: expected 2 fields, found 1; is the delimiter right/],
    ['a long record', 'a,b\n1,2,3\n', {}, /line 2: expected 2 fields, found 3/],
    ['an open quote', 'a,b\n1,"2\n3,4\n', {}, /line 2: the quote that opens here is never closed/],
    ['an open quote in a large file', `a\n"${'1\n'.repeat(1000)}`, { maxField: 100 }, /line 2: a field of more than 100/],
    ['text after a quote', 'a\n"1"2\n', {}, /line 2: "2" after a closing quote/],
    ['a quote within', 'a\n1"2"\n', {}, /line 2: a quote inside an unquoted field/],
    ['a missing column', 'alpha,beta\n1,2\n', { label: 'betta' }, /no column "betta". Did you mean "beta"/],
    ['a column number too high', 'a,b\n1,2\n', { columns: [2] }, /no column 2. Columns: a, b/],
    ['a name twice', 'a,a\n1,2\n', {}, /"a" stands twice/],
    ['names that do not fit', '1,2\n', { header: ['a'] }, /2 fields, but the header option names 1/],
    ['only a label', 'a\n1\n', { label: 'a' }, /only the label/],
    [
      'a label that is no integer',
      'a,b\n1,2\n1,2.5\n',
      { label: 'b', labelType: 'i32' },
      /line 3: label "b": "2.5" is not a 32-bit/,
    ],
    ['bytes that are not UTF-8', Uint8Array.of(97, 10, 0xff, 0xfe, 10), {}, /not UTF-8/],
    ['too many fields', `${','.repeat(70_000)}\n`, {}, /more than 65536 fields/],
  ];
  it.each(refused)('refuses %s', async (_, content, options, message) => {
    const error = await errorOf(() => read(content, options));
    expect(error).toBeInstanceOf(DataError);
    expect(error.message).toMatch(message);
    expect(error.message).toMatch(/f\.csv/);
  });

  const options: [object, RegExp][] = [
    [{ delimitor: ';' }, /should be "delimiter"/],
    [{ delimiter: ';;' }, /one character/],
    [{ delimiter: '"' }, /one character/],
    [{ dtype: 'i32' }, /'f32' or 'f64'/],
    [{ labelType: 'u8' }, /'class', 'i32' or 'f32'/],
    [{ missing: 'nan' }, /'error' or a number/],
    [{ header: 'yes' }, /true, false or a list/],
  ];
  it.each(options)('refuses the options %j', async (given, message) => {
    const error = await errorOf(() => read('a\n1\n', given as CsvOptions));
    expect(error).toBeInstanceOf(ConfigError);
    expect(error.message).toMatch(message);
  });

  it('survives 400 seeded mutations', async () => {
    const rng = new PhiloxStream(12, 'fuzz/csv');
    const source = Buffer.from('a,b,"c ""d"""\r\n1,2,x\r\n3,"4",y\n5,6,"z\nz"\n');
    const nasty = [34, 44, 10, 13, 0, 255, 0xc3, 48, 45];
    for (let round = 0; round < 400; round++) {
      let bytes = Buffer.from(source);
      for (let k = rng.below(4); k >= 0; k--) bytes[rng.below(bytes.length)] = nasty[rng.below(nasty.length)] as number;
      if (rng.below(3) === 0) bytes = bytes.subarray(0, rng.below(bytes.length));
      try {
        expect((await read(bytes, { label: 2 })).length).toBeLessThan(10);
      } catch (error) {
        expect(error).toBeInstanceOf(AnnealError);
      }
    }
  });
});
