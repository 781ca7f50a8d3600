// Run by random.test.ts under another instruction set: prints the bits of the first normals.
import { randn } from '../../lib/ops/random.ts';
import { bind } from '../../lib/tensor/context.ts';

const rng = { seed: 2 ** 40 + 7, attempt: 3, rowOffset: 1, rows: 0, calls: new Map<string, number>(), inStep: true };
const z = bind({ rng }, () => randn([4096]));
const data = await z.data();
process.stdout.write(JSON.stringify(Array.from(new Uint32Array(data.buffer, 0, 4096))));
