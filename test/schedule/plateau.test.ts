import { describe, expect, test } from 'vitest';
import { CheckpointError, ConfigError } from '../../lib/native/errors.ts';
import { type PlateauOptions, plateau } from '../../lib/schedule/index.ts';

function run(values: readonly number[], lr: number, options: PlateauOptions): number[] {
  const p = plateau(options);
  let rate = lr;
  return values.map((v) => {
    rate = p.check(v, rate).lr;
    return rate;
  });
}

const near = (got: readonly number[], expected: readonly number[]) => {
  expect(got).toHaveLength(expected.length);
  for (let i = 0; i < got.length; i++) expect(got[i]).toBeCloseTo(expected[i] as number, 14);
};

describe('against PyTorch 2.13 ReduceLROnPlateau', () => {
  const falling = [1, 0.9, 0.9, 0.9, 0.89999, 0.9, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8];
  test('patience 2, factor 0.5', () => {
    near(
      run(falling, 0.1, { patience: 2, factor: 0.5 }),
      [0.1, 0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05, 0.05, 0.025, 0.025, 0.025, 0.0125, 0.0125],
    );
  });
  test('cooldown 2, minLr 0.02', () => {
    near(
      run(falling, 0.1, { patience: 1, factor: 0.5, cooldown: 2, minLr: 0.02 }),
      [0.1, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05, 0.05, 0.025, 0.025, 0.025, 0.025, 0.02, 0.02],
    );
  });
  test('mode max, absolute threshold, a NaN among the values', () => {
    const values = [0.5, 0.6, 0.6, 0.61, 0.605, 0.61, 0.61, 0.61, Number.NaN, 0.7, 0.7, 0.7, 0.7, 0.7];
    near(
      run(values, 0.1, { mode: 'max', patience: 1, factor: 0.1, threshold: 0.02, thresholdMode: 'abs' }),
      [0.1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001, 1e-4, 1e-4, 1e-4, 1e-4, 1e-5, 1e-5, 1e-6],
    );
  });
  test('a reduction by less than eps is not made', () => {
    near(run(Array(5).fill(1), 1e-7, { patience: 0 }), [1e-7, 1e-8, 1e-8, 1e-8, 1e-8]);
  });
});

describe('where PyTorch errs', () => {
  test('a negative metric that gets slightly worse is no improvement', () => {
    const p = plateau({ patience: 5 });
    expect(p.check(-1, 1).improved).toBe(true);
    expect(p.check(-0.99995, 1).improved).toBe(false); // PyTorch: -0.99995 < -1 * (1 - 1e-4)
    expect(p.check(-1.00005, 1).improved).toBe(false);
    expect(p.check(-1.0002, 1).improved).toBe(true);
    const up = plateau({ mode: 'max' });
    up.check(-1, 1);
    expect(up.check(-1.00005, 1).improved).toBe(false);
    expect(up.check(-0.9998, 1).improved).toBe(true);
  });
  test('infinity never becomes the best value', () => {
    const p = plateau();
    expect(p.check(Number.NEGATIVE_INFINITY, 1).improved).toBe(false);
    expect(p.check(3, 1).improved).toBe(true);
  });
});

describe('state', () => {
  test('scale is the product of reductions', () => {
    const p = plateau({ patience: 0, factor: 0.5 });
    let lr = 0.8;
    for (const v of [1, 1, 1]) lr = p.check(v, lr).lr;
    expect(p.scale).toBe(0.25);
    expect(lr).toBe(0.2);
  });
  test('saved and loaded in mid-run goes on the same', () => {
    const values = [5, 4, 4, 4, 4, 4, 3, 3, 3, 3, 3, 3];
    const options = { patience: 1, cooldown: 1, factor: 0.5 };
    const whole = run(values, 1, options);
    for (let cut = 0; cut < values.length; cut++) {
      const a = plateau(options);
      let lr = 1;
      for (const v of values.slice(0, cut)) lr = a.check(v, lr).lr;
      const b = plateau(options);
      b.load(JSON.parse(JSON.stringify(a.state())));
      for (const v of values.slice(cut)) lr = b.check(v, lr).lr;
      expect(lr).toBe(whole.at(-1));
    }
  });
  test('nonsense is refused', () => {
    for (const bad of [null, {}, { best: 'x', bad: 0, cooldown: 0, scale: 1 }, { best: 1, bad: -1, cooldown: 0, scale: 1 }]) {
      expect(() => plateau().load(bad as never)).toThrow(CheckpointError);
    }
    expect(() => plateau({ patiense: 3 } as never)).toThrow(/"patiense" should be "patience"/);
    expect(() => plateau({ factor: 1 })).toThrow(ConfigError);
    expect(() => plateau({ mode: 'up' as never })).toThrow(/'min' or 'max'/);
    expect(() => plateau({ thresholdMode: 'r' as never })).toThrow(/'rel' or 'abs'/);
  });
});
