import { describe, expect, test } from 'vitest';
import { Accuracy, accuracy, ConfusionMatrix, predictedClasses } from '../../lib/monitor/index.ts';
import { AnnealError, DataError, ShapeError } from '../../lib/native/errors.ts';

// The example of scikit-learn's user guide for classification_report, worked by hand:
// y_true = [0, 1, 2, 2, 0], y_pred = [0, 0, 2, 1, 0].
const guide = () =>
  new ConfusionMatrix(3, { labels: ['class 0', 'class 1', 'class 2'] }).add(
    Int32Array.of(0, 0, 2, 1, 0),
    Int32Array.of(0, 1, 2, 2, 0),
  );

describe('ConfusionMatrix', () => {
  test('counts rows of true and columns of predicted classes', () => {
    expect([...guide().counts]).toEqual([2, 0, 0, 1, 0, 0, 0, 1, 1]);
    expect(guide().at(1, 0)).toBe(1);
    expect(guide().total).toBe(5);
    expect(guide().accuracy()).toBe(0.6);
  });
  test('per class', () => {
    expect(guide().perClass()).toEqual([
      { label: 'class 0', precision: 2 / 3, recall: 1, f1: 0.8, support: 2 },
      { label: 'class 1', precision: 0, recall: 0, f1: 0, support: 1 },
      { label: 'class 2', precision: 1, recall: 0.5, f1: 2 / 3, support: 2 },
    ]);
  });
  test('macro, weighted and micro', () => {
    const near = (m: { precision: number; recall: number; f1: number; support: number }, e: number[]) =>
      [m.precision, m.recall, m.f1, m.support].forEach((v, i) => {
        expect(v).toBeCloseTo(e[i] as number, 14);
      });
    near(guide().macro(), [5 / 9, 0.5, (0.8 + 2 / 3) / 3, 5]);
    near(guide().weighted(), [(2 * (2 / 3) + 2) / 5, 0.6, (1.6 + 4 / 3) / 5, 5]);
    near(guide().micro(), [0.6, 0.6, 0.6, 5]);
  });
  test('batches and merges add up to the whole', () => {
    const p = Int32Array.from({ length: 999 }, (_, i) => (i * 7) % 5);
    const t = Int32Array.from({ length: 999 }, (_, i) => (i * i) % 5);
    const whole = new ConfusionMatrix(5).add(p, t);
    const batches = new ConfusionMatrix(5);
    for (let i = 0; i < 999; i += 64) batches.add(p.subarray(i, i + 64), t.subarray(i, i + 64));
    const merged = new ConfusionMatrix(5).add(p.subarray(0, 400), t.subarray(0, 400));
    merged.merge(new ConfusionMatrix(5).add(p.subarray(400), t.subarray(400)));
    expect(batches.counts).toEqual(whole.counts);
    expect(merged.counts).toEqual(whole.counts);
    expect(whole.total).toBe(999);
    whole.reset();
    expect(whole.total).toBe(0);
  });
  test('classes that never occur are left out of the averages; one only predicted is not', () => {
    const m = new ConfusionMatrix(10).add([0, 1, 4], [0, 1, 1]);
    expect(m.macro().recall).toBeCloseTo((1 + 0.5 + 0) / 3, 14);
    expect(m.weighted().recall).toBeCloseTo((1 + 2 * 0.5) / 3, 14);
  });
  test('0/0 is 0, or NaN if asked for; a class of no weight does not spread it', () => {
    expect(new ConfusionMatrix(2).add([0], [1]).perClass()[1]?.precision).toBe(0);
    const m = new ConfusionMatrix(3, { zeroDivision: Number.NaN }).add([0, 2], [0, 0]);
    expect(m.perClass()[2]?.recall).toBeNaN();
    expect(m.macro().recall).toBeNaN();
    expect(m.weighted().recall).toBe(0.5);
    expect(new ConfusionMatrix(2).accuracy()).toBeNaN();
  });
  test('ignored targets are not counted; a prediction of -1 is wrong and reported', () => {
    const m = new ConfusionMatrix(2).add([0, 1, -1, 7], [0, -100, 0, -100]);
    expect(m.total).toBe(2);
    expect(m.accuracy()).toBe(0.5);
    expect(m.perClass()[0]).toEqual({ label: '0', precision: 1, recall: 0.5, f1: 2 / 3, support: 2 });
    expect(m.report()).toMatch(/1 samples had no prediction \(NaN\)/);
    expect(new ConfusionMatrix(2, { ignoreIndex: 1 }).add([0, 0], [0, 1]).total).toBe(1);
  });
  test('mostConfused is sorted by count', () => {
    const m = new ConfusionMatrix(10).add([9, 9, 4, 1, 7], [4, 4, 9, 7, 7]);
    expect(m.mostConfused(2)).toEqual([
      { target: '4', prediction: '9', count: 2 },
      { target: '7', prediction: '1', count: 1 },
    ]);
  });
  test('the report is a table', () => {
    expect(guide().report(2).split('\n')).toEqual([
      '              precision     recall         f1   support',
      'class 0            0.67       1.00       0.80         2',
      'class 1            0.00       0.00       0.00         1',
      'class 2            1.00       0.50       0.67         2',
      '',
      'macro              0.56       0.50       0.49         5',
      'weighted           0.67       0.60       0.59         5',
      'micro              0.60       0.60       0.60         5',
      'accuracy 0.60 on 5 samples',
    ]);
  });
  test.each([
    ['lengths', () => guide().add([1], [1, 2]), /1 predictions for 2 targets/],
    ['target', () => guide().add([0, 0], [0, 3]), /target 3 at 1 is no class; there are 3/],
    ['prediction', () => guide().add([-2], [0]), /prediction -2 at 0/],
    ['fraction', () => guide().add([0.5], [0]), /prediction 0.5/],
    ['labels', () => new ConfusionMatrix(3, { labels: ['a'] }), /1 labels for 3 classes/],
    ['classes', () => new ConfusionMatrix(0), /classes must be an integer from 1/],
    ['merge', () => guide().merge(new ConfusionMatrix(2)), /2 classes into 3/],
    ['option', () => new ConfusionMatrix(2, { label: [] } as never), /"label" should be "labels"/],
  ])('refuses wrong %s', (_, act, message) => {
    expect(act).toThrow(AnnealError);
    expect(act).toThrow(message);
  });
  test('a refused batch counts nothing', () => {
    const m = guide();
    expect(() => m.add([0, 9], [0, 0])).toThrow(DataError);
    expect(m.total).toBe(5);
  });
});

describe('accuracy', () => {
  test('in one go and by batches', () => {
    expect(accuracy([1, 2, 3, 4], Int32Array.of(1, 2, 0, -100))).toBeCloseTo(2 / 3, 15);
    const a = new Accuracy().add([1, 2], [1, 1]).add([5], [5]);
    expect([a.correct, a.total, a.value()]).toEqual([2, 3, 2 / 3]);
    expect(accuracy([], [])).toBeNaN();
    expect(() => a.add([1], [])).toThrow(ShapeError);
  });
  test('predictedClasses: first of equals, and -1 where the model gave NaN', () => {
    const scores = Float32Array.of(
      0,
      2,
      1,
      5,
      5,
      4,
      Number.NaN,
      1,
      2,
      1,
      0,
      Number.NaN,
      -9,
      -8,
      -7,
      -Infinity,
      -Infinity,
      -Infinity,
    );
    expect([...predictedClasses(scores, 3)]).toEqual([1, 0, -1, -1, 2, 0]);
    expect(() => predictedClasses(scores, 4)).toThrow(/18 scores are no whole rows of 4/);
  });
});
