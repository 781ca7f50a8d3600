import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { ConfigError } from '../../lib/native/errors.ts';
import { crossEntropy } from '../../lib/ops/loss.ts';
import { weightCopy } from '../../lib/ops/precision.ts';
import { AdamW, SGD, StepState } from '../../lib/optim/index.ts';
import { mostReports, slotCount, slots } from '../../lib/optim/step-state.ts';
import { cosine } from '../../lib/schedule/index.ts';
import { tensor } from '../../lib/tensor/create.ts';
import { device } from '../../lib/tensor/device.ts';
import { Parameter, type Tensor } from '../../lib/tensor/tensor.ts';
import { expectSameBits, noise, valuesOf } from './helpers.ts';

const param = (values: number[], grad?: number[]) => {
  const p = new Parameter(tensor(values));
  if (grad) p.grad = tensor(grad);
  return p;
};

it('has the slots of native/src/ops/step_state.h', () => {
  const header = readFileSync(new URL('../../native/src/ops/step_state.h', import.meta.url), 'utf8');
  const native = Object.fromEntries(
    [...header.matchAll(/k([A-Z]\w*) = (\d+)/g)].map(([, name, n]) => [
      `${name?.[0]?.toLowerCase()}${name?.slice(1)}`,
      Number(n),
    ]),
  );
  expect(native).toEqual({ ...slots, reports: mostReports, stepSlots: slotCount });
});

describe('a step', () => {
  it('unscales by scale and count, clips, follows the table, reports', async () => {
    const p = param([1, 1]);
    const sgd = new SGD([p], { lr: 0.5 });
    const state = new StepState();
    state.setLearningRates(Float64Array.of(1, 0.5, 0.25));
    const reports = [];
    for (let i = 0; i < 4; i++) {
      p.grad = tensor([30 * 8, 40 * 8]);
      state.begin({ inverseScale: 1 / 8, divisorCount: tensor([5], { dtype: 'i32' }), scale: tensor(2) });
      state.norm(sgd, { maxNorm: 1 });
      sgd.apply(state);
      state.end([tensor(i), tensor(7, { dtype: 'i32' })]);
      reports.push(state.read());
      sgd.zeroGrad();
    }
    const all = await Promise.all(reports);
    expect(all.map((r) => r.gradNorm)).toEqual([5, 5, 5, 5]);
    expect(all.map((r) => r.t)).toEqual([1, 2, 3, 4]);
    // Past the end of the table the last factor stays.
    expect(all.map((r) => r.rateFactor)).toEqual([1, 0.5, 0.25, 0.25]);
    expect(all.map((r) => r.values)).toEqual([0, 1, 2, 3].map((i) => [i, 7]));
    expect(all.every((r) => r.applied && !r.foundInf && !r.empty)).toBe(true);
    expect(all[0]?.clipFactor).toBe(1 / (5 + 1e-6));
    const moved = 0.5 * (1 + 0.5 + 0.25 + 0.25) * (1 / (5 + 1e-6));
    const got = await p.data();
    expect(got[0]).toBeCloseTo(1 - 3 * moved, 5);
    expect(got[1]).toBeCloseTo(1 - 4 * moved, 5);
  });

  it('of plain gradients is step() to the bit', async () => {
    const make = () => {
      const p = new Parameter(noise([40_000], 'p'));
      return { p, adam: new AdamW([p], { lr: 0.1 }) };
    };
    const [a, b] = [make(), make()];
    const state = new StepState();
    for (let i = 0; i < 3; i++) {
      for (const x of [a, b]) x.p.grad = noise([40_000], `g${i}`);
      a.adam.step();
      state.begin();
      state.norm([b.adam]);
      b.adam.apply(state);
      state.end();
    }
    expectSameBits(await valuesOf([b.p]), await valuesOf([a.p]));
  });

  it.each([Number.NaN, Infinity, -Infinity])('with a gradient of %d changes nothing and does not count', async (bad) => {
    const params = [new Parameter(noise([70_000], 'p')), new Parameter(noise([3], 'q'))];
    const adam = new AdamW(params, { lr: 0.1, weightDecay: 0.5 });
    for (const p of params) weightCopy(p, 'bf16');
    const state = new StepState();
    state.setLearningRates(Float64Array.of(1, 0.5));
    const step = async (value: number) => {
      params.forEach((p) => {
        p.grad = noise(p.shape, 'g');
      });
      const last = new Float32Array(3).fill(1);
      last[2] = value;
      (params[1] as Parameter).grad = tensor(last);
      state.begin();
      state.norm(adam, { maxNorm: 1 });
      adam.apply(state);
      state.end();
      const r = await state.read();
      adam.zeroGrad();
      return r;
    };
    const everything = () =>
      valuesOf([...params, ...params.map((p) => p.shadow as Tensor), ...adam.stateDict().tensors.values()]);
    expect((await step(1)).applied).toBe(true);
    const before = await everything();
    const skipped = await step(bad);
    expect(skipped).toMatchObject({ applied: false, foundInf: true, empty: false, t: 1, rateFactor: 0.5 });
    expect(Number.isFinite(skipped.gradNorm)).toBe(false);
    expectSameBits(await everything(), before);
    expect(await step(1)).toMatchObject({ applied: true, t: 2, rateFactor: 0.5 });
    expect((await everything())[0]?.[0]).not.toBe(before[0]?.[0]);
    for (const p of params) expect(p.shadowVersion).toBe(p.storage.version);
  });

  it('over a window without a target is skipped', async () => {
    const p = param([1], [0]);
    const sgd = new SGD([p], { lr: 1, weightDecay: 0.5 });
    const state = new StepState();
    state.begin({ divisorCount: tensor(0) });
    state.norm(sgd);
    sgd.apply(state);
    state.end();
    expect(await state.read()).toMatchObject({ applied: false, empty: true, foundInf: false, t: 0, gradNorm: 0 });
    expect(Array.from(await p.data())).toEqual([1]);
  });

  it('behind data that an op reported as wrong changes nothing', async () => {
    const p = param([1, 2], [3, 4]);
    const sgd = new SGD([p], { lr: 1 });
    const state = new StepState();
    const lost = crossEntropy(tensor([0, 0, 0], { shape: [1, 3] }), tensor([3], { dtype: 'i32' })).mean();
    state.begin();
    state.norm(sgd, { maxNorm: 1 });
    sgd.apply(state);
    state.end();
    await expect(lost.item()).rejects.toThrow(/target 3 is outside \[0, 3\)/);
    expect(Array.from(await p.data())).toEqual([1, 2]);
    // And one with nothing wrong goes on.
    state.begin();
    state.norm(sgd);
    sgd.apply(state);
    state.end();
    expect((await state.read()).applied).toBe(true);
    expect(Array.from(await p.data())).toEqual([-2, -2]);
  });

  it('takes the norm over several optimizers, or over tensors', async () => {
    const [a, b, c] = [param([0], [3]), param([0], [4]), param([0])];
    const state = new StepState();
    const optimizers = [new SGD([a], { lr: 1 }), new SGD([b, c], { lr: 1 })];
    state.begin();
    state.norm(optimizers, { maxNorm: 2.5 });
    for (const o of optimizers) o.apply(state);
    state.end();
    expect((await state.read()).gradNorm).toBe(5);
    expect((await a.data())[0]).toBeCloseTo(-1.5, 5);
    state.begin();
    state.norm([a, b, c]);
    state.end();
    expect((await state.read()).gradNorm).toBe(5);
  });

  it('the norm has the same bits for any number of threads, and is right for large and small numbers', async () => {
    const cpu = device('cpu');
    const before = cpu.threads;
    const p = new Parameter(noise([300_001], 'p'));
    p.grad = noise([300_001], 'g');
    const values = (await p.grad.data()) as Float32Array;
    const state = new StepState();
    const norms = [];
    for (const threads of [1, 2, 3]) {
      cpu.threads = threads;
      state.begin();
      state.norm([p]);
      state.end();
      norms.push((await state.read()).gradNorm);
    }
    cpu.threads = before;
    expect(new Set(norms).size).toBe(1);
    expect(norms[0]).toBeCloseTo(Math.sqrt(values.reduce((s, v) => s + v * v, 0)), 9);
    for (const v of [3e38, 1e-44]) {
      const q = param([0, 0], [v, v]);
      state.begin();
      state.norm([q]);
      state.end();
      const got = (await state.read()).gradNorm / Math.fround(v);
      expect(got).toBeCloseTo(Math.SQRT2, 6);
    }
  });

  it('reads a step later without waiting: later steps do not change the answer', async () => {
    const p = param([0], [1]);
    const sgd = new SGD([p], { lr: 1 });
    const state = new StepState();
    const reads = Array.from({ length: 20 }, () => {
      state.begin();
      state.norm(sgd);
      sgd.apply(state);
      state.end([p]);
      return state.read();
    });
    const got = await Promise.all(reads);
    expect(got.map((r) => r.t)).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
    expect(got.map((r) => r.values[0])).toEqual(Array.from({ length: 20 }, (_, i) => -(i + 1)));
  });

  it('goes on from a count; refilled tables take effect in order', async () => {
    const p = param([0], [1]);
    const sgd = new SGD([p], { lr: 1 });
    const state = new StepState();
    const schedule = cosine({ to: 0 }).over(100);
    state.setApplied(40);
    const reads = [];
    for (let i = 0; i < 30; i++) {
      if (i % 10 === 0) state.setLearningRates(schedule.table(40 + i, 10), 40 + i);
      state.begin();
      sgd.apply(state);
      state.end();
      reads.push(state.read());
    }
    const got = await Promise.all(reads);
    expect(got.map((r) => r.rateFactor)).toEqual(Array.from(schedule.table(40, 30)));
    expect(got.at(-1)?.t).toBe(70);
  });

  it('refuses nonsense', async () => {
    const state = new StepState();
    expect(() => state.setLearningRates([1] as never)).toThrow(ConfigError);
    expect(() => state.setLearningRates(new Float64Array(0))).toThrow(/at least one/);
    expect(() => state.begin({ inverseScale: Number.NaN })).toThrow(/inverseScale/);
    expect(() => state.begin({ count: 1 } as never)).toThrow(/unknown option/);
    expect(() => state.norm([], { maxNorm: 0 })).toThrow(/maxNorm/);
    expect(() => state.end(new Array(7).fill(tensor(1)))).toThrow(/at most 6/);
    expect(() => state.end([tensor([1, 2])])).toThrow(/one element/);
    expect(() => state.setApplied(-1)).toThrow(ConfigError);
    state.setLearningRates(Float64Array.of(1), 5);
    state.begin();
    await expect(state.read()).rejects.toThrow(/start that lies ahead/);
  });
});
