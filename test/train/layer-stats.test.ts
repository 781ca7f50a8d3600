import { test } from 'vitest';
import { data, losses, manualSeed, nn, optim, Stepper, type Tensor } from '../../lib/index.ts';
import { clusters } from './helpers.ts';

test('x', async () => {
  manualSeed(1);
  const model = new nn.Sequential(new nn.Linear(8, 6), new nn.ReLU(), new nn.Linear(6, 3));
  const s = new Stepper({ model, optimizer: new optim.AdamW(model.parameters(), { lr: 0.01 }), layerStats: { every: 2 } });
  for await (const w of data.loader(clusters(64), { batchSize: 16 }).windows({ steps: 2, accumulate: 2 }))
    console.log((await s.step(w, (b) => losses.crossEntropy(model.forward(b.x), b.y as Tensor))).layers);
  const block = new nn.TransformerBlock(16, 4);
  const t = new Stepper({ model: block, optimizer: new optim.AdamW(block.parameters(), { lr: 0.01 }), layerStats: { every: 2 } });
  const { randn } = await import('../../lib/index.ts');
  console.log(
    (
      await t.step({ micro: [{ x: randn([2, 8, 16]), y: randn([2, 8, 16]) }] }, (b) =>
        losses.mse(block.forward(b.x), b.y as Tensor),
      )
    ).layers,
  );
});
