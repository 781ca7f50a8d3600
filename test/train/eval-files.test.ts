/** The tables of evaluations beside the log, with the inputs that the model got most confidently wrong. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inflateSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { data, losses, monitor, nn, optim, Trainer, type TrainerOptions } from '../../lib/index.ts';
import { encodePng, imagePng } from '../../lib/monitor/png.ts';
import { normals, temporary } from './helpers.ts';

const [n, side] = [40, 5];
const pixels = normals('pixels', n * side * side).map((v) => 1 / (1 + Math.exp(-v)));
const y = Int32Array.from({ length: n }, (_, i) => (i * 7) % 4);
const images = new data.TensorDataset({ x: { data: pixels, shape: [1, side, side] }, y: { data: y } });
const names = ['NaN', '<i>two</i>', 'three', 'four'];

/** One epoch, validated twice by different batches. */
async function trained(dir: string, options: Partial<TrainerOptions> = {}, set: data.Dataset = images, epochs = 2) {
  const model = new nn.Sequential(new nn.Flatten(), new nn.Linear(side * side, 4));
  const trainer = new Trainer({
    ...{ model, dir, loss: (o, b) => losses.crossEntropy(o, b.y), optimizer: new optim.SGD(model.parameters(), { lr: 0.5 }) },
    ...{ metrics: ['perClass', 'confusion', 'calibration', 'mistakes'], classNames: names, ...options },
  });
  const validation = data.loader(set, { batchSize: 7 });
  await trainer.fit({ train: data.loader(set, { batchSize: 10 }), validation, epochs });
  return trainer.evaluate(validation);
}
/** Grey levels of a PNG as the report shows them. */
function greys(url: string | undefined): { width: number; height: number; rows: number[][] } {
  const png = Buffer.from((url as string).replace('data:image/png;base64,', ''), 'base64');
  const [width, height] = [png.readUInt32BE(16), png.readUInt32BE(20)];
  const lines = inflateSync(png.subarray(41, 41 + png.readUInt32BE(33)));
  return {
    width,
    height,
    rows: Array.from({ length: height }, (_, r) => [...lines.subarray(r * (width + 1) + 1, (r + 1) * (width + 1))]),
  };
}

describe('eval/latest.json', () => {
  test('has the last evaluation’s tables under the classes’ names, and each mistake’s own picture', async () => {
    const dir = temporary();
    const last = await trained(dir);
    const tables = (await monitor.readEvalTables(dir, 'latest')) as monitor.EvalTables;
    expect(tables).toMatchObject({ attempt: 1, step: 8, epoch: 2 });
    expect(tables.figures).toMatchObject({ 'val/loss': last.loss, 'val/accuracy': last.accuracy, 'val/samples': n });
    expect([tables.confusion, tables.mostConfused]).toEqual([last.confusion?.counts, last.confusion?.mostConfused]);
    expect(tables.perClass).toEqual(last.perClass);
    expect(tables.perClass?.map((c) => c.label)).toEqual(names);
    expect(tables.reliability).toEqual(last.reliability);
    expect(tables.mistakes?.map(({ input: _, ...rest }) => rest)).toEqual(last.mistakes);
    expect(tables.mistakes?.length).toBeGreaterThan(4);
    for (const m of tables.mistakes ?? []) {
      const { width, height, rows } = greys(m.input?.image);
      expect([width, height]).toEqual([side, side]);
      const own = pixels.slice(m.id * side * side, (m.id + 1) * side * side);
      expect(rows.flat(), `sample ${m.id}`).toEqual([...own].map((v) => Math.round(v * 255)));
    }
    expect(readdirSync(join(dir, 'eval'))).toEqual(['latest.json']);
  });

  test('shows what showSample makes of a sample: a text, with the sample’s id; and the numbers of what is no image', async () => {
    const dir = temporary();
    await trained(dir, { showSample: ({ x, y }, id) => `</script> ${id} ${x?.shape} ${y?.data[0]}` });
    const tables = await monitor.readEvalTables(dir, 'latest');
    for (const m of tables?.mistakes ?? []) expect(m.input).toEqual({ text: `</script> ${m.id} 1,5,5 ${m.target}` });
    const rows = new data.TensorDataset({ x: { data: pixels, shape: [side * side] }, y: { data: y } });
    await trained(dir, {}, rows);
    const [first] = (await monitor.readEvalTables(dir, 'latest'))?.mistakes ?? [];
    expect(first?.input?.text).toMatch(/^(-?[\d.e-]+(, |$)){25}/);
    await expect(trained(dir, { showSample: () => 5 as never })).rejects.toThrow(
      /showSample must give text or \{ data, shape, dtype \}, got 5/,
    );
    await expect(trained(dir, { classNames: ['a'] })).rejects.toThrow('1 classNames for outputs of 4 classes');
  });

  test('is kept with the best of it where early stopping looks for that', async () => {
    const dir = temporary();
    await trained(dir, { earlyStopping: { metric: 'val/accuracy', patience: 1, mode: 'max' } }, images, 3);
    const [best, latest] = await Promise.all([monitor.readEvalTables(dir, 'best'), monitor.readEvalTables(dir, 'latest')]);
    expect(best?.step).toBeLessThanOrEqual(latest?.step as number);
    expect(readdirSync(join(dir, 'eval')).sort()).toEqual(['best.json', 'latest.json']);
  });

  test('where there is none, or no tables in it', async () => {
    const dir = temporary();
    expect(await monitor.readEvalTables(dir, 'latest')).toBeUndefined();
    await trained(dir);
    const file = join(dir, 'eval/latest.json');
    expect(readFileSync(file, 'utf8').length).toBeLessThan(20_000);
    writeFileSync(file, '{"step": 1');
    await expect(monitor.readEvalTables(dir, 'latest')).rejects.toThrow(/latest.json: not JSON/);
    writeFileSync(file, '[]');
    await expect(monitor.readEvalTables(dir, 'latest')).rejects.toThrow(/step and figures are missing/);
  });
});

describe('pictures', () => {
  test('are made of floats, bytes and colours, thinned out where they are large', () => {
    const rgb = imagePng({ data: Uint8Array.of(0, 255, 10, 20, 30, 40), shape: [3, 1, 2], bytes: true });
    const line = inflateSync(rgb.subarray(41, 41 + rgb.readUInt32BE(33)));
    expect([...line]).toEqual([0, 0, 10, 30, 255, 20, 40]);
    const negative = imagePng({ data: [-1, 0, 1, Number.NaN], shape: [1, 2, 2], bytes: false });
    expect([...inflateSync(negative.subarray(41, 41 + negative.readUInt32BE(33)))]).toEqual([0, 0, 128, 0, 255, 255]);
    const large = imagePng({ data: new Float32Array(300 * 200), shape: [1, 300, 200], bytes: false }, 100);
    expect([large.readUInt32BE(16), large.readUInt32BE(20)]).toEqual([67, 100]);
    expect(() => imagePng({ data: [1], shape: [2, 1, 1], bytes: true })).toThrow('1, 3 or 4 channels');
    expect(() => encodePng(new Uint8Array(3), 2, 2, 1)).toThrow('3 bytes are no picture of 2 x 2');
  });
  test('are read by others as they were', async () => {
    const { default: sharp } = await import('sharp');
    const bytes = Uint8Array.from({ length: 7 * 3 * 4 }, (_, i) => (i * 37) % 256);
    for (const channels of [1, 3, 4] as const) {
      const part = bytes.subarray(0, 7 * 3 * channels);
      const png = encodePng(part, 7, 3, channels);
      const { data: raw, info } = await sharp(png).raw().toBuffer({ resolveWithObject: true });
      expect([info.width, info.height]).toEqual([7, 3]);
      const grey = channels === 1 && info.channels === 3 ? raw.filter((_, i) => i % 3 === 0) : raw;
      expect([...grey]).toEqual([...part]);
    }
  });
});
