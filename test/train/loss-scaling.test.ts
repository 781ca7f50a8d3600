import { describe, expect, test } from 'vitest';
import { ConfigError, data, losses, manualSeed, optim, Stepper, schedule, type Tensor, Trainer } from '../../lib/index.ts';
import { clusters, host, mlp, normals, temporary, valuesOf } from './helpers.ts';

const batch = () => ({
  x: host(normals('x', 16 * 8), 16, 8),
  y: host(
    Int32Array.from({ length: 16 }, (_, i) => i % 3),
    16,
  ),
});

function set(lossScaling: ConstructorParameters<typeof Stepper>[0]['lossScaling']) {
  manualSeed(5);
  const model = mlp([8, 32, 3]);
  const optimizer = new optim.AdamW(model.parameters(), { lr: 0.01 });
  const stepper = new Stepper({ model, optimizer, precision: 'f16', ...(lossScaling ? { lossScaling } : {}) });
  /** One step; with `overflow` its gradients are infinite. */
  const step = (overflow = false) =>
    stepper.step({ micro: [batch()] }, ({ x, y }) => {
      const logits: Tensor = model.forward(x);
      return losses.crossEntropy(overflow ? logits.to('f32').mul(1e38).mul(1e38) : logits, y);
    });
  return { model, optimizer, stepper, step };
}

describe("precision 'f16'", () => {
  test('the scale: halved where a gradient overflows, doubled after so many good steps, within its limits', async () => {
    const { step } = set({ init: 64, interval: 3, floor: 16, ceiling: 128 });
    const told: [number | undefined, boolean][] = [];
    // o: overflow, g: good
    for (const kind of 'ggggoogggogooogggggggggg') {
      const r = await step(kind === 'o');
      expect(r.applied).toBe(kind === 'g');
      if (kind === 'o') expect(r.reason).toBe('nonFiniteGradient');
      told.push([r.lossScale, r.applied]);
    }
    // The rule, once more in plain numbers.
    let [scale, good] = [64, 0];
    for (const [lossScale, applied] of told) {
      expect(lossScale).toBe(scale);
      if (!applied) [scale, good] = [Math.max(16, scale / 2), 0];
      else if (++good === 3) [scale, good] = [Math.min(128, scale * 2), 0];
    }
    expect(new Set(told.map(([s]) => s))).toEqual(new Set([16, 32, 64, 128]));
  });

  test('by default 65536; a skipped step changes no weight and does not advance the schedule or the count', async () => {
    const { model, stepper, step } = set(undefined);
    expect((await step()).lossScale).toBe(65536);
    const before = await valuesOf(model.stateDict());
    const skipped = await step(true);
    expect(skipped.applied).toBe(false);
    expect(await valuesOf(model.stateDict())).toEqual(before);
    expect(stepper.applied).toBe(1);
    expect((await step()).lossScale).toBe(32768);
    expect(stepper.applied).toBe(2);
  });

  test('gradients below f16’s smallest number arrive, since they are scaled on their way', async () => {
    // A loss of weight 1e-7: unscaled, its gradients would be 0 in f16.
    const norm = async (init: number) => {
      const { model, stepper } = set({ init });
      const r = await stepper.step({ micro: [batch()] }, ({ x, y }) => losses.crossEntropy(model.forward(x), y).times(1e-7));
      return r.gradNorm;
    };
    const [plain, scaled] = [await norm(1), await norm(65536)];
    manualSeed(5);
    const model = mlp([8, 32, 3]);
    const exact = new Stepper({ model, optimizer: new optim.SGD(model.parameters(), { lr: 0.1 }) });
    const { gradNorm } = await exact.step({ micro: [batch()] }, ({ x, y }) =>
      losses.crossEntropy(model.forward(x), y).times(1e-7),
    );
    expect(Math.abs(scaled - gradNorm) / gradNorm).toBeLessThan(0.01);
    expect(Math.abs(plain - gradNorm) / gradNorm).toBeGreaterThan(0.05);
  });

  test('the losses follow f32’s', async () => {
    const narrow = set(undefined);
    manualSeed(5);
    const model = mlp([8, 32, 3]);
    const wide = new Stepper({ model, optimizer: new optim.AdamW(model.parameters(), { lr: 0.01 }) });
    let last = 0;
    for (let i = 0; i < 40; i++) {
      const a = await wide.step({ micro: [batch()] }, ({ x, y }) => losses.crossEntropy(model.forward(x), y));
      const b = await narrow.step();
      expect(Math.abs(a.loss - b.loss)).toBeLessThan(0.01);
      last = b.loss;
    }
    expect(last).toBeLessThan(0.8);
  });

  test('scale and growth counter are saved: a resumed run is the same bit by bit', async () => {
    const make = (dir?: string) => {
      const model = mlp([8, 32, 3], { dropout: 0.2 });
      return {
        model,
        trainer: new Trainer({
          model,
          loss: (o, { y }) => losses.crossEntropy(o, y),
          optimizer: new optim.AdamW(model.parameters(), { lr: 0.01 }),
          schedule: schedule.cosine({ to: 0 }).over(24),
          precision: 'f16',
          lossScaling: { init: 256, interval: 5 },
          ...(dir ? { dir } : {}),
        }),
      };
    };
    const loader = () => data.loader(clusters(96), { batchSize: 16, shuffle: true });
    const scales: (number | undefined)[] = [];
    const whole = make();
    const run = whole.trainer.start({ train: loader(), epochs: 4 });
    for await (const e of run) if (e.type === 'step') scales.push(e.lossScale);
    await run.result;
    expect(scales.at(-1)).toBe(256 * 2 ** 4); // 24 steps, doubled after each 5
    const dir = temporary();
    await make(dir).trainer.fit({ train: loader(), epochs: 2 }); // 12 steps: between two doublings
    const rest = make(dir);
    const events: (number | undefined)[] = [];
    const resumed = rest.trainer.start({ train: loader(), epochs: 4, resume: 'auto' });
    for await (const e of resumed) if (e.type === 'step') events.push(e.lossScale);
    await resumed.result;
    expect(events).toEqual(scales.slice(12));
    expect(await valuesOf(rest.model.stateDict())).toEqual(await valuesOf(whole.model.stateDict()));
  });

  test('what makes no sense is refused', () => {
    for (const bad of [
      { init: 0 },
      { growth: 0.5 },
      { backoff: 2 },
      { interval: 0 },
      { floor: -1 },
      { ceiling: 0.1 },
      { int: 1 },
    ])
      expect(() => set(bad as never), JSON.stringify(bad)).toThrow(ConfigError);
    const model = mlp([8, 3]);
    const optimizer = new optim.SGD(model.parameters(), { lr: 0.1 });
    expect(() => new Stepper({ model, optimizer, precision: 'bf16', lossScaling: { init: 1 } })).toThrow(/'f16'.*'bf16'/);
  });
});
