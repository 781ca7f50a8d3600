// What a user may get wrong, one row each: the error's kind, and a message that says what, where, and what to do.
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { type AnnealError, device, losses, manualSeed, nn, optim, Stepper, tensor } from '../../lib/index.ts';
import { checkpoints, sets } from './file-rows.ts';
import { ints, loader, trainer } from './row.ts';
import { graph, ops, tensors } from './tensor-rows.ts';
import { optimizers, training } from './training-rows.ts';

const all = { tensors, ops, graph, optimizers, training, sets, checkpoints };

/** A result that depends on much of the library: what one step makes of a small model. */
async function known(): Promise<number[]> {
  manualSeed(5);
  const model = new nn.Sequential(new nn.Linear(4, 8), new nn.ReLU(), new nn.Dropout(0.2), new nn.Linear(8, 3));
  const s = new Stepper({ model, optimizer: new optim.AdamW(model.parameters(), { lr: 0.1 }), clipNorm: 1 });
  const x = tensor(
    Float32Array.from({ length: 40 }, (_, i) => Math.sin(i)),
    { shape: [10, 4] },
  );
  for (let i = 0; i < 3; i++)
    await s.step({ micro: [{ x, y: ints(0, 1, 2, 0, 1, 2, 0, 1, 2, 0) }] }, (b) => losses.crossEntropy(model.forward(b.x), b.y));
  return [...(await model.forward(x).data())];
}

describe('bad input', () => {
  let before: number[];
  const stray: unknown[] = [];
  const notice = (error: unknown) => stray.push(error);
  beforeAll(async () => {
    before = await known();
    process.on('unhandledRejection', notice);
  });
  afterEach(() => {
    expect(stray).toEqual([]);
  });
  afterAll(() => {
    process.off('unhandledRejection', notice);
  });

  test('there are enough rows', () => {
    expect(Object.values(all).flat().length).toBeGreaterThanOrEqual(100);
  });

  for (const [part, rows] of Object.entries(all))
    describe(part, () => {
      for (const [name, call, kind, message] of rows)
        test(name, async () => {
          let error: unknown;
          try {
            await call();
          } catch (e) {
            error = e;
          }
          expect(error, 'nothing was thrown').toBeDefined();
          expect(error).toBeInstanceOf(kind);
          const { message: text, code } = error as AnnealError;
          expect(text).toMatch(message);
          expect(code).toMatch(/^[A-Z_]+$/);
          expect(text).not.toMatch(/\[object|undefined is not|\bNaN\b/);
        });
    });

  test('after all of it the process computes what it did before', async () => {
    expect(await known()).toEqual(before);
    await device('cpu').synchronize();
    await trainer().fit({ train: loader(), epochs: 1 });
  });
});
