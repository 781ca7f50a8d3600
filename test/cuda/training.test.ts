/** Training on the simulated GPU: as on the CPU, the same bits in any order of warps and blocks, and nobody waits in mid-step. */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { cnn } from '../../examples/mnist/model.ts';
import { type Device, data, device, losses, manualSeed, nn, optim, type Precision, Stepper } from '../../lib/index.ts';
import { simulator, withoutSimulator, withSimulatedGpu } from '../helpers/device.ts';
import { course } from './course.ts';

describe.skipIf(withoutSimulator)('on the simulated GPU', { timeout: 300_000 }, () => {
  for (const [precision, limit] of [
    ['f32', 2e-5],
    ['bf16', 0.03],
    ['f16', 0.01],
  ] as const)
    test(`the losses follow the CPU’s (${precision})`, async () => {
      const [cpu, cuda] = [await course(device('cpu'), precision, 5), await course(withSimulatedGpu(), precision, 5)];
      for (const [i, { loss, gradNorm }] of cuda.told.entries()) {
        const there = cpu.told[i] as { loss: number; gradNorm: number };
        expect(Math.abs(loss - there.loss), `loss ${i}`).toBeLessThan(limit);
        expect(Math.abs(gradNorm - there.gradNorm) / there.gradNorm, `norm ${i}`).toBeLessThan(10 * limit);
      }
    });

  for (const precision of ['f32', 'bf16', 'f16'])
    test(`the same bits in any order of warps and blocks (${precision})`, () => {
      const run = (env: Record<string, string>) =>
        execFileSync(process.execPath, ['--import', 'tsx', 'test/cuda/course-child.ts', precision], {
          cwd: fileURLToPath(new URL('../..', import.meta.url)),
          env: { ...process.env, ANNEAL_TEST_DEVICE: '', ANNEAL_CUDA_DRIVER: simulator, ...env },
          encoding: 'utf8',
        });
      const first = run({ ANNEAL_SIM_SEED: '1' });
      expect(first).toMatch(/"digest":"[0-9a-f]{64}"/);
      expect(run({ ANNEAL_SIM_SEED: '77', ANNEAL_SIM_INTERLEAVE: '1', ANNEAL_SIM_DELAY_US: '200' })).toBe(first);
    });

  test('a model that has begun on the CPU goes on there, its optimizer with it', async () => {
    const go = async (moves: boolean) => {
      manualSeed(4);
      const model = new nn.Sequential(new nn.Linear(6, 32), new nn.ReLU(), new nn.Linear(32, 3));
      const optimizer = new optim.AdamW(model.parameters(), { lr: 0.01 });
      const told: number[] = [];
      const steps = async (precision: Precision) => {
        const stepper = new Stepper({ model, optimizer, precision });
        const x = { data: Float32Array.from({ length: 48 }, (_, i) => Math.sin(i)), shape: [8, 6], dtype: 'f32' as const };
        const y = { data: Int32Array.from({ length: 8 }, (_, i) => i % 3), shape: [8], dtype: 'i32' as const };
        for (let i = 0; i < 3; i++)
          told.push((await stepper.step({ micro: [{ x, y }] }, (b) => losses.crossEntropy(model.forward(b.x), b.y))).loss);
      };
      await steps('bf16'); // leaves compute copies on the CPU
      if (moves) model.to(withSimulatedGpu());
      await steps('f32');
      if (moves) expect(optimizer.stateDict().tensors.get('0.weight/expAvg')?.device).toBe(withSimulatedGpu());
      return told;
    };
    const [stays, moves] = [await go(false), await go(true)];
    for (const [i, loss] of moves.entries()) expect(Math.abs(loss - (stays[i] as number)), `step ${i}`).toBeLessThan(1e-5);
  });

  /** Losses of a short course of the MNIST job's network. */
  const course28 = async (on: Device, precision: Precision, batchSize: number, steps: number) => {
    const { train } = await data.mnist();
    manualSeed(1);
    const model = cnn().to(on);
    const optimizer = new optim.AdamW(model.parameters(), { lr: 1e-3 });
    const stepper = new Stepper({ model, optimizer, precision, clipNorm: 1 });
    const told: number[] = [];
    for await (const window of data.loader(train, { batchSize }).windows({ steps, accumulate: 1 })) {
      const { loss } = await stepper.step(window, ({ x, y }) =>
        losses.crossEntropy(model.forward(x), y, { labelSmoothing: 0.1 }),
      );
      told.push(loss);
    }
    return told;
  };
  // f32 products have no tensor cores to be quick on: few images, to the digits of f32. bf16: a few hundred.
  for (const [precision, batchSize, steps, limit] of [
    ['f32', 4, 3, 1e-4],
    ['bf16', 64, 4, 0.03],
  ] as const)
    test(`the MNIST network, ${batchSize * steps} images in ${precision}: losses follow the CPU’s`, async () => {
      const there = await course28(device('cpu'), precision, batchSize, steps);
      const here = await course28(withSimulatedGpu(), precision, batchSize, steps);
      console.log(`${precision}: cpu ${there.map((v) => v.toFixed(4))}, simulated ${here.map((v) => v.toFixed(4))}`);
      expect(here.length).toBe(steps);
      for (const [i, loss] of here.entries()) expect(Math.abs(loss - (there[i] as number)), `step ${i}`).toBeLessThan(limit);
    });
});
