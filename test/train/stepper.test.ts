import { describe, expect, test } from 'vitest';
import {
  ConfigError,
  DataError,
  defaultDevice,
  GraphError,
  losses,
  nn,
  noGrad,
  optim,
  Stepper,
  type StepperOptions,
  schedule,
  scope,
  type Tensor,
  tensor,
} from '../../lib/index.ts';
import { distance, host, mlp, normals, temporary, valuesOf } from './helpers.ts';

const x = () => host(normals('x', 16 * 6), 16, 6);
const y = () =>
  host(
    Int32Array.from({ length: 16 }, (_, i) => i % 3),
    16,
  );
const ids = Int32Array.from({ length: 16 }, (_, i) => 100 + i);
const window = () => ({ micro: [{ x: x(), y: y() }], ids });
const net = () => mlp([6, 10, 3]);

function set<M extends nn.Module = nn.Sequential>(options: Partial<StepperOptions> = {}, model: M = net() as unknown as M) {
  const optimizer = options.optimizer ?? new optim.AdamW(model.parameters(), { lr: 0.01 });
  return { model, optimizer, stepper: new Stepper({ model, optimizer, ...options }) };
}
type Batch = { x: Tensor; y: Tensor };
const classify =
  (model: nn.Sequential) =>
  ({ x, y }: { x: Tensor; y: Tensor }) =>
    losses.crossEntropy(model.forward(x), y);
const everything = ({ model, optimizer }: { model: nn.Module; optimizer: optim.Optimizer }) =>
  valuesOf([...model.stateDict(), ...optimizer.stateDict().tensors]);

describe('a step that must not be made', () => {
  for (const [name, spoil] of [
    ['NaN', Number.NaN],
    ['infinity', Infinity],
  ] as const) {
    test(`${name} in a gradient: nothing changes, and it is told`, async () => {
      const parts = set({ schedule: schedule.linear({ from: 1, to: 0 }).over(10), clipNorm: 1 });
      const { model, stepper } = parts;
      await stepper.step(window(), classify(model));
      const before = await everything(parts);
      const skipped = await stepper.step(window(), ({ x, y }) =>
        losses
          .crossEntropy(model.forward(x), y)
          .times(1)
          .plus(losses.lossTerm(model.forward(x).mul(spoil).sum(), 1)),
      );
      expect(skipped).toMatchObject({ applied: false, reason: 'nonFiniteGradient', step: 2, samples: 16 });
      expect([...skipped.sampleIds]).toEqual([...ids]);
      expect(Number.isFinite(skipped.gradNorm)).toBe(false);
      expect(await everything(parts)).toEqual(before);
      expect(stepper.applied).toBe(1);
      const next = await stepper.step(window(), classify(model));
      expect(next).toMatchObject({ applied: true, step: 3 });
      expect(next.reason).toBeUndefined();
      expect(next.lr).toBe(skipped.lr); // the schedule waited
      expect(next.lr).toBeCloseTo(0.009, 12);
      expect((await stepper.step(window(), classify(model))).lr).toBeCloseTo(0.008, 12);
    });
  }

  test('in one micro-batch of several', async () => {
    const parts = set();
    await parts.stepper.step(window(), classify(parts.model));
    const before = await everything(parts);
    let micro = 0;
    const r = await parts.stepper.step({ micro: [...window().micro, ...window().micro, ...window().micro] }, ({ x, y }) =>
      losses.crossEntropy(parts.model.forward(micro++ === 1 ? x.mul(Infinity) : x), y),
    );
    expect(r).toMatchObject({ applied: false, reason: 'nonFiniteGradient', samples: 48 });
    expect(await everything(parts)).toEqual(before);
  });

  test('no target left: decay and momentum rest too', async () => {
    const parts = set();
    await parts.stepper.step(window(), classify(parts.model));
    const before = await everything(parts);
    const none = { micro: [{ x: x(), y: host(new Int32Array(16).fill(-100), 16) }], ids };
    const r = await parts.stepper.step(none, classify(parts.model));
    expect(r).toMatchObject({ applied: false, reason: 'noTargets', loss: 0 });
    expect(await everything(parts)).toEqual(before);
  });
});

describe('gradients that are nobody’s', () => {
  test('left over from outside', async () => {
    const { model, optimizer, stepper } = set();
    losses
      .mse(model.forward(tensor(normals('x', 6), { shape: [1, 6] })), tensor([[1, 0, 0]]))
      .mean()
      .backward();
    const step = () => stepper.step(window(), classify(model));
    expect(step).toThrow(GraphError);
    expect(step).toThrow(/0\.weight already has a gradient.*optimizer\.zeroGrad/s);
    optimizer.zeroGrad();
    expect((await step()).applied).toBe(true);
  });

  test('of a parameter that the optimizer does not own, by its name', async () => {
    const model = net();
    const optimizer = new optim.AdamW(model.parameters().slice(0, 2));
    const { stepper } = set({ optimizer }, model);
    const before = await valuesOf(model.stateDict());
    expect(() => stepper.step(window(), classify(model))).toThrow(/2\.(weight|bias), which the optimizer does not own.*freeze/s);
    expect(model.parameters().map((p) => p.grad)).toEqual([null, null, null, null]);
    expect(await valuesOf(model.stateDict())).toEqual(before);
    model.layers[2]?.freeze();
    expect((await stepper.step(window(), classify(model))).applied).toBe(true);
  });

  test('nothing to train: the loss depends on no parameter', () => {
    const { stepper, model } = set();
    expect(() =>
      stepper.step(window(), ({ x, y }) =>
        losses.crossEntropy(
          noGrad(() => model.forward(x)),
          y,
        ),
      ),
    ).toThrow(/noGrad/);
  });
});

describe('frozen parameters', () => {
  test('cost no gradient, no state and no decay; unfrozen they train', async () => {
    const on = defaultDevice();
    const model = mlp([6, 256, 3]);
    model.layers[0]?.freeze();
    const optimizer = new optim.AdamW(model.parameters(), { lr: 0.01, weightDecay: 0.5 });
    const { stepper } = set({ optimizer }, model);
    const before = await valuesOf(model.stateDict());
    const live = on.memory().live;
    await stepper.step(window(), classify(model));
    const state = optimizer.stateDict().tensors;
    expect([...state.keys()].filter((k) => k.startsWith('0.'))).toEqual([]);
    const head = 256 * 3 + 3;
    const table = 8 * 1024; // of learning rates
    expect(on.memory().live - live).toBeLessThan(4 * 2 * head + table + 512); // two moments of the head
    const after = await valuesOf(model.stateDict());
    expect(after.get('0.weight')).toEqual(before.get('0.weight'));
    expect(after.get('2.weight')).not.toEqual(before.get('2.weight'));
    model.layers[0]?.unfreeze();
    await stepper.step(window(), classify(model));
    expect((await valuesOf(model.stateDict())).get('0.weight')).not.toEqual(before.get('0.weight'));
    expect(await optimizer.stateDict().tensors.get('0.weight/step')?.item()).toBe(1);
    expect(await optimizer.stateDict().tensors.get('2.weight/step')?.item()).toBe(2);
  });
});

describe('clipNorm', () => {
  const deltas = async (clipNorm: number | undefined) => {
    const model = net();
    const before = await valuesOf(model.stateDict());
    const optimizer = new optim.SGD(model.parameters(), { lr: 1 });
    const { stepper } = set({ optimizer, ...(clipNorm === undefined ? {} : { clipNorm }) }, model);
    const r = await stepper.step(window(), classify(model));
    const after = await valuesOf(model.stateDict());
    const delta = new Map([...before].map(([k, v]) => [k, v.map((w, i) => w - (after.get(k)?.[i] as number))]));
    return { r, delta, norm: Math.sqrt([...delta.values()].flat().reduce((s, d) => s + d * d, 0)) };
  };

  test('scales by min(1, max / (norm + 1e-6)), as PyTorch', async () => {
    const free = await deltas(undefined);
    expect(free.r.gradNorm).toBeCloseTo(free.norm, 5);
    const max = free.norm / 3;
    const clipped = await deltas(max);
    expect(clipped.r.gradNorm).toBeCloseTo(free.r.gradNorm, 9); // told before clipping
    const factor = max / (free.r.gradNorm + 1e-6);
    const expected = new Map([...free.delta].map(([k, v]) => [k, v.map((d) => d * factor)]));
    expect(distance(clipped.delta, expected)).toBeLessThan(2e-6);
    const loose = await deltas(free.norm * 2);
    expect(loose.delta).toEqual(free.delta);
  });

  test('a step is backward, clipGradNorm, step of the plain form', async () => {
    const { model, stepper } = set({ clipNorm: 0.05 });
    await stepper.step(window(), classify(model));
    const plain = net();
    const adamw = new optim.AdamW(plain.parameters(), { lr: 0.01 });
    scope(() => {
      const loss = losses.crossEntropy(
        plain.forward(tensor(x().data as Float32Array, { shape: [16, 6] })),
        tensor(y().data as Int32Array),
      );
      loss.mean().backward();
      optim.clipGradNorm(plain.parameters(), 0.05);
      adamw.step();
      adamw.zeroGrad();
    });
    expect(distance(await valuesOf(model.stateDict()), await valuesOf(plain.stateDict()))).toBeLessThan(1e-6);
  });
});

describe('the learning rate', () => {
  test('follows the schedule over every refill of the table, many steps ahead of the host', async () => {
    const model = new nn.Linear(1, 1);
    const rule = schedule
      .warmup({ steps: 50 })
      .followedBy(schedule.cosine({ to: 0.1 }))
      .over(2500);
    const { stepper } = set({ schedule: rule, optimizer: new optim.SGD(model.parameters(), { lr: 0.5 }) }, model);
    const one = { micro: [{ x: host(Float32Array.of(1), 1, 1), y: host(Float32Array.of(1), 1, 1) }] };
    for (let step = 0; step < 2500; step += 100) {
      const results = Array.from({ length: 100 }, () => stepper.step(one, ({ x, y }) => losses.mse(model.forward(x), y)));
      for (const [i, r] of (await Promise.all(results)).entries()) {
        expect(r.step).toBe(step + i + 1);
        expect(r.lr).toBeCloseTo(0.5 * rule.factor(step + i), 14);
      }
    }
  });

  test('setLrScale acts from the next step queued', async () => {
    const { model, stepper } = set({ schedule: schedule.linear({ from: 1, to: 0 }).over(10) });
    const step = () => stepper.step(window(), classify(model));
    const first = step();
    stepper.setLrScale(0.5);
    const second = step();
    expect((await first).lr).toBeCloseTo(0.01, 12);
    expect((await second).lr).toBeCloseTo(0.0045, 12);
  });

  test('a group’s lr may be changed between steps', async () => {
    const { model, optimizer, stepper } = set();
    await stepper.step(window(), classify(model));
    (optimizer.groups[0] as { lr: number }).lr = 0.25;
    expect((await stepper.step(window(), classify(model))).lr).toBe(0.25);
  });
});

describe('what a window may be', () => {
  test('tensors, host arrays: the same step; tensors of one’s own are left alone', async () => {
    const a = set();
    const b = set();
    const own = { x: tensor(x().data as Float32Array, { shape: [16, 6] }), y: tensor(y().data as Int32Array) };
    const r = await a.stepper.step({ micro: [own] }, classify(a.model));
    expect(await b.stepper.step(window(), classify(b.model))).toMatchObject({ loss: r.loss, gradNorm: r.gradNorm });
    expect(await everything(a)).toEqual(await everything(b));
    expect(own.x.disposed).toBe(false);
    await a.stepper.step({ micro: [own, own] }, classify(a.model));
  });

  test('an f64 model', async () => {
    class Net extends nn.Module {
      w = new nn.Parameter(tensor([[1], [2]], { dtype: 'f64', device: 'cpu' }));
      forward(x: Tensor): Tensor {
        return x.matmul(this.w);
      }
    }
    const model = new Net();
    const { stepper } = set({ optimizer: new optim.SGD(model.parameters(), { lr: 0.1 }) }, model);
    const one = tensor([[1, 1]], { dtype: 'f64', device: 'cpu' });
    const r = await stepper.step({ micro: [{ x: one, y: tensor([[0]], { dtype: 'f64', device: 'cpu' }) }] }, ({ x, y }) =>
      losses.mse(model.forward(x), y),
    );
    expect(r).toMatchObject({ loss: 9, applied: true });
    const [w1, w2] = await model.w.data();
    expect(w1).toBeCloseTo(1 - 0.6, 14); // d/dw (w1 + w2)^2 = 6
    expect(w2).toBeCloseTo(2 - 0.6, 14);
  });

  test('a tied parameter is updated once', async () => {
    class Tied extends nn.Module {
      a = new nn.Linear(6, 6, { bias: false });
      b = this.a;
      forward(x: Tensor): Tensor {
        return this.b.forward(this.a.forward(x));
      }
    }
    const model = new Tied();
    expect(model.parameters()).toHaveLength(1);
    const { stepper, optimizer } = set({ optimizer: new optim.SGD(model.parameters(), { lr: 0.1 }) }, model);
    expect(optimizer.parameters).toHaveLength(1);
    const r = await stepper.step({ micro: [{ x: x(), y: x() }] }, ({ x, y }) => losses.mse(model.forward(x), y));
    expect(r.applied).toBe(true);
  });
});

describe('after an error the stepper goes on', () => {
  const failing: [string, (model: nn.Sequential) => (b: { x: Tensor; y: Tensor }) => losses.Loss, RegExp][] = [
    [
      'the loss function throws',
      () => () => {
        throw new RangeError('mine');
      },
      /mine/,
    ],
    [
      'a mean in place of a loss',
      (m) =>
        ({ x, y }) =>
          losses.crossEntropy(m.forward(x), y).mean() as never,
      /must return a loss.*not its mean/,
    ],
    [
      'a promise',
      (m) => (async ({ x, y }: { x: Tensor; y: Tensor }) => losses.crossEntropy(m.forward(x), y)) as never,
      /not a promise/,
    ],
    ['nothing', () => () => undefined as never, /must return a loss/],
    ['no terms', () => () => ({ terms: [] }) as never, /no terms/],
  ];
  for (const [name, lossOf, message] of failing) {
    test(name, async () => {
      const a = set();
      const b = set();
      const twice = { micro: [...window().micro, ...window().micro] };
      let micro = 0;
      // The first micro-batch is sound and has left its gradients when the second fails.
      const step = () => a.stepper.step(twice, (batch) => (micro++ === 0 ? classify(a.model)(batch) : lossOf(a.model)(batch)));
      expect(step).toThrow(message);
      const live = defaultDevice().memory().live;
      micro = 0;
      expect(step).toThrow(message);
      expect(defaultDevice().memory().live).toBe(live);
      await a.stepper.step(window(), classify(a.model));
      await b.stepper.step(window(), classify(b.model));
      expect(await everything(a)).toEqual(await everything(b));
    });
  }

  for (const [name, spoilt] of [
    ['behind the model', (model: nn.Sequential, { x, y }: Batch) => losses.crossEntropy(model.forward(x), y.mul(9))],
    [
      'before it, so that nothing of the model is computed',
      (model: nn.Sequential, { x, y }: Batch) => {
        const lost = losses.crossEntropy(x, y.mul(9)).times(0);
        return losses.crossEntropy(model.forward(x), y).plus(lost);
      },
    ],
  ] as const)
    for (const precision of ['f32', 'bf16'] as const)
      test(`a target that is no class, found on the device at the very first step, ${name} (${precision})`, async () => {
        const a = set({ precision });
        const b = set({ precision });
        const first = a.stepper.step(window(), (batch) => spoilt(a.model, batch));
        const second = a.stepper.step(window(), classify(a.model)); // queued before anyone knew: dropped
        second.catch(() => {}); // awaited below
        await expect(first).rejects.toThrow(DataError);
        await expect(first).rejects.toThrow(/crossEntropy.*\[16\].*target (9|18) is outside \[0, /);
        const third = a.stepper.step(window(), classify(a.model));
        await expect(second).rejects.toThrow(DataError);
        expect(await third).toMatchObject({ applied: true, step: 3 });
        await b.stepper.step(window(), classify(b.model));
        // moments and low-precision copies were first written by calls that were dropped
        for (const { stepper, model } of [a, b]) await stepper.step(window(), classify(model));
        expect(await everything(a)).toEqual(await everything(b));
      });

  test('an empty window', () => {
    const { stepper, model } = set();
    expect(() => stepper.step({ micro: [] }, classify(model))).toThrow(ConfigError);
    expect(() => stepper.step(undefined as never, classify(model))).toThrow(/no batches/);
  });
});

describe('several Steppers', () => {
  test('two networks against each other', async () => {
    const make = mlp([4, 16, 2], { seed: 3 });
    const judge = mlp([2, 16, 1], { seed: 4 });
    const adam = (m: nn.Module) => new optim.Adam(m.parameters(), { lr: 5e-3, betas: [0.5, 0.999] });
    const maker = new Stepper({ model: make, optimizer: adam(make) });
    const judging = new Stepper({ model: judge, optimizer: adam(judge) });
    const ones = tensor(new Float32Array(32).fill(1), { shape: [32, 1] });
    const zeros = tensor(new Float32Array(32), { shape: [32, 1] });
    const micro = {
      noise: host(normals('noise', 32 * 4), 32, 4),
      real: host(
        normals('real', 64).map((v) => v * 0.1 + 2),
        32,
        2,
      ),
    };
    type B = { noise: Tensor; real: Tensor };
    const fool = () => maker.step<B>({ micro: [micro] }, (b) => losses.bceWithLogits(judge.forward(make.forward(b.noise)), ones));
    const learn = () =>
      judging.step<B>({ micro: [micro] }, (b) =>
        losses
          .bceWithLogits(judge.forward(b.real), ones)
          .plus(losses.bceWithLogits(judge.forward(make.forward(b.noise).detach()), zeros)),
      );
    const distanceToReal = async () => {
      const made = await noGrad(() => make.forward(tensor(micro.noise.data as Float32Array, { shape: [32, 4] }))).data();
      return Math.abs(Array.from(made).reduce((a, b) => a + b, 0) / 64 - 2);
    };
    const before = await distanceToReal();
    // The judge belongs to the other optimizer: a gradient that reaches it is an error, and leaves nothing behind.
    expect(fool).toThrow(/does not own/);
    expect([...make.parameters(), ...judge.parameters()].some((p) => p.grad)).toBe(false);
    for (let i = 0; i < 150; i++) {
      expect((await learn()).applied).toBe(true);
      judge.freeze();
      expect((await fool()).applied).toBe(true);
      judge.unfreeze();
    }
    expect(await distanceToReal()).toBeLessThan(before / 2);
  });

  test('one trunk, two optimizers: each trains its own part of the graph', async () => {
    const trunk = new nn.Linear(6, 8);
    const [left, right] = [new nn.Linear(8, 3), new nn.Linear(8, 3)];
    const both = new Stepper({
      model: trunk,
      optimizer: new optim.SGD([...trunk.parameters(), ...left.parameters()], { lr: 0.1 }),
    });
    const head = new Stepper({ model: right, optimizer: new optim.SGD(right.parameters(), { lr: 0.1 }) });
    for (let i = 0; i < 3; i++) {
      await both.step(window(), ({ x, y }) => losses.crossEntropy(left.forward(trunk.forward(x).relu()), y));
      const before = await valuesOf(trunk.stateDict());
      const r = await head.step(window(), ({ x, y }) => losses.crossEntropy(right.forward(trunk.forward(x).relu().detach()), y));
      expect(r.applied).toBe(true);
      expect(await valuesOf(trunk.stateDict())).toEqual(before);
    }
  });
});

describe('save and resume', () => {
  const made = () =>
    set(
      {
        schedule: schedule
          .warmup({ steps: 3 })
          .followedBy(schedule.cosine({ to: 0 }))
          .over(20),
        clipNorm: 1,
        seed: 3,
      },
      mlp([6, 10, 3], { dropout: 0.3 }),
    );
  const at = (step: number) => ({ ...window(), cursor: { epoch: 0, batch: step, step } });

  test('goes on bit by bit, though saved with steps in flight', async () => {
    const dir = temporary();
    const whole = made();
    for (let i = 1; i <= 12; i++) await whole.stepper.step(at(i), classify(whole.model));

    const first = made();
    const steps: Promise<unknown>[] = [];
    for (let i = 1; i <= 5; i++) steps.push(first.stepper.step(at(i), classify(first.model)));
    const saved = first.stepper.save(dir); // nothing awaited: the host knows of no step yet
    for (let i = 6; i <= 8; i++) steps.push(first.stepper.step(at(i), classify(first.model)));
    expect(await saved).toMatch(/step-00000005/);
    await Promise.all(steps);

    const second = made();
    expect(await second.stepper.resume(dir)).toBe(true);
    expect(second.stepper.cursor).toEqual({ epoch: 0, batch: 5, step: 5 });
    expect(second.stepper.applied).toBe(5);
    for (let i = 6; i <= 12; i++) {
      const r = await second.stepper.step(at(i), classify(second.model));
      expect(r.step).toBe(i);
    }
    expect(await everything(second)).toEqual(await everything(whole));
  });

  test('an empty folder resumes nothing', async () => {
    const { stepper } = made();
    expect(await stepper.resume(temporary())).toBe(false);
  });

  test('the seed keys the masks', async () => {
    const losses: number[] = [];
    for (const seed of [1, 1, 2]) {
      const { model, stepper } = set({ seed }, mlp([6, 10, 3], { dropout: 0.5 }));
      losses.push((await stepper.step(window(), classify(model))).loss);
    }
    expect(losses[0]).toBe(losses[1]);
    expect(losses[2]).not.toBe(losses[1]);
  });
});
