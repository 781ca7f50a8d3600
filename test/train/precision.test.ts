import { describe, expect, test } from 'vitest';
import {
  data,
  losses,
  manualSeed,
  nn,
  noGrad,
  optim,
  type Precision,
  Stepper,
  schedule,
  scope,
  type Tensor,
  Trainer,
  tensor,
} from '../../lib/index.ts';
import { bind } from '../../lib/tensor/context.ts';
import { defaultDevice } from '../../lib/tensor/device.ts';
import { fewer } from '../helpers/device.ts';
import { widened } from '../helpers/place.ts';
import { clusters, host, mlp, normals, temporary, valuesOf } from './helpers.ts';

const here = defaultDevice();

/** A convolution, an attention block and a head: every kind of product, and norms between them. */
class Net extends nn.Module {
  conv = new nn.Conv2d(1, 16, { kernelSize: 2, stride: 2 });
  block = new nn.TransformerBlock(16, 2, { dropout: 0 });
  ln = new nn.LayerNorm(16);
  head = new nn.Linear(16, 3);
  seen: Tensor['dtype'][] = [];
  forward(x: Tensor): Tensor {
    const c = this.conv.forward(x).relu();
    const tokens = c.reshape([x.shape[0] as number, 16, 16]).transpose(1, 2);
    const a = this.block.forward(tokens);
    const y = this.head.forward(this.ln.forward(a).mean({ axis: 1 }));
    this.seen = [c.dtype, a.dtype, y.dtype];
    return y;
  }
}
const images = () => ({
  x: host(normals('x', 8 * 64), 8, 1, 8, 8),
  y: host(
    Int32Array.from({ length: 8 }, (_, i) => i % 3),
    8,
  ),
});

function set(precision: Precision) {
  manualSeed(3);
  const model = new Net();
  const optimizer = new optim.AdamW(model.parameters(), { lr: 0.003 });
  const stepper = new Stepper({ model, optimizer, precision, clipNorm: 1 });
  return {
    model,
    optimizer,
    stepper,
    step: () => stepper.step({ micro: [images()] }, ({ x, y }) => losses.crossEntropy(model.forward(x), y)),
  };
}

describe("precision 'bf16'", () => {
  test('outputs are bf16; parameters, their gradients and the optimizer’s state stay f32', async () => {
    const { model, optimizer, step } = set('bf16');
    const gradients: (string | undefined)[] = [];
    const apply = optimizer.apply.bind(optimizer);
    optimizer.apply = (state) => {
      gradients.push(...model.parameters().map((p) => p.grad?.dtype));
      apply(state);
    };
    await step();
    expect(model.seen).toEqual(['bf16', 'bf16', 'bf16']);
    expect(new Set(gradients)).toEqual(new Set(['f32']));
    expect(new Set(model.parameters().map((p) => p.dtype))).toEqual(new Set(['f32']));
    const roles = [...optimizer.stateDict().tensors].filter(([name]) => !name.endsWith('/step'));
    expect(new Set(roles.map(([, t]) => t.dtype))).toEqual(new Set(['f32']));
  });

  test('in f32 nothing is bf16 and no shadow is made', async () => {
    const { model, step } = set('f32');
    await step();
    expect(model.seen).toEqual(['f32', 'f32', 'f32']);
    expect(model.parameters().every((p) => p.shadow === null)).toBe(true);
  });

  test('shadows of matrices are the cast of their masters, after every kind of write; vectors have none', async () => {
    const { model, stepper, step } = set('bf16');
    const check = async () => {
      let shadows = 0;
      for (const [name, p] of model.namedParameters()) {
        if (p.ndim < 2) {
          expect(p.shadow, name).toBeNull();
          continue;
        }
        shadows++;
        expect(p.shadow?.dtype, name).toBe('bf16');
        expect(p.shadowVersion, name).toBe(p.storage.version);
        const master = p.detach().to('bf16');
        expect(Array.from((await p.shadow?.data()) as Float32Array), name).toEqual(Array.from(await master.data()));
      }
      expect(shadows).toBe(6);
    };
    await step();
    await check();
    for (let i = 0; i < 5; i++) await step();
    await check();
    // a skipped step writes neither
    const r = await stepper.step({ micro: [images()] }, ({ x, y }) => losses.crossEntropy(model.forward(x).mul(Number.NaN), y));
    expect(r.applied).toBe(false);
    await check();
    // written from outside: stale until the next use
    model.loadStateDict(new Map([...model.stateDict()].map(([name, t]) => [name, noGrad(() => t.mul(0.5))])));
    const head = model.head.weight;
    expect(head.shadowVersion).not.toBe(head.storage.version);
    await step();
    await check();
  });

  test('what a model computes is what the rounded weights give', async () => {
    manualSeed(1);
    const layer = new nn.Linear(64, 8, { bias: false });
    const x = tensor(normals('x', 64 * 4), { shape: [4, 64] });
    const y = await bind({ precision: 'bf16' }, () => layer.forward(x)).data();
    const rounded = await scope(() =>
      noGrad(() => widened(x.to('bf16')).matmul(widened(layer.weight.to('bf16')).transpose(0, 1))),
    ).data();
    const scale = Math.max(...Array.from(rounded, Math.abs));
    y.forEach((v, i) => {
      expect(Math.abs(v - (rounded[i] as number))).toBeLessThan(scale * 2 ** -8);
    });
  });

  test('the loss stays close to f32’s, and falls', async () => {
    const [wide, narrow] = [set('f32'), set('bf16')];
    const pairs: [number, number][] = [];
    for (let i = 0; i < fewer(60, 20); i++) pairs.push([(await wide.step()).loss, (await narrow.step()).loss]);
    for (const [a, b] of pairs) expect(Math.abs(a - b)).toBeLessThan(0.03);
    expect(pairs.some(([a, b]) => a !== b)).toBe(true);
    expect((pairs.at(-1) as [number, number])[1]).toBeLessThan((pairs[0] as [number, number])[1] / 2);
  });

  test('an evaluation is in the run’s precision, and training resumes bit by bit', async () => {
    const loader = () => data.loader(clusters(96), { batchSize: 16, shuffle: true });
    const make = (dir?: string) => {
      const model = mlp([8, 32, 3], { dropout: 0.2 });
      const dtypes = new Set<string>();
      const trainer = new Trainer({
        model,
        forward: ({ x }) => {
          const y = model.forward(x);
          dtypes.add(`${model.training} ${y.dtype}`);
          return y;
        },
        loss: (o, { y }) => losses.crossEntropy(o, y),
        optimizer: new optim.AdamW(model.parameters(), { lr: 0.01 }),
        schedule: schedule.cosine({ to: 0 }).over(24),
        precision: 'bf16',
        ...(dir ? { dir } : {}),
      });
      return { model, trainer, dtypes };
    };
    const whole = make();
    await whole.trainer.fit({ train: loader(), validation: loader(), epochs: 4 });
    expect([...whole.dtypes].sort()).toEqual(['false bf16', 'true bf16']);
    const dir = temporary();
    await make(dir).trainer.fit({ train: loader(), validation: loader(), epochs: 2 });
    const rest = make(dir);
    await rest.trainer.fit({ train: loader(), validation: loader(), epochs: 4, resume: 'auto' });
    expect(await valuesOf(rest.model.stateDict())).toEqual(await valuesOf(whole.model.stateDict()));
  });

  test('what is learnt is learnt in 16 bits too; f16 whose loss is too small for it learns nothing without scaling', async () => {
    const fit = clusters(96);
    /** The loss times a factor and the rate divided by it: in exact arithmetic nothing changes. */
    const accuracy = async (precision: Precision, factor: number, lossScaling?: { init: number; growth: number }) => {
      const model = mlp([8, 16, 3]);
      const trainer = new Trainer({
        model,
        loss: (logits, { y }) => losses.crossEntropy(logits, y).times(factor),
        optimizer: new optim.SGD(model.parameters(), { lr: 0.1 / factor, momentum: 0.9 }),
        metrics: ['accuracy'],
        precision,
        ...(lossScaling ? { lossScaling } : {}),
      });
      await trainer.fit({ train: data.loader(fit, { batchSize: 16, shuffle: true, seed: 1 }), epochs: 6 });
      return (await trainer.evaluate(data.loader(fit, { batchSize: 96 }))).accuracy as number;
    };
    const [small, unscaled] = [2 ** -24, { init: 1, growth: 1 }];
    const learnt = await accuracy('f32', 1);
    expect(learnt).toBeGreaterThan(0.85);
    for (const precision of ['bf16', 'f16'] as const)
      for (const factor of [1, small]) expect(Math.abs((await accuracy(precision, factor)) - learnt)).toBeLessThan(0.05);
    expect(await accuracy('f16', small, unscaled)).toBeLessThan(0.6);
  });
  test('activations take half the memory, shadows half a master', async () => {
    const peakOf = async (precision: Precision) => {
      const model = mlp([64, 64, 64, 64, 64, 8]);
      const stepper = new Stepper({ model, optimizer: new optim.SGD(model.parameters(), { lr: 0.1 }), precision });
      const n = fewer(2048, 512);
      const window = { micro: [{ x: host(normals('x', n * 64), n, 64), y: host(new Int32Array(n), n) }] };
      const step = () => stepper.step(window, ({ x, y }) => losses.crossEntropy(model.forward(x), y));
      const before = here.memory().live;
      await step();
      await step();
      const kept = here.memory().live - before;
      here.resetPeak();
      await step();
      return { peak: here.memory().peak - here.memory().live, kept };
    };
    const wide = await peakOf('f32');
    const narrow = await peakOf('bf16');
    console.log(
      `peak above live: f32 ${wide.peak}, bf16 ${narrow.peak} (${(narrow.peak / wide.peak).toFixed(3)}); shadows ${narrow.kept - wide.kept}`,
    );
    expect(narrow.peak).toBeLessThan(0.72 * wide.peak); // the input is f32, and a copy of it bf16
    const matrices = 4 * 64 * 64 + 64 * 8;
    expect(narrow.kept - wide.kept).toBeGreaterThanOrEqual(2 * matrices);
    expect(narrow.kept - wide.kept).toBeLessThan(2 * matrices + 4096);
  });
});
