import { describe, expect, test } from 'vitest';
import { ConfigError } from '../../lib/native/errors.ts';
import * as schedule from '../../lib/schedule/index.ts';

/** Factors of steps 0..expected.length-1 are the expected ones, to f64 rounding. */
function expectFactors(s: schedule.Schedule, expected: readonly number[], tolerance = 1e-14) {
  const got = s.table(0, expected.length);
  expected.forEach((e, i) => {
    expect(Math.abs((got[i] as number) - e), `step ${i}: ${got[i]} against ${e}`).toBeLessThanOrEqual(tolerance);
  });
}

describe('against PyTorch 2.13 (peak rate 1, f64)', () => {
  test('cosine is CosineAnnealingLR(T_max=10, eta_min=0.1)', () => {
    expectFactors(
      schedule.cosine({ to: 0.1, steps: 10 }),
      [
        1.0, 0.9779754323328191, 0.9140576474687263, 0.8145033635316129, 0.6890576474687263, 0.55, 0.41094235253127376,
        0.2854966364683872, 0.18594235253127372, 0.12202456766718092, 0.1,
      ],
    );
  });
  test('cosineRestarts is CosineAnnealingWarmRestarts(4, T_mult=2, eta_min=0.1)', () => {
    expectFactors(
      schedule.cosineRestarts({ period: 4, mult: 2, to: 0.1 }),
      [
        1.0, 0.8681980515339464, 0.55, 0.23180194846605365, 1.0, 0.9657457896300791, 0.8681980515339464, 0.7222075445642904, 0.55,
        0.3777924554357096, 0.23180194846605365, 0.13425421036992097, 1.0, 0.9913533761814537, 0.9657457896300791,
        0.9241613255361454,
      ],
    );
  });
  test('step is StepLR and MultiStepLR', () => {
    expectFactors(schedule.step({ every: 3, gamma: 0.5 }), [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125]);
    expectFactors(schedule.step({ at: [5, 2] }), [1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01]);
  });
  test('exponential is ExponentialLR(0.9)', () => {
    expectFactors(schedule.exponential({ gamma: 0.9 }), [1.0, 0.9, 0.81, 0.729, 0.6561, 0.59049]);
  });
  test('polynomial is PolynomialLR(8, power=2)', () => {
    expectFactors(
      schedule.polynomial({ steps: 8, power: 2 }),
      [1, 0.765625, 0.5625, 0.390625, 0.25, 0.140625, 0.0625, 0.015625, 0, 0],
    );
  });
  test('oneCycle is OneCycleLR, two phases of cosine', () => {
    expectFactors(
      schedule.oneCycle({ steps: 10 }),
      [
        0.04, 0.52, 1.0, 0.9504846320134737, 0.8117456539497631, 0.6112620219362893, 0.38874197806371075, 0.18825834605023697,
        0.049519367986526286, 4e-6,
      ],
    );
  });
  test('oneCycle is OneCycleLR, three straight phases', () => {
    expectFactors(
      schedule.oneCycle({ steps: 12, anneal: 'linear', threePhase: true }),
      [
        0.04, 0.4092307692307693, 0.7784615384615386, 0.8523076923076922, 0.48307692307692296, 0.1138461538461536,
        0.03448331034482758, 0.027587448275862066, 0.020691586206896546, 0.01379572413793103, 0.0068998620689655135, 4e-6,
      ],
    );
  });
  test('warmup is LinearLR(start_factor=0.01, total_iters=5)', () => {
    expectFactors(schedule.warmup({ steps: 5 }), [0.01, 0.208, 0.406, 0.604, 0.802, 1, 1]);
  });
});

describe('formulas', () => {
  test('warmup: s0 + (1 - s0) t / W, then the peak', () => {
    const s = schedule.warmup({ steps: 300, from: 0.2 });
    for (const t of [0, 1, 17, 150, 299, 300]) expect(s.factor(t)).toBeCloseTo(0.2 + (0.8 * t) / 300, 14);
    expect(s.factor(5000)).toBe(1);
    expect(schedule.warmup({ steps: 0 }).factor(0)).toBe(1);
  });
  test('linear, oneMinusSqrt, inverseSqrt, constant', () => {
    expectFactors(schedule.linear({ from: 1, to: 0.5, steps: 4 }), [1, 0.875, 0.75, 0.625, 0.5, 0.5]);
    expectFactors(schedule.oneMinusSqrt({ steps: 4 }), [1, 0.5, 1 - Math.SQRT1_2, 1 - Math.sqrt(0.75), 0]);
    const vaswani = schedule.warmup({ steps: 400 }).followedBy(schedule.inverseSqrt({ timescale: 400 }));
    expect(vaswani.factor(1600)).toBeCloseTo(Math.sqrt(400 / 1600), 15);
    expect(vaswani.factor(400)).toBe(1);
    expect(schedule.constant({ factor: 0.3 }).factor(1e9)).toBe(0.3);
  });
  test('restarts begin exactly at 1 for every cycle, however far', () => {
    for (const [period, mult] of [
      [3, 3],
      [10, 2],
      [7, 1],
      [1, 10],
    ] as const) {
      const s = schedule.cosineRestarts({ period, mult });
      for (let start = 0, length = period, c = 0; c < 12; c++) {
        expect(s.factor(start)).toBe(1);
        if (length > 1) expect(s.factor(start + length - 1)).toBeLessThan(0.6);
        start += length;
        length *= mult;
      }
    }
  });
  test('a part without length in front takes what is left: warm-up, stable, decay', () => {
    const s = schedule.wsd({ warmup: 10, decay: 20 }).over(100);
    expect(s.factor(9)).toBeLessThan(1);
    for (const t of [10, 50, 80]) expect(s.factor(t)).toBe(1);
    expect(s.factor(90)).toBeCloseTo(0.5, 15);
    expect(s.factor(100)).toBe(0);
    expect(schedule.wsd({ warmup: 10, decay: 20, shape: 'cosine' }).over(100).factor(85)).toBeCloseTo(0.5 + Math.SQRT1_2 / 2, 15);
  });
});

describe('composition', () => {
  const recipe = () => schedule.warmup({ steps: 300 }).followedBy(schedule.cosine({ to: 0.1 }));

  test('the hand-off neither jumps nor overshoots, and the end is exact', () => {
    const s = recipe().over(2000);
    const f = s.table(0, 2100);
    expect(Math.max(...f)).toBe(1);
    expect(f[300]).toBe(1);
    for (let i = 1; i <= 2000; i++) expect(Math.abs((f[i] as number) - (f[i - 1] as number))).toBeLessThan(0.0034);
    for (let i = 301; i <= 2000; i++) expect(f[i] as number).toBeLessThan(f[i - 1] as number);
    expect(f[2000]).toBe(0.1);
    expect(f[2099]).toBe(0.1);
    expect(f[1150]).toBeCloseTo(0.55, 14);
  });
  test('a part of n steps gives exactly n factors', () => {
    const s = schedule.constant({ factor: 0.5, steps: 3 }).followedBy(schedule.constant({ factor: 0.25 }));
    expect([...s.table(0, 5)]).toEqual([0.5, 0.5, 0.5, 0.25, 0.25]);
  });
  test('over() may be called again, and a schedule is never changed in place', () => {
    const open = recipe();
    const short = open.over(1000);
    expect(short.over(2000).factor(1150)).toBe(open.over(2000).factor(1150));
    expect(short.totalSteps).toBe(1000);
    expect(open.totalSteps).toBeUndefined();
    expect([open.resolved, short.resolved, schedule.exponential({ gamma: 0.9 }).resolved]).toEqual([false, true, true]);
    expect(open.fixedSteps).toBe(300);
  });
  test('table is factor, from any step', () => {
    const s = recipe().over(900);
    expect([...s.table(250, 100)]).toEqual(Array.from({ length: 100 }, (_, i) => s.factor(250 + i)));
  });
  test('JSON gives the same schedule back', () => {
    const all = [
      recipe().over(777),
      schedule.wsd({ warmup: 5, decay: 9, shape: 'oneMinusSqrt' }).over(60),
      schedule.cosineRestarts({ period: 5, mult: 2, to: 0.2 }),
      schedule.step({ at: [3, 9], gamma: 0.3 }),
      schedule.step({ every: 4 }),
      schedule.oneCycle({ threePhase: true, anneal: 'linear' }).over(40),
      schedule.polynomial({ power: 3, steps: 20 }).followedBy(schedule.linear({ from: 0.5, to: 0.1, steps: 20 })),
      schedule.exponential({ gamma: 0.99 }),
      schedule.inverseSqrt({ timescale: 12 }),
      schedule.constant({ factor: 0.5 }),
    ];
    for (const s of all) {
      const back = schedule.fromJSON(JSON.parse(JSON.stringify(s)));
      expect(back.describe()).toBe(s.describe());
      expect(back.table(0, 50)).toEqual(s.table(0, 50));
    }
  });
  test('a function of one’s own', () => {
    const s = schedule.custom((t, n) => t / n).over(8);
    expect(s.factor(2)).toBe(0.25);
    expect(() => schedule.custom(() => Number.NaN).factor(3)).toThrow(/factor at step 3 must be a finite number/);
    expect(() => schedule.fromJSON(s.toJSON())).toThrow(/custom function is not in JSON/);
  });
});

describe('pictures', () => {
  test('toString shows the parts and their curve', () => {
    const s = schedule.warmup({ steps: 30 }).followedBy(schedule.cosine()).over(100);
    expect(s.describe()).toBe('warmup(steps 30, from 0.01) -> cosine(from 1, to 0) over 100 steps');
    const lines = s.plot({ width: 21, height: 4 }).split('\n');
    expect(lines).toHaveLength(5);
    expect(lines[0]).toMatch(/^ {3}1\.000 ┤ {5}.*[▁-█]/);
    expect(lines[3]).toMatch(/^ {3}0\.000 ┤.*█/);
    expect(lines[4]).toMatch(/100 steps$/);
    expect(String(schedule.cosine())).toBe('cosine(from 1, to 0) (waits for .over(totalSteps))');
  });
  test('toSVG is one closed element with a point for each sample', () => {
    const svg = schedule.cosine({ steps: 10 }).toSVG();
    expect(svg).toMatch(/^<svg .*<\/svg>$/);
    expect((svg.match(/points="([^"]*)"/)?.[1] ?? '').split(' ')).toHaveLength(11);
  });
});

describe('errors', () => {
  const cases: [string, () => unknown, RegExp][] = [
    ['misspelled option', () => schedule.warmup({ step: 3 } as never), /"step" should be "steps"/],
    ['no warm-up length', () => schedule.warmup({} as never), /steps must be an integer >= 0, got undefined/],
    ['fractional length', () => schedule.cosine({ steps: 1.5 }), /steps must be an integer >= 1, got 1\.5/],
    ['negative factor', () => schedule.cosine({ to: -1 }), /to must be a finite number >= 0/],
    ['growing exponential', () => schedule.exponential({ gamma: 1.1 }), /gamma must be .* <= 1/],
    ['step needs one of two', () => schedule.step({}), /either `every`/],
    ['wrong anneal', () => schedule.oneCycle({ anneal: 'cosine' as never }), /'cos' or 'linear'/],
    [
      'wrong wsd shape',
      () => schedule.wsd({ warmup: 1, decay: 1, shape: 'exp' as never }),
      /shape must be one of linear, cosine/,
    ],
    ['two open parts', () => schedule.cosine().followedBy(schedule.linear()), /cosine and linear both lack `steps`/],
    ['not a schedule', () => schedule.cosine().followedBy({} as never), /expected a schedule/],
    ['unknown length', () => schedule.cosine().factor(0), /length of cosine is not known/],
    [
      'nothing left',
      () => schedule.warmup({ steps: 300 }).followedBy(schedule.cosine()).over(200),
      /200 steps leaves none for cosine \(warmup 300\)/,
    ],
    ['no steps at all', () => schedule.cosine().over(0), /positive integer/],
    ['step not a number', () => schedule.constant().factor(Number.NaN), /integer >= 0, got NaN/],
    ['unknown kind', () => schedule.fromJSON({ parts: [{ kind: 'constructor' }] }), /cannot make "constructor"/],
    ['empty JSON', () => schedule.fromJSON({} as never), /at least one part/],
  ];
  test.each(cases)('%s', (_, act, message) => {
    expect(act).toThrow(ConfigError);
    expect(act).toThrow(message);
  });
});
