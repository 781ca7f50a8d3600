/** A rank of a Trainer's run, or all of it where WORLD_SIZE is 1: argv is JSON, see `Task`. Prints JSON. */
import { writeFileSync } from 'node:fs';
import { data, dist, type EvalMetrics, losses, manualSeed, nn, optim, schedule, type Tensor, Trainer } from '../../lib/index.ts';

export interface Task {
  /** The run's folder. */
  dir?: string;
  optimizer?: 'sgd' | 'adamw';
  epochs?: number;
  accumulate?: number;
  everySteps?: number;
  resume?: boolean;
  batchNorm?: boolean;
  /** How many processes `parallel` asks for; false: none is said. Default: all. */
  data?: number | false;
  average?: 'ema' | 'swa';
  earlyStopping?: boolean;
  /** What happens at this step on this rank. */
  at?: { step: number; rank: number; what: 'stop' | 'control' | 'hookStop' | 'hookScale' | 'kill' | 'throw' };
  /** Steps between sample outputs. */
  look?: number;
  /** By attempt, milliseconds after which one rank is killed, the ranks in turn. */
  kills?: number[];
  /** Samples; another number on rank 1 where there is one. */
  samples?: number;
  otherSamples?: number;
  /** Where each rank writes what it tells, in place of the terminal: `<out>-<rank>`. */
  out?: string;
}
const task: Task = JSON.parse(process.argv[2] as string);
const attempt = Number(process.env.TORCHELASTIC_RESTART_COUNT ?? 0);
const { optimizer: kind = 'adamw', epochs = 4, at } = task;

class Net extends nn.Module {
  first = new nn.Linear(6, 24);
  norm = task.batchNorm ? new nn.BatchNorm1d(24) : new nn.LayerNorm(24);
  dropout = new nn.Dropout(0.3);
  last = new nn.Linear(24, 5);
  forward(x: Tensor): Tensor {
    return this.last.forward(this.dropout.forward(this.norm.forward(this.first.forward(x)).relu()));
  }
}

const set = (length: number, salt: number) =>
  new data.TensorDataset({
    x: { data: Float32Array.from({ length: length * 6 }, (_, i) => Math.sin(i * (0.37 + salt))), shape: [6] },
    y: { data: Int32Array.from({ length }, (_, i) => (Math.sin(i * 6 * (0.37 + salt)) > 0 ? (i % 3) + 1 : i % 5)) },
    site: { data: Int32Array.from({ length }, (_, i) => i % 2) },
  });

const out: Record<string, unknown> = {};
try {
  await dist.run(async (world) => {
    const here = at && at.rank === world.rank ? at : undefined;
    const ms = task.kills?.[attempt];
    if (ms !== undefined && attempt % world.worldSize === world.rank) setTimeout(() => process.kill(process.pid, 'SIGKILL'), ms);
    manualSeed(10 + world.rank); // the weights are rank 0's
    const model = new Net();
    const parameters = model.parameters();
    const steps: { step: number; loss: number; lr: number; samples: number }[] = [];
    const evals: EvalMetrics[] = [];
    const trainer: Trainer = new Trainer({
      model,
      ...(task.data === false
        ? {}
        : { parallel: { data: task.data ?? world.worldSize, bucketBytes: 1000, firstBucketBytes: 500 } }),
      loss: (out, { y }) => losses.crossEntropy(out, y),
      optimizer:
        kind === 'sgd' ? new optim.SGD(parameters, { lr: 0.05, momentum: 0.9 }) : new optim.AdamW(parameters, { lr: 5e-3 }),
      schedule: schedule.warmup({ steps: 3 }).followedBy(schedule.cosine({ to: 0.1 })),
      clipNorm: 1,
      seed: 5,
      metrics: ['accuracy', 'perClass', 'confusion', 'rocAuc', 'calibration', 'mistakes', 'top5'],
      stratifyBy: 'site',
      ...(task.average === 'ema' ? { ema: { decay: 0.9 } } : {}),
      ...(task.average === 'swa' ? { swa: { from: 6 } } : {}),
      ...(task.earlyStopping ? { earlyStopping: { patience: 1, minDelta: 0.5 } } : {}),
      plateau: { patience: 1, factor: 0.5 },
      ...(task.dir ? { dir: task.dir, checkpoint: { everySteps: task.everySteps ?? 0 } } : {}),
      ...(task.look
        ? {
            samples: {
              every: task.look,
              make: async () =>
                `rank ${world.rank}: ${(await trainer.predict(data.loader(set(2, 0.2), { batchSize: 2 }))).shape}`,
            },
          }
        : {}),
      hooks: [
        {
          name: 'of the test',
          onStep({ step }) {
            if (here?.step !== step) return undefined;
            if (here.what === 'kill') process.kill(process.pid, 'SIGKILL');
            if (here.what === 'throw') throw new Error('of the test');
            if (here.what === 'stop') trainer.stop();
            if (here.what === 'control') void run.control.set({ lr: 1e-3 }).catch((e: Error) => (out.refused = e.message));
            if (here.what === 'hookStop') return { stop: 'enough' };
            return here.what === 'hookScale' ? { lrScale: 0.25 } : undefined;
          },
        },
      ],
    });
    const length = (world.rank === 1 && task.otherSamples) || (task.samples ?? 61);
    const train = data.loader(set(length, 0), { globalBatchSize: 12, shuffle: true, seed: 3 });
    const validation = data.loader(set(31, 0.1), { globalBatchSize: 24 });
    const course = { train, validation, epochs, ...(task.accumulate ? { accumulate: task.accumulate } : {}) };
    const run = trainer.start({ ...course, ...(task.resume ? { resume: 'auto' as const } : {}) });
    const reading = (async () => {
      for await (const e of run) {
        if (e.type === 'eval') evals.push(e.metrics);
        if (e.type === 'notice') out.notice = e.message;
        if (e.type !== 'step') continue;
        const { step, loss, lr, samples } = e;
        steps.push({ step, loss, lr, samples });
      }
    })();
    const { stopReason, best } = await run.result;
    await reading;
    const weights = await Promise.all([...model.stateDict()].map(async ([, t]) => [...((await t.data()) as Float32Array)]));
    Object.assign(out, { rank: world.rank, steps, evals, stopReason, best, weights });
  });
} catch (error) {
  const { name, message } = error as Error;
  out.error = { name, message };
  process.exitCode = 1;
}
if (task.out) writeFileSync(`${task.out}-${out.rank}`, JSON.stringify(out));
else process.stdout.write(`${JSON.stringify(out)}\n`);
