/** Four steps in f16, the second of which overflows; prints what each was. */
import { losses, manualSeed, nn, optim, Stepper, setDefaultDevice } from '../../lib/index.ts';
import { host, normals } from '../train/helpers.ts';

setDefaultDevice('cuda');
manualSeed(5);
const model = new nn.Sequential(new nn.Linear(8, 32), new nn.GELU(), new nn.Linear(32, 3));
const optimizer = new optim.AdamW(model.parameters(), { lr: 0.01 });
const stepper = new Stepper({ model, optimizer, precision: 'f16', clipNorm: 1, lossScaling: { init: 1024 } });
const x = host(normals('x', 16 * 8), 16, 8);
const y = host(
  Int32Array.from({ length: 16 }, (_, i) => i % 3),
  16,
);
const step = (overflow: boolean) =>
  stepper.step({ micro: [{ x, y }] }, (b) => {
    const logits = model.forward(b.x);
    return losses.crossEntropy(overflow ? logits.to('f32').mul(1e38).mul(1e38) : logits, b.y);
  });
const told = [];
for (let i = 0; i < 4; i++) told.push(await step(i === 1));
console.log(JSON.stringify(told.map(({ applied, reason, lossScale }) => ({ applied, reason, lossScale }))));
