/** A rank that trains, or one process alone with all ranks' samples (size 1): argv is JSON, see `Task`. Prints JSON. */
import { dataParallel } from '../../lib/distributed/data-parallel.ts';
import { glooGroup } from '../../lib/distributed/gloo-group.ts';
import { StoreClient } from '../../lib/distributed/store.ts';
import { checkpoint, data, losses, manualSeed, nn, optim, Stepper, type Tensor, tensor } from '../../lib/index.ts';
import type { Loss } from '../../lib/ops/loss.ts';
import type { AnyWindow } from '../../lib/train/batch.ts';

export interface Task {
  rank: number;
  size: number;
  port: number;
  optimizer: 'sgd' | 'adamw';
  steps: number;
  precision?: 'f32' | 'bf16' | 'f16';
  accumulate?: number;
  overlap?: boolean;
  /** Rows of every rank; default 8 each. */
  rows?: number[];
  /** What else: recomputed layers, a NaN among rank 0's samples at step 3, terms whose counts keep no ratio, a rank whose rows are not told. */
  twist?: 'checkpoint' | 'nan' | 'unequalTerms' | 'untold' | 'otherModel' | 'kill' | 'loader' | 'throws' | 'otherRate';
}
const task: Task = JSON.parse(process.argv[2] as string);
const { rank, size, steps, precision = 'f32', accumulate = 1, overlap = true, twist } = task;
const rows = task.rows ?? Array(4).fill(8);

/** A convolution, dropout, a layer that is used three times, one that the loss does not see. No batch norm: its statistics are a rank's own. */
class Net extends nn.Module {
  conv = new nn.Conv2d(1, 4, { kernelSize: 3, padding: 1 });
  dropout = new nn.Dropout(0.3);
  hidden = new nn.Linear(4 * 36, twist === 'otherModel' && rank === 1 ? 40 : 48);
  norm = new nn.LayerNorm(twist === 'otherModel' && rank === 1 ? 40 : 48);
  twice = new nn.Linear(48, 48);
  head = new nn.Linear(48, 5);
  unseen = new nn.Linear(3, 3, { bias: false });
  forward(x: Tensor): Tensor {
    const h = this.dropout.forward(this.conv.forward(x).relu()).reshape([x.shape[0] as number, 4 * 36]);
    const block = (t: Tensor) => this.dropout.forward(this.twice.forward(t).gelu());
    const again = (t: Tensor) => (twist === 'checkpoint' ? checkpoint(block, t) : block(t));
    return this.head.forward(block(again(again(this.norm.forward(this.hidden.forward(h))))));
  }
}

manualSeed(size > 1 ? 100 + rank : 100); // the weights are rank 0's
const model = new Net();
const parameters = model.parameters();
const optimizer =
  task.optimizer === 'sgd'
    ? new optim.SGD(parameters, { lr: twist === 'otherRate' && rank === 1 ? 0.5 : 0.05, momentum: 0.9 })
    : new optim.AdamW(parameters, { lr: 3e-3, weightDecay: 0 });

const total = rows.reduce((a, b) => a + b, 0);
const value = (step: number, i: number) =>
  Math.sin(step * 7919 + i * 0.37) + (twist === 'nan' && step === 3 && i === 5 ? NaN : 0);
const xs = (step: number) => Float32Array.from({ length: total * 36 }, (_, i) => value(step, i));
// Every third is ignored, and all of rank 1's at the first step: counts differ from rank to rank.
const target = (step: number, i: number) => (i % 3 === step % 3 || (step === 0 && i >= 8 && i < 16) ? -100 : (i * 5 + step) % 5);

const store =
  size > 1
    ? await StoreClient.connect({
        host: '127.0.0.1',
        port: task.port,
        secret: 'of the test',
        run: 'test',
        attempt: 0,
        who: `rank ${rank}`,
      })
    : undefined;
const group = store && (await glooGroup({ store, rank, size, timeoutMs: 10_000 }));
const out: Record<string, unknown> = {};
try {
  const sizes = { bucketBytes: 10_400, firstBucketBytes: 1000, overlap };
  const parallel = group && (await dataParallel(group, model, optimizer, sizes));
  // How many sums are asked for while backward runs, and behind it.
  const asked = { early: 0, all: 0 };
  if (group && parallel) {
    const [sum, finish] = [group.allReduceList.bind(group), parallel.finish.bind(parallel)];
    group.allReduceList = (list) => {
      asked.all++;
      return sum(list);
    };
    parallel.finish = () => {
      asked.early = asked.all;
      finish();
    };
  }
  const stepper = new Stepper({ model, optimizer, precision, clipNorm: 1, seed: 7, ...(parallel && { parallel }) });
  const offset = rows.slice(0, rank).reduce((a, b) => a + b, 0);
  const [from, own] = size === 1 ? [0, total] : [offset, rows[rank] as number];
  const lossOf = ({ x, y }: { x: Tensor; y: Tensor }): Loss => {
    const logits = model.forward(x);
    const loss = losses.crossEntropy(logits, y, { ignoreIndex: -100 });
    return twist === 'unequalTerms' ? loss.plus(losses.mse(logits, logits.detach().mul(0.5))) : loss;
  };
  /** Rows [a, b) of a step's. */
  const batch = (step: number, a: number, b: number) => ({
    x: tensor(xs(step).slice(a * 36, b * 36)).reshape([b - a, 1, 6, 6]),
    y: tensor(Int32Array.from({ length: b - a }, (_, i) => target(step, a + i))),
  });
  function* made(): Generator<AnyWindow> {
    for (let step = 0; step < steps; step++) {
      const places = Array.from({ length: accumulate + 1 }, (_, m) => from + Math.floor((m * own) / accumulate));
      const offsets = own === 0 ? [] : places.slice(0, -1);
      const micro = offsets.map((a, m) => batch(step, a, places[m + 1] as number));
      yield { micro, ...(task.rows && size > 1 && twist !== 'untold' && { share: { offsets, rows: total } }) };
    }
  }
  /** 66 samples in batches of 32, two a window: the last batch of an epoch has 2. */
  const loaded = () => {
    const length = 66;
    const x = Float32Array.from({ length: length * 36 }, (_, i) => Math.sin(i * 0.37));
    const y = Int32Array.from({ length }, (_, i) => target(1, i));
    const set = new data.TensorDataset({ x: { data: x, shape: [1, 6, 6] }, y: { data: y } });
    const shard = size > 1 ? { shard: { rank, size } } : {};
    return data.loader(set, { batchSize: 32 / size, shuffle: true, seed: 3, ...shard }).windows({ steps, accumulate: 2 });
  };
  const results = [];
  for await (const window of twist === 'loader' ? loaded() : made()) {
    if (twist === 'kill' && results.length === 2 && rank === 1) process.kill(process.pid, 'SIGKILL');
    if (twist === 'throws') {
      // A step of this rank alone that fails, and one more try.
      const fail = () => {
        throw new Error('of the test');
      };
      await Promise.resolve()
        .then(() => stepper.step(window, fail))
        .catch(() => {});
    }
    results.push(await stepper.step(window, lossOf));
  }
  out.losses = results.map((r) => r.loss);
  out.norms = results.map((r) => r.gradNorm);
  out.applied = results.map((r) => r.applied);
  out.scales = results.map((r) => r.lossScale);
  out.early = asked.all && asked.early - (asked.all * (results.length - 1)) / results.length;
  out.sums = asked.all / results.length;
  out.samples = results.map((r) => r.samples);
  out.weights = await Promise.all(parameters.map(async (p) => [...(await p.data())]));
} catch (error) {
  out.error = { name: (error as Error).name, message: (error as Error).message };
}
console.log(JSON.stringify(out));
await group?.close();
await store?.close();
