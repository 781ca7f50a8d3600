/** `attention-child.ts T CAUSAL`: attention of one head and T queries in bf16, forward and backward. Prints { launches, bytes }: the simulated GPU's
 * counters, and how much memory the calls held at most beside operands, result and gradients. ANNEAL_SIM_COUNTERS names the file of counters. */
import { readFileSync } from 'node:fs';
import { attention, cast, device, randn, setDefaultDevice, type Tensor } from '../../lib/index.ts';

const [T, causal] = [Number(process.argv[2]), process.argv[3] === 'true'];
const on = device('cuda');
setDefaultDevice(on);
const operand = (requiresGrad: boolean): Tensor => Object.assign(cast(randn([1, 1, T, 64]), 'bf16'), { requiresGrad });
const [q, k, v, g] = [operand(true), operand(true), operand(true), operand(false)];
await on.synchronize();
const file = process.env.ANNEAL_SIM_COUNTERS as string;
const before = readFileSync(file, 'utf8').length;
on.resetPeak();
const { live } = on.memory();
const y = attention(q, k, v, { causal });
y.backward(g);
await on.synchronize();
const results = y.bytes + [q, k, v].reduce((sum, x) => sum + (x.grad as Tensor).bytes, 0);
const launches = readFileSync(file, 'utf8').slice(before).trim().split('\n');
console.log(`{"launches": [${launches.join(',')}], "bytes": ${on.memory().peak - live - results}}`);
