/** Event files: held to bytes that TensorBoard's own reader read, and read by it again where it is installed. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { data, losses, monitor, optim, Trainer } from '../../lib/index.ts';
import { crc32, crc32c } from '../../lib/monitor/crc.ts';
import { imagePng } from '../../lib/monitor/png.ts';
import { frame } from '../../lib/monitor/tensorboard/events.ts';
import { histogramOf } from '../../lib/monitor/tensorboard/histogram.ts';
import { Message } from '../../lib/monitor/tensorboard/protobuf.ts';
import { hostile, picture, weights, writeGolden } from '../golden/tensorboard/write.ts';
import { clusters, mlp } from '../train/helpers.ts';

const golden = fileURLToPath(new URL('../golden/tensorboard', import.meta.url));
interface Read {
  scalars: Record<string, [time: number, step: number, value: number | string][]>;
  histograms: Record<
    string,
    [step: number, h: Record<'min' | 'max' | 'num' | 'sum' | 'sum_squares', number> & { limits: number[]; counts: number[] }][]
  >;
  images: Record<string, [step: number, width: number, height: number, png: string][]>;
  texts: Record<string, [step: number, texts: string[]][]>;
}
const folder = () => {
  const dir = mkdtempSync(join(tmpdir(), 'anneal-tensorboard-'));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
};

describe('checksums', () => {
  // RFC 3720, B.4, and the check values of '123456789' in the catalogue of CRC algorithms.
  test.each([
    ['32 bytes of zeros', Buffer.alloc(32), 0x8a9136aa],
    ['32 bytes of ones', Buffer.alloc(32, 0xff), 0x62a8ab43],
    ['0 to 31', Buffer.from(Array.from({ length: 32 }, (_, i) => i)), 0x46dd794e],
    ['31 to 0', Buffer.from(Array.from({ length: 32 }, (_, i) => 31 - i)), 0x113fdb5c],
    ['123456789', Buffer.from('123456789'), 0xe3069283],
    ['nothing', Buffer.alloc(0), 0],
  ])('CRC32C of %s', (_, bytes, crc) => {
    expect(crc32c(bytes)).toBe(crc);
  });
  test('CRC32', () => {
    expect(crc32(Buffer.from('123456789'))).toBe(0xcbf43926);
  });
});

describe('encoding', () => {
  test('of whole numbers, texts and messages, as the protobuf guide has them', () => {
    const hex = (m: Message) => Buffer.from(m.finish()).toString('hex');
    expect(hex(new Message().int(1, 150))).toBe('089601');
    expect(hex(new Message().bytes(2, 'testing'))).toBe('120774657374696e67');
    expect(hex(new Message().message(3, new Message().int(1, 150)))).toBe('1a03089601');
    expect(hex(new Message().int(1, 2 ** 53 - 1))).toBe('08ffffffffffffff0f');
    expect(hex(new Message().int(31, 0).float(2, 1).double(1, 1))).toBe('f80100150000803f09000000000000f03f');
  });
  test('a frame: length, its checksum, data, theirs', () => {
    const f = frame(Buffer.from('abc'));
    expect([f.length, f.readBigUInt64LE(0), f.subarray(12, 15).toString()]).toEqual([19, 3n, 'abc']);
  });
});

describe('the golden files', () => {
  const read = JSON.parse(readFileSync(join(golden, 'read.json'), 'utf8')) as Read;

  test('are what the sink writes, byte for byte', async () => {
    const paths = await writeGolden(folder());
    paths.forEach((path, i) => {
      expect(readFileSync(path)).toEqual(readFileSync(join(golden, `events.out.tfevents.${i + 1}`)));
    });
    expect([...paths].sort()).toEqual(paths);
  });

  test('were read by TensorBoard with every value that was written; steps done again are there once', () => {
    const { scalars } = read;
    const f = Math.fround;
    const values = (tag: string) => scalars[tag]?.map(([, step, value]) => [step, value]);
    expect(values('train/loss')).toEqual([
      ...[
        [1, 2],
        [2, 1.5],
      ],
      ...[
        [3, f(2 + 1 / 3)],
        [4, 'NaN'],
        [5, f(2.2)],
      ],
    ]);
    expect(values('train/lr')).toEqual([1, 2, 3, 4, 5].map((s) => [s, f(s * 1e-3)]));
    expect(values('train/layers/fc1/ratio')).toEqual([1, 2, 3, 4, 5].map((s) => [s, f(s / 7)]));
    expect(values('val/loss')).toEqual([[5, 'Infinity']]);
    expect([values('val/accuracy'), values('eval/epoch')]).toEqual([[[5, 0.75]], [[5, 1]]]);
    expect(values('own/big step')).toEqual([[2 ** 40 + 5, f(-1.5e-30)]]);
    expect(values('empty/nonFinite')).toEqual([[5, 1]]);
    expect(Object.keys(scalars)).toHaveLength(8);
    expect(scalars['train/loss']?.[0]?.[0]).toBeCloseTo(1_700_000_000.5, 6);
    expect(read.texts).toEqual({ notice: [[5, [hostile]]], [hostile]: [[5, ['x'.repeat(300)]]] });
    const [[step, width, height, png] = []] = read.images.colours ?? [];
    expect([step, width, height]).toEqual([5, 2, 2]);
    expect(Buffer.from(png as string, 'base64')).toEqual(imagePng({ ...picture, shape: [3, 2, 2], bytes: true }));
  });

  test('the histogram is of the values: sums, ends and a count for each bucket', () => {
    const [[step, h] = []] = read.histograms.weights ?? [];
    const all = [...weights];
    expect(step).toBe(5);
    expect(h).toMatchObject({ min: Math.min(...all), max: Math.max(...all), num: 300, sum: all.reduce((a, b) => a + b, 0) });
    expect(h?.sum_squares).toBe(all.reduce((a, b) => a + b * b, 0));
    h?.limits.forEach((limit, i) => {
      const below = h.limits[i - 1] ?? Number.NEGATIVE_INFINITY;
      expect(h.counts[i]).toBe(all.filter((v) => v >= below && v < limit).length);
    });
    expect(h?.counts.reduce((a, b) => a + b)).toBe(300);
  });
});

describe('histograms', () => {
  test('of extremes, of one value, of nothing', () => {
    const of = (...v: number[]) => histogramOf(v).histogram;
    expect(of(0, 0)).toMatchObject({ count: 2, counts: [0, 2] });
    expect(of(Number.MAX_VALUE).counts.at(-1)).toBe(1);
    expect(of(-Number.MAX_VALUE)).toMatchObject({ count: 1, min: -Number.MAX_VALUE });
    expect(histogramOf([])).toMatchObject({ skipped: 0, histogram: { count: 0, min: 0, max: 0 } });
    expect(histogramOf([1, Number.NaN, Infinity])).toMatchObject({ skipped: 2, histogram: { count: 1 } });
  });
});

describe('bad input', () => {
  test.each<[string, (s: monitor.TensorBoardSink) => void, RegExp]>([
    ['a step', (s) => s.scalar('a', 1, -1), /the step must be a whole number >= 0, got -1/],
    ['a tag', (s) => s.text(5 as never, 'x', 1), /TensorBoardSink.text: the tag/],
    ['values', (s) => s.histogram('a', 5 as never, 1), /values must be a list of numbers/],
    ['an image', (s) => s.image('a', { data: [1], shape: [1, 1] }, 1), /expected \{ data, shape: \[channels, height, width\] \}/],
    ['channels', (s) => s.image('a', { data: [1, 2], shape: [2, 1, 1] }, 1), /1, 3 or 4 channels/],
  ])('%s', (_, call, message) => {
    expect(() => call(new monitor.TensorBoardSink(folder()))).toThrow(message);
  });
  test('a folder that cannot be made is told by close, with what is lost', async () => {
    const sink = new monitor.TensorBoardSink('/dev/null/x');
    sink.scalar('a', 1, 1);
    sink.scalar('a', 2, 2);
    await expect(sink.close()).rejects.toThrow(/cannot be written.* 3 events are lost/s);
  });
});

describe('TensorBoard itself', () => {
  // ANNEAL_TENSORBOARD names a Python that has it.
  const python = process.env.ANNEAL_TENSORBOARD ?? 'python3';
  const there = spawnSync(python, ['-c', 'import tensorboard'], { stdio: 'ignore' }).status === 0;
  let read: Read;
  let records: monitor.HistoryRecord[];

  beforeAll(async () => {
    if (!there) return;
    const dir = folderOfSuite;
    const run = async (epochs: number) => {
      const model = mlp([8, 3]);
      const sinks = [new monitor.TensorBoardSink(join(dir, 'tb'))];
      const optimizer = new optim.SGD(model.parameters(), { lr: 0.1 });
      const options = { model, optimizer, dir, sinks, metrics: ['accuracy'] } as const;
      const set = data.loader(clusters(96), { batchSize: 16 });
      await new Trainer({ ...options, loss: (o, b) => losses.crossEntropy(o, b.y) }).fit({
        train: set,
        validation: set,
        epochs,
        resume: 'auto',
      });
    };
    await run(1);
    await run(3);
    read = JSON.parse(execFileSync(python, [join(golden, 'read.py'), join(dir, 'tb')], { encoding: 'utf8', stdio: 'pipe' }));
    records = (await monitor.readHistory(join(dir, 'metrics.jsonl'))).records;
  });
  const folderOfSuite = mkdtempSync(join(tmpdir(), 'anneal-tensorboard-'));

  test.skipIf(!there)('reads every number of a run that was resumed (skipped without Python and tensorboard)', () => {
    expect(readdirSync(join(folderOfSuite, 'tb'))).toHaveLength(2);
    let compared = 0;
    for (const [type, prefix] of [
      ['step', 'train/'],
      ['eval', ''],
    ] as const)
      for (const name of ['loss', 'gradNorm', 'lr', 'memory', 'samplesPerSecond', 'val/loss', 'val/accuracy']) {
        const wanted = records.filter((r) => r.type === type && name in r).map((r) => [r.step, Math.fround(r[name] as number)]);
        if (wanted.length === 0) continue;
        expect(read.scalars[`${prefix}${name}`]?.map(([, step, value]) => [step, value])).toEqual(wanted);
        compared += wanted.length;
      }
    expect(compared).toBeGreaterThan(90);
    expect(Object.keys(read.texts).sort()).toEqual(['end', 'run']);
    rmSync(folderOfSuite, { recursive: true, force: true });
  });
});
