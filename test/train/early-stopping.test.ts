import { describe, expect, test } from 'vitest';
import { CheckpointError, ConfigError } from '../../lib/native/errors.ts';
import { EarlyStopping, type EarlyStoppingOptions, modeOf } from '../../lib/train/early-stopping.ts';

/** Number of checks after which it stopped (0: never) and why. */
function run(values: readonly number[], options: EarlyStoppingOptions): [number, string | undefined] {
  const e = new EarlyStopping(options);
  for (const [i, v] of values.entries()) {
    const d = e.check(v, i);
    if (d.stop) return [i + 1, d.reason];
  }
  return [0, undefined];
}

describe('patience', () => {
  test('counts checks since the best; the default is 5', () => {
    expect(run([3, 2, 2, 2, 2, 2, 2, 2], {})).toEqual([7, 'patience']);
    expect(run([3, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1], {})).toEqual([0, undefined]);
    expect(run([1, 2], { patience: 1 })).toEqual([2, 'patience']);
    expect(run(Array(50).fill(1), { patience: Number.POSITIVE_INFINITY })).toEqual([0, undefined]);
  });
  test('mode max', () => {
    expect(run([0.1, 0.2, 0.3, 0.2, 0.1], { metric: 'val/accuracy', patience: 2 })).toEqual([5, 'patience']);
    expect(run([0.1, 0.2, 0.3, 0.2, 0.1], { mode: 'min', patience: 2 })).toEqual([3, 'patience']);
  });
  test('minDelta: a smaller gain is none, and small gains do not add up unseen', () => {
    expect(run([1, 0.95, 0.9, 0.85], { patience: 2, minDelta: 0.1 })).toEqual([3, 'patience']);
    expect(run([1, 0.95, 0.85, 0.85], { patience: 2, minDelta: 0.1 })).toEqual([0, undefined]);
    expect(run([0.5, 0.55, 0.65, 0.66], { mode: 'max', patience: 2, minDelta: 0.1 })).toEqual([0, undefined]);
  });
  test('the decision says what is best, and the message has the figures', () => {
    const e = new EarlyStopping({ patience: 2 });
    expect(e.best).toBeNull();
    expect(e.check(0.5, 100)).toEqual({ improved: true, stop: false });
    expect(e.check(0.6, 200)).toEqual({ improved: false, stop: false });
    expect(e.check(0.55, 300)).toEqual({
      improved: false,
      stop: true,
      reason: 'patience',
      message: 'val/loss has not improved in 2 checks (best 0.5 at step 100, now 0.55).',
    });
    expect(e.best).toEqual({ value: 0.5, step: 100 });
  });
});

describe('other reasons', () => {
  test('not finite', () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      expect(run([1, bad], {})).toEqual([2, 'nonFinite']);
      const e = new EarlyStopping({ checkFinite: false, patience: 2 });
      e.check(1, 1);
      expect(e.check(bad, 2)).toEqual({ improved: false, stop: false });
      expect(e.check(0.5, 3).improved).toBe(true);
    }
  });
  test('the goal, which may be the best as well', () => {
    const e = new EarlyStopping({ metric: 'acc', stoppingThreshold: 0.99 });
    expect(e.check(0.99, 1).stop).toBe(false);
    expect(e.check(0.991, 2)).toMatchObject({ improved: true, stop: true, reason: 'stoppingThreshold' });
    expect(e.best?.value).toBe(0.991);
  });
  test('divergence', () => {
    expect(run([2, 4, 10, 10.1], { divergenceThreshold: 10 })).toEqual([4, 'divergenceThreshold']);
    expect(run([0.5, 0.1], { mode: 'max', divergenceThreshold: 0.2 })).toEqual([2, 'divergenceThreshold']);
  });
});

describe('state', () => {
  test('saved and loaded at any check, it stops at the same one', () => {
    const values = [5, 4, 4.5, 4.2, 3, 3.1, 3.3, 3.2, 2.9];
    const options = { patience: 3 };
    expect(run(values, options)).toEqual([8, 'patience']);
    for (let cut = 0; cut < 8; cut++) {
      const a = new EarlyStopping(options);
      for (let i = 0; i < cut; i++) a.check(values[i] as number, i);
      const b = new EarlyStopping(options);
      b.load(JSON.parse(JSON.stringify(a.state())));
      let stopped = 0;
      for (let i = cut; i < values.length && !stopped; i++) if (b.check(values[i] as number, i).stop) stopped = i + 1;
      expect(stopped, `cut at ${cut}`).toBe(8);
      expect(b.best).toEqual({ value: 3, step: 4 });
      expect(b.state()).toEqual({ best: 3, bestStep: 4, waited: 3, checks: 8, stopped: 'patience' });
    }
  });
  test('nonsense is refused', () => {
    const good = new EarlyStopping().state();
    for (const bad of [null, 1, {}, { ...good, waited: -1 }, { ...good, best: 1 }, { ...good, stopped: 'tired' }]) {
      expect(() => new EarlyStopping().load(bad as never)).toThrow(CheckpointError);
    }
  });
});

describe('options', () => {
  test('the mode is read off the name, or asked for', () => {
    for (const name of ['loss', 'val/loss', 'val/l1Loss', 'wordErr', 'val/perplexity', 'rmse', 'ece'])
      expect(modeOf(name)).toBe('min');
    for (const name of ['val/accuracy', 'macroF1', 'val/recall', 'auroc', 'r2', 'top5Acc']) expect(modeOf(name)).toBe('max');
    expect(() => modeOf('val/reward2')).toThrow(/Give mode/);
    expect(new EarlyStopping({ metric: 'val/reward2', mode: 'max' }).options.mode).toBe('max');
  });
  test.each([
    [{ patiance: 3 }, /"patiance" should be "patience"/],
    [{ patience: 0 }, /patience must be an integer >= 1/],
    [{ patience: 2.5 }, /got 2.5/],
    [{ minDelta: -1 }, /minDelta must be >= 0/],
    [{ mode: 'best' }, /'min' or 'max'/],
    [{ stoppingThreshold: Number.NaN }, /stoppingThreshold must be a finite number/],
  ])('%j is refused', (options, message) => {
    expect(() => new EarlyStopping(options as never)).toThrow(ConfigError);
    expect(() => new EarlyStopping(options as never)).toThrow(message);
  });
});
