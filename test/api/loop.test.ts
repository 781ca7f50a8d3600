// API part 4: a loop of one's own, and the plain form.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { data, losses, manualSeed, nn, optim, randn, Stepper, schedule, scope, type Tensor } from 'anneal';
import { afterAll, expect, test } from 'vitest';
import { fewer } from '../helpers/device.ts';

const dir = mkdtempSync(join(tmpdir(), 'anneal-api-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

class Gpt extends nn.Module {
  wte = new nn.Embedding(30, 32);
  blocks = [new nn.TransformerBlock(32, 4), new nn.TransformerBlock(32, 4)];
  lnF = new nn.LayerNorm(32);
  head = new nn.Linear(32, 30, { bias: false });
  forward(tokens: Tensor): Tensor {
    let x = this.wte.forward(tokens);
    for (const block of this.blocks) x = block.forward(x);
    return this.head.forward(this.lnF.forward(x));
  }
}

test('a loop of one’s own', async () => {
  const text = data.charTokens('the quick brown fox jumps over the lazy dog. '.repeat(40));
  const loader = data.loader(new data.TextWindows(text.tokens, { block: 16, samples: 400 }), { batchSize: 4, shuffle: true });
  const [part, steps] = [fewer(10, 5), fewer(25, 12)];
  const make = () => {
    manualSeed(1);
    const gpt = new Gpt();
    const optimizer = new optim.AdamW(optim.paramGroups(gpt, { weightDecay: 0.1 }), { lr: 6e-3, betas: [0.9, 0.95] });
    const stepper = new Stepper({
      model: gpt,
      optimizer,
      precision: 'bf16',
      clipNorm: 1,
      schedule: schedule
        .warmup({ steps: 5 })
        .followedBy(schedule.cosine({ to: 0.1 }))
        .over(steps),
    });
    return { gpt, stepper };
  };
  const train = async ({ gpt, stepper }: ReturnType<typeof make>, until: number) => {
    const seen: number[] = [];
    for await (const window of loader.windows({ accumulate: 4, steps: until, from: stepper.cursor })) {
      const r = await stepper.step(window, ({ x, y }) => losses.crossEntropy(gpt.forward(x), y));
      if (!r.applied) console.warn(r.reason, r.sampleIds);
      seen.push(r.loss);
    }
    return seen;
  };
  const first = make();
  const losses1 = await train(first, part);
  const checkpoint = join(dir, 'checkpoint');
  expect(await first.stepper.save(checkpoint)).toContain(`step-${String(part).padStart(8, '0')}`); // everything that resumes; the window's cursor included
  const rest = await train(first, steps);
  expect([losses1.length, rest.length]).toEqual([part, steps - part]);
  expect(rest.at(-1)).toBeLessThan(fewer(0.8, 0.9) * (losses1[0] as number));

  const second = make();
  expect(await second.stepper.resume(checkpoint)).toBe(true);
  expect(await train(second, steps)).toEqual(rest);
});

test('the plain form, for those who want nothing between them and the tape', async () => {
  manualSeed(2);
  const net = new nn.Sequential(new nn.Linear(3, 16), new nn.Tanh(), new nn.Linear(16, 1));
  const sgd = new optim.SGD(net.parameters(), { lr: 0.1, momentum: 0.9 });
  const x = randn([32, 3]);
  const y = x.sum({ axis: 1, keepDims: true });
  const loss = () => losses.mse(net.forward(x), y).mean();
  const before = await loss().item();
  for (let i = 0; i < 60; i++) {
    scope(() => {
      losses.mse(net.forward(x), y).mean().backward();
      sgd.step();
      sgd.zeroGrad();
    });
  }
  expect(await loss().item()).toBeLessThan(before / 10);
});
