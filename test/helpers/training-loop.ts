/**
 * Trains for ever, until someone ends it: matrix products and convolutions on every thread, reads, uploads, two streams, a tape. Ended in
 * mid-step by test/native/teardown.test.ts, as a process and as a worker.
 */
import { setImmediate as turn } from 'node:timers/promises';
import { parentPort } from 'node:worker_threads';
import { nativeOp, run } from '../../lib/native/run.ts';
import { mul, sub } from '../../lib/ops/binary.ts';
import { conv2d } from '../../lib/ops/conv.ts';
import { linear } from '../../lib/ops/linear.ts';
import { mean } from '../../lib/ops/reduce.ts';
import { relu, square } from '../../lib/ops/unary.ts';
import { flatten } from '../../lib/ops/view.ts';
import { noGrad } from '../../lib/tensor/context.ts';
import { tensor } from '../../lib/tensor/create.ts';
import { StreamEvent } from '../../lib/tensor/device.ts';
import { scope } from '../../lib/tensor/scope.ts';
import { Parameter, type Tensor } from '../../lib/tensor/tensor.ts';

const random = (shape: number[], size = 0.1) => {
  const n = shape.reduce((a, b) => a * b, 1);
  return tensor(
    Float32Array.from({ length: n }, (_, i) => size * Math.sin(i * 12.9898)),
    { shape },
  );
};
const kernel = new Parameter(random([8, 1, 3, 3]));
const weight = new Parameter(random([64, 8 * 12 * 12]));
const fill = nativeOp('fill');

/** One step; queues and returns. */
export function step(): Promise<unknown>[] {
  return scope(() => {
    const x = random([32, 1, 14, 14], 1);
    const h = flatten(relu(conv2d(x, kernel)), 1);
    const loss = mean(square(linear(h, weight)));
    loss.backward();
    const event = new StreamEvent().record('compute').wait('copy');
    const scratch = random([64]);
    run(fill, [], [scratch], [1], 1);
    event.record('copy').wait('compute');
    noGrad(() => {
      for (const p of [kernel, weight]) {
        const step = sub(p, mul(p.grad as Tensor, 0.01));
        run(nativeOp('copy'), [step], [p]);
        p.storage.version++;
        p.grad?.dispose();
        p.grad = null;
      }
    });
    return [loss.item(), h.data()];
  });
}

/** Steps until ended. `ready` is called when the second has been queued. */
export async function train(ready: () => void): Promise<never> {
  for (let i = 0; ; i++) {
    const reads = step();
    if (i === 1) ready();
    if (i % 3 === 0) await Promise.all(reads);
    else if (i % 3 === 1) await turn();
  }
}

if (parentPort) {
  const port = parentPort;
  void train(() => port.postMessage('ready'));
}
