import { describe, expect, test } from 'vitest';
import {
  AnomalyError,
  ConfigError,
  checkpoint,
  data,
  detectAnomaly,
  losses,
  NumericsError,
  nn,
  optim,
  Stepper,
  scope,
  type Tensor,
  Trainer,
  tensor,
  where,
} from '../../lib/index.ts';
import { list } from '../helpers/place.ts';

async function anomalyOf(run: () => Promise<unknown>): Promise<AnomalyError> {
  const error = await run().then(
    () => undefined,
    (e: unknown) => e,
  );
  expect(error).toBeInstanceOf(AnomalyError);
  return error as AnomalyError;
}
/** The line on which the caller stands, plus `after`. */
function hereLine(after: number): string {
  const line = /anomaly\.test\.ts:(\d+)/.exec((new Error().stack ?? '').split('\n')[2] as string)?.[1];
  return `anomaly.test.ts:${Number(line) + after}:`;
}

class Logarithm extends nn.Module {
  static line = '';
  forward(x: Tensor): Tensor {
    Logarithm.line = hereLine(1);
    return x.relu().log();
  }
}

describe('detectAnomaly', () => {
  test('names the op, the line, the module and the ranges of its operands', async () => {
    const model = new nn.Sequential(new nn.Linear(2, 2), new nn.Sequential(new Logarithm()));
    const x = tensor([[1, 2]]);
    nn.assign(
      (model.layers[0] as nn.Linear).weight,
      tensor([
        [1, 1],
        [-1, -1],
      ]),
    );
    nn.assign((model.layers[0] as nn.Linear).bias as Tensor, tensor([0, 0]));
    const error = await anomalyOf(() => detectAnomaly(() => model.forward(x).sum().mul(2), { model }));
    expect(error).toBeInstanceOf(NumericsError);
    const { anomaly } = error;
    expect(anomaly).toMatchObject({ op: 'log', module: '1.0 (Logarithm)' });
    expect(anomaly.backwardOf).toBeUndefined();
    expect(anomaly.inputs).toEqual([{ shape: [1, 2], dtype: 'f32', min: 0, max: 3 }]);
    expect(anomaly.outputs[0]?.min).toBe(Number.NEGATIVE_INFINITY);
    expect(anomaly.outputs[0]?.max).toBeCloseTo(Math.log(3), 6);
    expect(anomaly.at).toContain(Logarithm.line);
    expect(error.message).toContain('log made an infinity from finite numbers');
    expect(error.message).toContain('input 0: [1, 2] f32, from 0 to 3');
  });

  test('in backward names the forward call whose rule it was', async () => {
    const x = tensor([0, 1, 4], { requiresGrad: true });
    let line = '';
    const { anomaly, message } = await anomalyOf(() =>
      detectAnomaly(() => {
        line = hereLine(1);
        const root = x.mul(2).sqrt();
        root.sum().backward();
      }),
    );
    expect(anomaly).toMatchObject({ op: 'sqrt.grad', backwardOf: 'sqrt' });
    expect(anomaly.at).toContain(line);
    expect(message).toContain('in the backward pass of sqrt');
  });

  test('gives back the result where all is well, of async functions too; nothing stays on', async () => {
    const limit = Error.stackTraceLimit;
    const y = await detectAnomaly(async () => {
      const x = tensor([1, 2], { requiresGrad: true });
      await x.data();
      checkpoint((v) => v.mul(v).exp(), x)
        .sum()
        .backward();
      return x.grad as Tensor;
    });
    expect((await list(y))[0]).toBeCloseTo(2 * Math.E, 4);
    expect(Error.stackTraceLimit).toBe(limit);
    tensor([0]).log(); // nobody looks any more
    await anomalyOf(() => detectAnomaly(() => tensor([0]).log()));
    const { handles } = y.device.memory();
    await detectAnomaly(() => scope(() => tensor([1]).log().dispose()));
    expect(y.device.memory().handles).toBe(handles);
  });

  test('infinities that are meant, masks and softmax over them, are let pass', async () => {
    const scores = tensor([1, 2, 3]);
    const kept = tensor([true, false, true]);
    const y = await detectAnomaly(() => where(kept, scores, tensor(Number.NEGATIVE_INFINITY)).softmax());
    expect((await list(y))[1]).toBe(0);
    await detectAnomaly(() => tensor([Number.NEGATIVE_INFINITY, 1]).add(1).max());
  });

  test('NaN that came from outside is named where it is first used', async () => {
    const { anomaly, message } = await anomalyOf(() => detectAnomaly(() => tensor([1, Number.NaN]).add(1).log()));
    expect(anomaly.op).toBe('add');
    expect(message).toContain('given NaN that no op made');
  });

  test('NaN of 16-bit numbers, of inf minus inf, of overflow', async () => {
    const big = tensor([60000, 1], { dtype: 'f16' });
    expect((await anomalyOf(() => detectAnomaly(() => big.mul(big)))).anomaly).toMatchObject({ op: 'mul' });
    const huge = tensor([3e38, 1]);
    expect((await anomalyOf(() => detectAnomaly(() => huge.sub(huge.neg()).mul(0)))).anomaly.op).toBe('sub');
  });

  test('what fn throws comes through, unless an anomaly explains it', async () => {
    await expect(
      detectAnomaly(() => {
        throw new Error('mine');
      }),
    ).rejects.toThrow('mine');
    const error = await anomalyOf(() =>
      detectAnomaly(async () => {
        if (!Number.isFinite(await tensor([0]).log().item())) throw new Error('mine');
      }),
    );
    expect((error.cause as Error).message).toBe('mine');
    await expect(detectAnomaly(1 as never)).rejects.toThrow(ConfigError);
    await expect(detectAnomaly(() => 1, { model: 1 as never })).rejects.toThrow(ConfigError);
    await expect(detectAnomaly(() => 1, { modle: 1 } as never)).rejects.toThrow(/model/);
  });
});

/** A model whose gradient is infinite where x is 0: the loss itself is finite. */
class Root extends nn.Module {
  layer = new nn.Linear(2, 1, { bias: false });
  forward(x: Tensor): Tensor {
    return this.layer.forward(x).sqrt();
  }
}
const batch = (value: number) => ({ x: tensor([[value, 0]]), y: tensor([[0.25]]) });

describe('a Stepper that detects anomalies', () => {
  const made = (detect: boolean) => {
    const model = new Root();
    nn.assign(model.layer.weight, tensor([[1, 1]]));
    const optimizer = new optim.SGD(model.parameters(), { lr: 0.01 });
    const stepper = new Stepper({ model, optimizer, detectAnomaly: detect });
    return {
      model,
      step: (v: number) => stepper.step({ micro: [batch(v)] }, ({ x, y }) => losses.mse(model.forward(x), y as Tensor)),
    };
  };
  test('rejects the step that made one, and goes on', async () => {
    const { model, step } = made(true);
    expect((await step(1)).applied).toBe(true);
    const { anomaly } = await anomalyOf(() => step(0));
    expect(anomaly).toMatchObject({ op: 'sqrt.grad', backwardOf: 'sqrt', module: 'the model (Root)' });
    expect((await list(model.layer.weight)).every(Number.isFinite)).toBe(true);
    expect((await step(1)).applied).toBe(true);
  });
  test('gives the same steps as one that does not', async () => {
    const [on, off] = [made(true), made(false)];
    for (const v of [1, 2, 3]) expect(await on.step(v)).toEqual(await off.step(v));
    expect(await list(on.model.layer.weight)).toEqual(await list(off.model.layer.weight));
  });
  test('the Trainer hands the option on', async () => {
    const model = new Root();
    nn.assign(model.layer.weight, tensor([[1, 1]]));
    const trainer = new Trainer({
      model,
      loss: (out, { y }) => losses.mse(out, y as Tensor),
      optimizer: new optim.SGD(model.parameters(), { lr: 0.01 }),
      detectAnomaly: true,
    });
    const set = new data.TensorDataset({
      x: { data: Float32Array.of(1, 0, 0, 0), shape: [2] },
      y: { data: Float32Array.of(0.25, 0.25), shape: [1] },
    });
    const { anomaly } = await anomalyOf(() => trainer.fit({ train: data.loader(set, { batchSize: 1 }), epochs: 1 }));
    expect(anomaly).toMatchObject({ op: 'sqrt.grad', module: 'the model (Root)' });
    expect(() => new Trainer({ ...trainer.options, detectAnomaly: 1 as never })).toThrow(/detectAnomaly must be true or false/);
  });
});
