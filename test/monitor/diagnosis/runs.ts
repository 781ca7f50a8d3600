// Runs made healthy or ill on purpose, really trained. `npx tsx test/monitor/diagnosis/generate.ts` writes their records.
import { setTimeout as sleep } from 'node:timers/promises';
import { data, losses, nn, optim, schedule, Trainer } from '../../../lib/index.ts';
import type { HistoryRecord, Sink } from '../../../lib/monitor/index.ts';
import type { BatchSource } from '../../../lib/train/batch.ts';
import type { FitOptions, TrainerOptions } from '../../../lib/train/trainer.ts';
import { type Sizes, stream, type Task, type TaskName, tasks } from './tasks.ts';

/** What a run is made of; whatever is not given is healthy. */
export interface Recipe {
  sizes?: Sizes;
  optimizer?: (params: nn.Module) => optim.Optimizer;
  options?: Partial<TrainerOptions>;
  batchSize?: number;
  steps?: number;
  /** Steps between evaluations are an epoch. */
  prepare?: (task: Task) => void;
  /** Milliseconds that each window keeps the loop waiting. */
  delay?: number;
  /** Steps at which all inputs are multiplied, as a broken reader might. */
  damaged?: { at: readonly number[]; by: number };
  fit?: Partial<FitOptions>;
}
export interface Spec {
  id: string;
  task: TaskName;
  seed: number;
  recipe: Recipe;
  /** Rules that are to find something. */
  ills: readonly string[];
  /** Rules that may: what the illness brings with it. */
  mayTell?: readonly string[];
}

export const adam =
  (lr: number, weightDecay = 0.01) =>
  (model: nn.Module) =>
    new optim.AdamW(model.parameters(), { lr, weightDecay });
export const sgd =
  (lr: number, momentum = 0.9) =>
  (model: nn.Module) =>
    new optim.SGD(model.parameters(), { lr, momentum });

/** Multiplies parameters whose name matches. */
export const scaled = (name: RegExp, by: number) => (task: Task) => {
  for (const [key, p] of task.model.namedParameters()) if (name.test(key)) nn.assign(p, p.detach().mul(by));
};
/** Adds to parameters whose name matches. */
export const shifted = (name: RegExp, by: number) => (task: Task) => {
  for (const [key, p] of task.model.namedParameters()) if (name.test(key)) nn.assign(p, p.detach().add(by));
};
/** Spoils some samples of the training set. */
export const spoiled = (share: number, how: (v: number) => number) => (task: Task) => {
  const { data: x, step: size } = task.train.sources.find((c) => c.name === 'x') as { data: Float32Array; step: number };
  const r = stream(5, 'spoiled');
  for (let i = 0; i < x.length / size; i++)
    if (r.uniform() < share) for (let k = 0; k < size; k++) x[i * size + k] = how(x[i * size + k] as number);
};

class Memory implements Sink {
  readonly records: HistoryRecord[] = [];
  write(record: HistoryRecord): void {
    this.records.push(record);
  }
  async flush(): Promise<void> {}
  async close(): Promise<void> {}
}

/** A loader that takes its time, or damages windows. */
function troubled(loader: BatchSource, ms: number, damaged: Recipe['damaged']): BatchSource {
  return {
    length: loader.length,
    samples: loader.samples,
    epoch: (n, o) => loader.epoch(n, o),
    async *windows(o) {
      for await (const w of loader.windows(o)) {
        if (ms) await sleep(ms);
        if (damaged?.at.includes(w.cursor.step))
          for (const batch of w.micro) {
            const { data } = batch.x as { data: Float32Array };
            data.forEach((v, i) => {
              data[i] = v * damaged.by;
            });
          }
        yield w;
      }
    },
  };
}

/** Trains and returns the records. */
export async function train({ task: name, seed, recipe }: Spec): Promise<HistoryRecord[]> {
  const {
    sizes = {},
    optimizer = adam(3e-3),
    options = {},
    batchSize = 32,
    steps = 240,
    prepare,
    delay = 0,
    damaged,
    fit,
  } = recipe;
  const task = tasks[name](seed, sizes);
  prepare?.(task);
  const sink = new Memory();
  const { train, validation, model, loss, metrics } = task;
  const loader = data.loader(train as never, { batchSize, shuffle: true, seed }) as BatchSource;
  const trainer = new Trainer({
    ...{ model, loss, metrics: metrics ?? [], seed, optimizer: optimizer(model), sinks: [sink], diagnose: false },
    ...options,
  });
  const course = { steps, validation: data.loader(validation as never, { batchSize: 256 }) as BatchSource, ...fit };
  await trainer.fit({ train: delay || damaged ? troubled(loader, delay, damaged) : loader, ...course }).catch((error: Error) => {
    if (error.name !== 'AnomalyError') throw error;
  });
  return sink.records;
}

export { losses, nn, optim, schedule };
