/**
 * Work on the three streams of the simulated GPU; prints what was read. argv[2]: 'chained' orders each step by events, 'loose' leaves the events out,
 * 'reuse' frees memory that another stream still writes and takes it again.
 */
import { nativeOp, run, type StreamName, streams } from '../../lib/native/run.ts';
import { fromHost } from '../../lib/tensor/create.ts';
import { StreamEvent, setDefaultDevice } from '../../lib/tensor/device.ts';
import { type Tensor, unwritten } from '../../lib/tensor/tensor.ts';

const [fill, copy, neg] = [nativeOp('fill'), nativeOp('copy'), nativeOp('neg')];
const size = 1000;
const mode = process.argv[2];
setDefaultDevice('cuda');
const zeros = () => fromHost(new Float32Array(size), [size], 'f32');
const order = (from: StreamName, to: StreamName) => {
  if (mode !== 'loose') new StreamEvent().record(from).wait(to);
};
/** The value of every element, or NaN where they differ. */
const only = async (t: Tensor): Promise<number> => {
  const data = await t.data();
  return data.every((v) => v === data[0]) ? (data[0] as number) : Number.NaN;
};

/** compute fills a, copy copies it to b, comm negates b into c, compute copies c to d: each waits for the one before, and the next round for the last. */
async function chain(rounds: number): Promise<number[]> {
  const [a, b, c] = [zeros(), zeros(), zeros()];
  const kept: Tensor[] = [];
  for (let i = 1; i <= rounds; i++) {
    const d = zeros();
    run(fill, [], [a], [i]);
    order('compute', 'copy');
    run(copy, [a], [b], [], streams.copy);
    order('copy', 'comm');
    run(neg, [b], [c], [0, 0], streams.comm);
    order('comm', 'compute');
    run(copy, [c], [d], []);
    kept.push(d);
  }
  return Promise.all(kept.map(only));
}

/** A block that the copy stream writes is freed at once; the next tensor of that size is compute's. Memory is handed out in compute's order: who else uses it waits for that. */
async function reuse(rounds: number): Promise<number[]> {
  const kept: Tensor[] = [];
  for (let i = 1; i <= rounds; i++) {
    const lost = unwritten([size], 'f32');
    order('compute', 'copy');
    run(fill, [], [lost], [-1], streams.copy);
    for (let k = 0; k < 3; k++) run(neg, [lost], [lost], [0, 0], streams.copy);
    lost.dispose();
    const next = unwritten([size], 'f32');
    run(fill, [], [next], [i]);
    if (i % 2) kept.push(next);
    else next.dispose();
  }
  return Promise.all(kept.map(only));
}

console.log(JSON.stringify(mode === 'reuse' ? await reuse(40) : await chain(20)));
