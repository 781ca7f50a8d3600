/** Metrics against scikit-learn (test/golden/metrics.py), whole, by batches and merged; label errors against the paper's equations. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { monitor } from '../../lib/index.ts';

type Num = number | 'NaN';
interface ClassCase {
  name: string;
  classes: number;
  targets: number[];
  probabilities: number[];
  confusion: number[];
  accuracy: number;
  perClass: number[][];
  averages: Record<'macro' | 'micro' | 'weighted', number[]>;
  topK: number[];
  rocAuc: Num[];
  averagePrecision: number[];
  rocAucMacro: Num;
  rocAucWeighted: Num;
  averagePrecisionWeighted: number;
  bins: { count: number[]; accuracy: number[]; confidence: number[] };
  ece: number;
  mce: number;
}
interface Golden {
  classes: ClassCase[];
  binary: { name: string; targets: number[]; scores: number[]; rocAuc: Num; averagePrecision: number }[];
  regression: { name: string; outputs: number; targets: number[]; predictions: number[]; figures: Record<string, Num> }[];
  labelErrors: { name: string; classes: number; labels: number[]; probabilities: number[]; changed: number[]; found: number[] }[];
}
const golden = JSON.parse(readFileSync(new URL('../golden/metrics.json', import.meta.url), 'utf8')) as Golden;

/** Within 1e-9 of the reference's size, or NaN where it is. */
function near(got: number | undefined, want: Num | undefined, what = ''): void {
  if (want === 'NaN') expect(got, what).toBeNaN();
  else
    expect(Math.abs((got as number) - (want as number)), `${what}: ${got} for ${want}`).toBeLessThanOrEqual(
      1e-9 * Math.max(1, Math.abs(want as number)),
    );
}
const allNear = (got: readonly number[], want: readonly Num[], what = '') => {
  expect(got.length).toBe(want.length);
  got.forEach((v, i) => {
    near(v, want[i], `${what} ${i}`);
  });
};

interface Mergeable<M> {
  state(): number[];
  merge(other: M | readonly number[]): M;
}
/** The metric filled in one go, in batches of 7, and as three parts merged: one as an object, one as its state sent as JSON. */
function ways<M extends Mergeable<M>>(n: number, make: () => M, add: (m: M, from: number, to: number) => void): M[] {
  const filled = (from: number, to: number, by: number) => {
    const m = make();
    for (let i = from; i < to; i += by) add(m, i, Math.min(to, i + by));
    return m;
  };
  const [a, b] = [Math.floor(n / 3), Math.floor((2 * n) / 3)];
  const sent = JSON.parse(JSON.stringify(filled(b, n, 5).state())) as number[];
  return [
    filled(0, n, n),
    filled(0, n, 7),
    filled(0, a, 4)
      .merge(filled(a, b, 3))
      .merge(sent),
  ];
}

describe.each(golden.classes)('classes: $name', (c) => {
  const { classes: k, targets, probabilities: p } = c;
  const rows = (from: number, to: number) => p.slice(from * k, to * k);
  const n = targets.length;

  test('the confusion matrix and what follows from it', () => {
    const predicted = monitor.predictedClasses(Float64Array.from(p), k);
    const make = () => new monitor.ConfusionMatrix(k);
    for (const m of ways(n, make, (m, a, b) => m.add([...predicted.subarray(a, b)], targets.slice(a, b)))) {
      expect([...m.counts]).toEqual(c.confusion);
      near(m.accuracy(), c.accuracy);
      m.perClass().forEach((f, i) => {
        allNear([f.precision, f.recall, f.f1, f.support], c.perClass[i] as number[], 'class');
      });
      for (const average of ['macro', 'micro', 'weighted'] as const) {
        const f = m[average]();
        allNear([f.precision, f.recall, f.f1], c.averages[average], average);
      }
    }
    const counted = new monitor.Accuracy().add([...predicted], targets);
    near(new monitor.Accuracy().merge(counted).merge(counted.state()).value(), c.accuracy);
  });
  test('top-k', () => {
    c.topK.forEach((want, i) => {
      const make = () => new monitor.TopKAccuracy({ classes: k, k: i + 1, ties: 'last' });
      for (const m of ways(n, make, (m, a, b) => m.add(rows(a, b), targets.slice(a, b)))) near(m.value(), want, `top ${i + 1}`);
    });
    // Of equals the first counts by default, so that top-1 is the accuracy.
    near(new monitor.TopKAccuracy({ classes: k, k: 1 }).add(p, targets).value(), c.accuracy);
    near(new monitor.TopKAccuracy({ classes: k, k }).add(p, targets).value(), 1);
  });
  test('areas', () => {
    const make = () => new monitor.RankingMetrics({ classes: k });
    for (const m of ways(n, make, (m, a, b) => m.add(rows(a, b), targets.slice(a, b)))) {
      const per = m.perClass();
      allNear(
        per.map((f) => f.rocAuc),
        c.rocAuc,
        'rocAuc',
      );
      allNear(
        per.map((f) => f.averagePrecision),
        c.averagePrecision,
        'averagePrecision',
      );
      near(m.rocAuc(), c.rocAucMacro);
      near(m.rocAuc({ average: 'weighted' }), c.rocAucWeighted);
      near(m.averagePrecision(), c.averagePrecision.reduce((a, b) => a + b, 0) / k);
      near(m.averagePrecision({ average: 'weighted' }), c.averagePrecisionWeighted);
      expect(m.total).toBe(n);
    }
  });
  test('calibration', () => {
    const make = () => new monitor.Calibration({ classes: k });
    for (const m of ways(n, make, (m, a, b) => m.add(rows(a, b), targets.slice(a, b)))) {
      const bins = m.bins();
      expect(bins.map((b) => b.count)).toEqual(c.bins.count);
      const full = bins.filter((b) => b.count > 0);
      allNear(
        full.map((b) => b.accuracy),
        c.bins.accuracy,
        'accuracy',
      );
      allNear(
        full.map((b) => b.confidence),
        c.bins.confidence,
        'confidence',
      );
      near(m.ece(), c.ece);
      near(m.mce(), c.mce);
    }
  });
});

describe.each(golden.binary)('one score: $name', (c) => {
  test('areas', () => {
    const make = () => new monitor.RankingMetrics();
    const add = (m: monitor.RankingMetrics, a: number, b: number) => m.add(c.scores.slice(a, b), c.targets.slice(a, b));
    for (const m of ways(c.targets.length, make, add)) {
      near(m.rocAuc(), c.rocAuc);
      near(m.averagePrecision(), c.averagePrecision);
    }
  });
});

describe.each(golden.regression)('regression: $name', (c) => {
  test('figures', () => {
    const k = c.outputs;
    const make = () => new monitor.RegressionMetrics({ outputs: k });
    const add = (m: monitor.RegressionMetrics, a: number, b: number) =>
      m.add(c.predictions.slice(a * k, b * k), c.targets.slice(a * k, b * k));
    for (const m of ways(c.targets.length / k, make, add)) {
      const figures = m.value() as unknown as Record<string, number>;
      expect(Object.keys(figures).sort()).toEqual(Object.keys(c.figures).sort());
      for (const [name, want] of Object.entries(c.figures)) near(figures[name], want, name);
    }
  });
});

test.each(golden.labelErrors)('label errors: $name', (c) => {
  const found = monitor.suspectedLabelErrors(c.probabilities, c.labels, { classes: c.classes });
  expect(found.map((s) => s.id).sort((a, b) => a - b)).toEqual(c.found);
  // The labels that were changed are among them, and first.
  const first = found.slice(0, c.changed.length).filter((s) => c.changed.includes(s.id));
  expect(first.length).toBeGreaterThanOrEqual(0.8 * c.changed.length);
  const margins = found.map((s) => s.confidence - s.targetProbability);
  expect(margins).toEqual([...margins].sort((a, b) => b - a));
  for (const s of found) {
    expect(s.target).toBe(c.labels[s.id]);
    expect(s.confidence).toBe(c.probabilities[s.id * c.classes + s.prediction]);
  }
});
