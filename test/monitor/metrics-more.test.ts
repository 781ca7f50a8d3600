/** What scikit-learn has no word for: edges, broken models, who was wrong, strata. */
import { describe, expect, test } from 'vitest';
import { monitor } from '../../lib/index.ts';
import { DataError, ShapeError } from '../../lib/native/errors.ts';

const { NaN: nan } = Number;

describe('before the first sample', () => {
  test('figures are NaN, not a guess', () => {
    expect(new monitor.TopKAccuracy({ classes: 3 }).value()).toBeNaN();
    expect(new monitor.RankingMetrics().rocAuc()).toBeNaN();
    expect(new monitor.Calibration({ classes: 2 }).ece()).toBeNaN();
    expect(new monitor.Calibration({ classes: 2 }).mce()).toBeNaN();
    expect(new monitor.Perplexity().value()).toBeNaN();
    const empty = new monitor.RegressionMetrics({ outputs: 2 });
    for (const v of Object.values(empty.value())) expect(v).toBeNaN();
    expect(Object.values(empty.merge(new monitor.RegressionMetrics({ outputs: 2 }).add([1, 2], [1, 3])).value())).not.toContain(
      nan,
    );
  });
});

describe('a model that gives NaN', () => {
  test('is wrong in top-k, last in a ranking, counted apart in calibration', () => {
    expect(new monitor.TopKAccuracy({ classes: 2, k: 2 }).add([nan, 1, 0, 1], [1, 0]).value()).toBe(0.5);
    expect(new monitor.RankingMetrics().add([nan, 0.2], [1, 0]).rocAuc()).toBe(0);
    const c = new monitor.Calibration({ classes: 2 }).add([nan, 1, 0.5, 0.5], [1, 0]);
    expect([c.broken, c.bins().reduce((a, b) => a + b.count, 0)]).toEqual([1, 1]);
    expect(new monitor.Calibration({ classes: 2 }).merge(c).merge(c.state()).broken).toBe(2);
    expect(new monitor.ConfidentlyWrong({ classes: 2 }).add([nan, 1], [0]).value()).toEqual([]);
    expect(() => monitor.suspectedLabelErrors([nan, 1], [0], { classes: 2 })).toThrow(/probability of sample 0 is NaN/);
    expect(new monitor.RegressionMetrics().add([nan, 1], [0, 1]).value().mse).toBeNaN();
    expect(new monitor.RegressionMetrics().add([nan, 1], [0, 1]).value().maxError).toBeNaN();
  });
});

test('ignored targets are not counted', () => {
  expect(new monitor.TopKAccuracy({ classes: 2, k: 1 }).add([1, 0, 1, 0], [0, -100]).total).toBe(1);
  expect(new monitor.RankingMetrics({ ignoreIndex: 1 }).add([1, 0], [0, 1]).total).toBe(1);
  expect(new monitor.Calibration({ classes: 2 }).add([1, 0, 1, 0], [-100, -100]).ece()).toBeNaN();
  expect(new monitor.ConfidentlyWrong({ classes: 2 }).add([1, 0], [-100]).value()).toEqual([]);
  // The label of an ignored sample is neither counted nor doubted: 0.9 would otherwise lie in the mean of its class.
  const found = monitor.suspectedLabelErrors([0.9, 0.1, 0.2, 0.8, 0.1, 0.9, 0.8, 0.2], [-100, 1, 1, 1], { classes: 2 });
  expect(found).toEqual([]);
});

test('a confidence on the edge of bins belongs to the lower one, though 7 / 25 * 25 is above 7', () => {
  const bins = new monitor.Calibration({ classes: 4, bins: 25 }).add([0.28, 0.24, 0.24, 0.24], [0]).bins();
  expect(bins.findIndex((b) => b.count > 0)).toBe(6);
});

test('probabilitiesOf is softmax, of large logits too', () => {
  const p = monitor.probabilitiesOf([1000, 1000, 0, Math.log(3)], 2);
  expect([...p].map((v) => Math.round(v * 1e12) / 1e12)).toEqual([0.5, 0.5, 0.25, 0.75]);
  expect([...monitor.probabilitiesOf([nan, 1], 2)]).toEqual([nan, nan]);
});

test('perplexity is exp of the mean over tokens, not of the mean of batches', () => {
  const a = new monitor.Perplexity().add(Math.log(2) * 10, 10);
  const b = new monitor.Perplexity().add(Math.log(8) * 5, 5);
  expect(a.merge(b).merge(new monitor.Perplexity().state()).value()).toBeCloseTo(2 ** ((10 + 15) / 15), 12);
});

test('large targets lose nothing: the spread around 1e9 is seen', () => {
  const t = Float64Array.from({ length: 1000 }, (_, i) => 1e9 + (i % 2));
  const p = t.map((v, i) => v + (i % 4 < 2 ? 0.25 : -0.25));
  expect(new monitor.RegressionMetrics().add(p, t).value().r2).toBeCloseTo(1 - 0.0625 / 0.25, 9);
});

describe('ConfidentlyWrong', () => {
  const scores = [0.9, 0.1, 0.4, 0.6, 0.8, 0.2, 0.1, 0.9, 0.7, 0.3];
  const targets = [1, 0, 0, 1, 1]; // wrong: 0 (0.9), 1 (0.6), 4 (0.7)
  const sample = (id: number, target: number, confidence: number, targetProbability: number) => ({
    ...{ id, target, prediction: 1 - target, confidence, targetProbability },
  });
  const want = [sample(0, 1, 0.9, 0.1), sample(4, 1, 0.7, 0.3)];
  test('keeps the worst, in order', () => {
    expect(new monitor.ConfidentlyWrong({ classes: 2, keep: 2 }).add(scores, targets).value()).toEqual(want);
  });
  test('by batches and merged, with ids or places', () => {
    const make = () => new monitor.ConfidentlyWrong({ classes: 2, keep: 2 });
    const batches = make().add(scores.slice(0, 4), targets.slice(0, 2)).add(scores.slice(4), targets.slice(2));
    expect(batches.value()).toEqual(want);
    const part = make().add(scores.slice(4), targets.slice(2), [2, 3, 4]);
    expect(make().add(scores.slice(0, 4), targets.slice(0, 2)).merge(part).value()).toEqual(want);
    expect(part.merge(make().add(scores.slice(0, 4), targets.slice(0, 2))).value()).toEqual(want);
  });
  test('equal ones by id, whatever came first', () => {
    const m = new monitor.ConfidentlyWrong({ classes: 2, keep: 2 }).add([1, 0, 1, 0, 1, 0], [1, 1, 1], [7, 3, 5]);
    expect(m.value().map((s) => s.id)).toEqual([3, 5]);
  });
});

test('Stratified: a metric for each value of a column', () => {
  const bySite = new monitor.Stratified(() => new monitor.Accuracy());
  bySite.split(['b', 'a', 'b'], (m, rows) =>
    m.add(
      rows.map((i) => [1, 1, 0][i] as number),
      rows.map(() => 1),
    ),
  );
  bySite.split(['a', 10, 9], (m, rows) =>
    m.add(
      rows.map(() => 1),
      rows.map(() => 1),
    ),
  );
  expect(bySite.entries().map(([s, m]) => [s, m.value(), m.total])).toEqual([
    ['9', 1, 1],
    ['10', 1, 1],
    ['a', 1, 2],
    ['b', 0.5, 2],
  ]);
});

test.each([
  ['rows', () => new monitor.TopKAccuracy({ classes: 3 }).add([1, 2], [0]), /2 scores are no rows of 3 for 1 targets/],
  ['target', () => new monitor.RankingMetrics().add([1], [2]), /target 2 at 0 is no class; there are 2/],
  ['state', () => new monitor.Calibration({ classes: 2 }).merge([1, 2]), /a state of 2 numbers, where this one has 46/],
  ['other', () => new monitor.Perplexity().merge({} as never), /expected a Perplexity, or what its state\(\) gave/],
  [
    'average',
    () => new monitor.RankingMetrics().rocAuc({ average: 'micro' as never }),
    /'macro' or 'weighted', got 'micro'|micro/,
  ],
  ['outputs', () => new monitor.RegressionMetrics({ outputs: 2 }).add([1], [1]), /in rows of 2/],
  ['ids', () => new monitor.ConfidentlyWrong({ classes: 2 }).add([1, 0], [0], []), /ids must be one for each/],
  ['logits', () => monitor.probabilitiesOf([1, 2, 3], 2), /3 logits are no whole rows of 2/],
])('refuses wrong %s', (_, act, message) => {
  expect(act).toThrow(message);
});
test('a refused batch counts nothing', () => {
  const m = new monitor.TopKAccuracy({ classes: 2 });
  expect(() => m.add([1, 0, 1, 0], [0, 5])).toThrow(DataError);
  expect(() => m.add([1, 0, 1], [0, 1])).toThrow(ShapeError);
  expect(m.total).toBe(0);
});
