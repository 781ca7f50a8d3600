/** The Trainer's evaluation tells what the metrics make of the predictions, however the data come in batches. */
import { describe, expect, test } from 'vitest';
import { data, losses, monitor, type nn, optim, type TensorBatch, Trainer, tensor } from '../../lib/index.ts';
import { clusters, mlp, normals } from './helpers.ts';

const n = 60;
const points = clusters(n, { classes: 7, noise: 2 });
const site = Int32Array.from({ length: n }, (_, i) => (i * i) % 3);
const x = (await points.column('x')).data as Float32Array;
const y = (await points.column('y')).data as Int32Array;
const set = new data.TensorDataset({ x: { data: x, shape: [8] }, y: { data: y }, site: { data: site } });
const make = (options: object, model: nn.Module = mlp([8, 7])) =>
  new Trainer({
    model,
    loss: (o, b) => losses.crossEntropy(o, b.y),
    optimizer: new optim.SGD(model.parameters(), { lr: 0.1 }),
    ...options,
  });
const loader = (batchSize: number) => data.loader(set, { batchSize });
const logitsOf = async (t: Trainer) =>
  (await (t.options.model as nn.Sequential).forward(tensor(x, { shape: [n, 8] })).data()) as Float32Array;

describe('evaluate', () => {
  test('every metric of a classification is that of the whole set, in any batches', async () => {
    const metrics = [
      ...['accuracy', 'perClass', 'averages', 'top5', 'confusion', 'rocAuc', 'averagePrecision', 'calibration', 'mistakes'],
      'perplexity',
    ];
    const t = make({ metrics, stratifyBy: 'site' });
    const got = await t.evaluate(loader(60));
    const parts = await t.evaluate(loader(7));
    const logits = await logitsOf(t);
    const p = monitor.probabilitiesOf(logits, 7);
    const predicted = monitor.predictedClasses(logits, 7);
    const m = new monitor.ConfusionMatrix(7).add(predicted, y);
    expect(got.accuracy).toBe(m.accuracy());
    expect(got.perClass).toEqual(m.perClass());
    expect([got.macroPrecision, got.macroRecall]).toEqual([m.macro().precision, m.macro().recall]);
    expect([got.macroF1, got.weightedF1]).toEqual([m.macro().f1, m.weighted().f1]);
    expect(got.confusion?.counts.flat()).toEqual([...m.counts]);
    expect(got.confusion?.mostConfused).toEqual(m.mostConfused());
    expect(got.top5).toBe(new monitor.TopKAccuracy({ classes: 7 }).add(logits, y).value());
    const ranking = new monitor.RankingMetrics({ classes: 7 }).add(logits, y);
    expect([got.rocAuc, got.averagePrecision]).toEqual([ranking.rocAuc(), ranking.averagePrecision()]);
    const calibration = new monitor.Calibration({ classes: 7 }).add(p, y);
    expect([got.ece, got.mce]).toEqual([calibration.ece(), calibration.mce()]);
    expect(got.reliability).toEqual(calibration.bins());
    expect(got.mistakes).toEqual(new monitor.ConfidentlyWrong({ classes: 7 }).add(p, y).value());
    expect(got.mistakes?.length).toBeGreaterThan(3);
    expect(got.perplexity).toBeCloseTo(Math.exp(got.loss), 9);
    expect(got.strata?.map((s) => s.stratum)).toEqual(['0', '1']);
    for (const s of got.strata ?? []) {
      const rows = [...site.keys()].filter((i) => String(site[i]) === s.stratum);
      const part = new monitor.ConfusionMatrix(7).add(
        rows.map((i) => predicted[i] as number),
        rows.map((i) => y[i] as number),
      );
      expect([s.samples, s.accuracy, s.macroF1]).toEqual([rows.length, part.accuracy(), part.macro().f1]);
    }
    // Rows of another batch may round otherwise on a device; figures of counts do not.
    for (const name of ['accuracy', 'perClass', 'confusion', 'top5', 'strata', 'macroF1', 'samples'] as const)
      expect(parts[name], name).toEqual(got[name]);
    for (const name of ['rocAuc', 'averagePrecision', 'ece', 'perplexity', 'loss'] as const)
      expect(parts[name] as number, name).toBeCloseTo(got[name] as number, 5);
    expect(parts.mistakes?.map((s) => s.id)).toEqual(got.mistakes?.map((s) => s.id));
  });

  test('mistakes have the ids of their samples, where the loader shuffles', async () => {
    const t = make({ metrics: ['mistakes'] });
    const inOrder = await t.evaluate(loader(60));
    const shuffled = await t.evaluate(data.loader(set, { batchSize: 9, shuffle: true, seed: 3 }));
    expect(shuffled.mistakes?.map((s) => s.id)).toEqual(inOrder.mistakes?.map((s) => s.id));
  });

  test('one score a sample: areas; and no classes where they cannot be', async () => {
    const target = Float32Array.from(y, (c) => +(c > 3));
    const two = new data.TensorDataset({ x: { data: x, shape: [8] }, y: { data: target, shape: [1] } });
    const loss = (o: never, b: TensorBatch) => losses.bceWithLogits(o, b.y);
    const t = make({ metrics: ['rocAuc', 'averagePrecision'], loss }, mlp([8, 1]));
    const got = await t.evaluate(data.loader(two, { batchSize: 7 }));
    const want = new monitor.RankingMetrics().add(await logitsOf(t), Array.from(target));
    expect(got.rocAuc).toBeCloseTo(want.rocAuc(), 6);
    expect(got.averagePrecision).toBeCloseTo(want.averagePrecision(), 6);
    expect(got.accuracy).toBeUndefined();
    await expect(make({ metrics: ['accuracy'], loss }, mlp([8, 1])).evaluate(data.loader(two, { batchSize: 7 }))).rejects.toThrow(
      /accuracy need logits/,
    );
    const soft = new data.TensorDataset({ x: { data: x, shape: [8] }, y: { data: target.map((v) => v / 2), shape: [1] } });
    await expect(t.evaluate(data.loader(soft, { batchSize: 7 }))).rejects.toThrow(/target 0.5 at 4 is no class/);
  });

  test('regression', async () => {
    const far = new data.TensorDataset({ x: { data: x, shape: [8] }, y: { data: normals('far', n), shape: [1] } });
    const loss = (o: never, b: TensorBatch) => losses.mse(o, b.y);
    const t = make({ metrics: ['regression'], loss }, mlp([8, 1]));
    const got = await t.evaluate(data.loader(far, { batchSize: 7 }));
    const want = new monitor.RegressionMetrics().add(await logitsOf(t), normals('far', n)).value();
    for (const [name, v] of Object.entries(want)) expect(got[name], name).toBeCloseTo(v, 5);
    expect(got.mse).toBeCloseTo(got.loss, 5);
    await expect(make({ metrics: ['regression'] }).evaluate(loader(7))).rejects.toThrow(/an output of y's size/);
  });

  test('a column to stratify by that is not there, or not of whole numbers', async () => {
    await expect(make({ stratifyBy: 'sight' }).evaluate(loader(7))).rejects.toThrow(/stratifyBy 'sight' needs a column.*site/);
    await expect(make({ stratifyBy: 'x' }).evaluate(loader(7))).rejects.toThrow(/stratifyBy 'x' needs a column of whole numbers/);
  });

  test('a run watches any of them by name', async () => {
    const t = make({ metrics: ['averages', 'top5'], earlyStopping: { metric: 'val/top5', patience: 2 } });
    const { best } = await t.fit({ train: loader(20), validation: loader(60), epochs: 2 });
    expect(Object.keys(best.metrics).sort()).toEqual(
      ['accuracy', 'loss', 'macroF1', 'macroPrecision', 'macroRecall', 'samples', 'top5', 'weightedF1'].map((k) => `val/${k}`),
    );
  });
});
