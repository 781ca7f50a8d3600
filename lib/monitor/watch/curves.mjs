// The curves of the live page: stands before page.mjs in the same script, and imports nothing. Types are in curves.d.mts.

/** Numbers that grow at their end; `view` is what is there, without a copy. */
export class Column {
  constructor() {
    this.data = new Float64Array(1024);
    this.length = 0;
  }
  push(more) {
    const length = this.length + more.length;
    if (length > this.data.length) {
      const larger = new Float64Array(Math.max(length, 2 * this.data.length));
      larger.set(this.view);
      this.data = larger;
    }
    this.data.set(more, this.length);
    this.length = length;
  }
  get view() {
    return this.data.subarray(0, this.length);
  }
}

/** What /api/series gives: of each curve its length, steps and values. */
export function parseSeries(numbers) {
  const curves = [];
  for (let at = 0; at < numbers.length; ) {
    const n = numbers[at++];
    curves.push({ steps: numbers.subarray(at, at + n), values: numbers.subarray(at + n, at + 2 * n) });
    at += 2 * n;
  }
  return curves;
}

/** Curves with steps of their own over the union of them: NaN where a curve has no value. Of several at one step the last counts. */
export function overlay(curves) {
  if (curves.length === 1 && rises(curves[0].steps)) return { x: curves[0].steps, columns: [curves[0].values] };
  const steps = curves.map((c) => c.steps);
  const size = steps.reduce((sum, s) => sum + s.length, 0);
  const x = new Float64Array(size);
  const columns = curves.map(() => new Float64Array(size).fill(Number.NaN));
  const at = new Int32Array(curves.length);
  let n = 0;
  for (;;) {
    let step = Infinity;
    for (let i = 0; i < at.length; i++) {
      const next = steps[i][at[i]]; // undefined at the end is not smaller
      if (next < step) step = next;
    }
    if (step === Infinity) break;
    x[n] = step;
    for (let i = 0; i < at.length; i++)
      for (const s = steps[i]; s[at[i]] <= step; at[i]++) columns[i][n] = curves[i].values[at[i]];
    n++;
  }
  return { x: x.subarray(0, n), columns: columns.map((c) => c.subarray(0, n)) };
}

function rises(steps) {
  for (let i = 1; i < steps.length; i++) if (!(steps[i] > steps[i - 1])) return false;
  return true;
}

/** The charts for metrics of these names, the most telling first; each metric stands in one of them. */
export function plan(names) {
  const hidden = new Set([
    'epoch',
    'samples',
    'seconds',
    'deviceSeconds',
    'plannedLr',
    'clippedGradNorm',
    'peakMemory',
    'val/samples',
    'updates',
  ]);
  const fixed = [
    ['Loss', ['loss', 'val/loss']],
    ['Accuracy', ['val/accuracy']],
    ['Learning rate', ['lr']],
    ['Gradient norm', ['gradNorm']],
    ['Samples per second', ['samplesPerSecond']],
    ['Tensor memory', ['memory']],
    ['Update-to-weight ratio', ['updateRatio']],
    ['Loss scale', ['lossScale']],
    ['Waiting for data (seconds a step)', ['dataSeconds']],
  ];
  const known = new Set(fixed.flatMap(([, metrics]) => metrics));
  const rest = [...names].filter((n) => !known.has(n) && !hidden.has(n)).sort();
  return [...fixed, ...rest.map((n) => [n.replace(/^val\//, 'Validation: '), [n]])].filter(([, metrics]) =>
    metrics.some((m) => names.has(m)),
  );
}
