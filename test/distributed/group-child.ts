/** A rank of a group: argv is what to do, rank, size, the store's port, milliseconds of a collective. Prints JSON. */
import { glooGroup } from '../../lib/distributed/gloo-group.ts';
import { StoreClient } from '../../lib/distributed/store.ts';
import '../../lib/index.ts'; // adds Tensor's methods
import { fromHost } from '../../lib/tensor/create.ts';
import type { Tensor } from '../../lib/tensor/tensor.ts';

const [what, ...numbers] = process.argv.slice(2);
const [rank = 0, size = 1, port = 0, timeoutMs = 1] = numbers.map(Number);
const store = await StoreClient.connect({
  host: '127.0.0.1',
  port,
  secret: 'of the test',
  run: 'test',
  attempt: 0,
  who: `rank ${rank}`,
});
const group = await glooGroup({ store, rank, size });
const f32 = (values: number[]) => fromHost(Float32Array.from(values), [values.length], 'f32');
const list = async (t: Tensor) => [...(await t.data())];

if (what === 'all') {
  const told: Record<string, unknown> = {};
  for (const reduction of ['sum', 'max', 'min'] as const) {
    const x = f32([rank + 1, -rank, 0.5]);
    group.allReduce(x, { reduction }).wait();
    told[reduction] = await list(x);
  }
  const half = f32([1, 2 ** -8]).to('bf16');
  group.allReduce(half).wait();
  told.bf16 = await list(half.to('f32'));
  const b = f32([rank, 10 * rank]);
  group.broadcast(b, size - 1).wait();
  told.broadcast = await list(b);
  const gathered = group.allGather(f32([rank, 7]));
  gathered.wait();
  told.allGather = [gathered.result.shape, await list(gathered.result)];
  const scattered = group.reduceScatter(f32(Array.from({ length: 2 * size }, (_, i) => i + rank)).reshape([size, 2]));
  scattered.wait();
  told.reduceScatter = await list(scattered.result);
  const ring = f32([0]);
  if (rank % 2 === 0) group.send(f32([100 + rank]), (rank + 1) % size);
  group.recv(ring, (rank + size - 1) % size).wait();
  if (rank % 2 === 1) group.send(f32([100 + rank]), (rank + 1) % size);
  told.ring = await list(ring);
  const large = f32(Array.from({ length: 100_003 }, (_, i) => i * (rank + 1)));
  group.allReduce(large).wait();
  told.large = (await list(large)).slice(-2);
  const none = f32([]);
  group.allReduce(none).wait();
  await group.barrier().done();
  told.differ = await group.agree('models', ['same', rank === 1 ? 'weight [3, 4]' : 'weight [3, 5]']).then(
    () => 'agreed',
    (e) => e.message,
  );
  console.log(JSON.stringify(told));
} else {
  for (let i = 0; i < 3; i++) await group.allReduce(f32([1])).done();
  console.log('"ready"');
  if (rank === size - 1) await new Promise(() => setInterval(() => {}, 1000)); // until it is killed or stopped
  const error = await group
    .allReduce(f32([1]), { timeoutMs })
    .done()
    .catch((e) => e);
  const again = await group
    .barrier()
    .done()
    .catch((e) => e.name);
  console.log(JSON.stringify({ name: error.name, message: error.message, again }));
}
await group.close();
await store.close();
