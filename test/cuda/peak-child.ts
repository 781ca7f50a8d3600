/** `peak-child.ts PRECISION LAYERS BATCH`: prints the most bytes that two queued steps of gpt-small hold at once. Memory is handed out when calls are
 * queued, so nobody waits for the kernels. */

import { writeSync } from 'node:fs';
import { build } from '../../bench/models.ts';
import { device, losses, optim, type Precision, Stepper, setDefaultDevice } from '../../lib/index.ts';

const [precision, layers, batch] = process.argv.slice(2) as [Precision, string, string];
const on = device('cuda');
setDefaultDevice(on);
const shape = { kind: 'gpt' as const, steps: 2, heads: 6, width: 384, block: 256, vocabulary: 8192 };
const { model, x, y } = build({ ...shape, layers: Number(layers), batch: Number(batch) });
globalThis.gc?.(); // the initial values that the parameters were made from
await new Promise((resolve) => setTimeout(resolve, 50));
const stepper = new Stepper({ model, optimizer: new optim.AdamW(model.parameters(), { lr: 1e-3 }), clipNorm: 1, precision });
const step = () => stepper.step({ micro: [{ x, y }] }, (b) => losses.crossEntropy(model.forward(b.x), b.y));
void step();
on.resetPeak();
void step();
writeSync(1, `${on.memory().peak}\n`);
process.kill(process.pid, 'SIGKILL'); // an ordinary end waits for the kernels that run: minutes of simulated f32 products
