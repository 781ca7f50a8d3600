import type { Cursor, EpochOptions, WindowsOptions } from '../data/index.ts';
import type { AnyBatch, AnyWindow, BatchSource } from './batch.ts';

/** The first `count` batches of each epoch of a source; with `same`, those of epoch 0 in every epoch, made once. */
export class FewBatches implements BatchSource {
  readonly length: number;
  readonly #source: BatchSource;
  readonly #count: number;
  readonly #same: boolean;
  #kept: AnyBatch[] | undefined;

  constructor(source: BatchSource, count: number, same = false) {
    this.#source = source;
    this.#count = count;
    this.#same = same;
    this.length = Math.min(count, source.length ?? count);
  }

  async *epoch(n: number, options: EpochOptions = {}): AsyncGenerator<AnyBatch, void, undefined> {
    const { from = 0, ...rest } = options;
    let at = 0;
    for await (const batch of this.#kept ?? this.#first(this.#same ? 0 : n, rest)) if (at++ >= from) yield batch;
  }

  async *#first(n: number, options: EpochOptions): AsyncGenerator<AnyBatch, void, undefined> {
    const kept: AnyBatch[] = [];
    for await (const batch of this.#source.epoch(n, options)) {
      kept.push(batch);
      // The last one is announced before it is used: whoever stops after it has had all.
      if (this.#same && kept.length === this.#count) this.#kept = kept;
      yield batch;
      if (kept.length === this.#count) break;
    }
    if (this.#same) this.#kept = kept;
  }

  async *windows(options: WindowsOptions): AsyncGenerator<AnyWindow & { cursor: Cursor }, void, undefined> {
    const { accumulate = 1, steps = Infinity, epochs = Infinity, from = {}, signal } = options;
    let step = from.step ?? 0;
    for (let epoch = from.epoch ?? 0; epoch < epochs && step < steps; epoch++) {
      let batch = epoch === (from.epoch ?? 0) ? (from.batch ?? 0) : 0;
      let micro: AnyBatch[] = [];
      for await (const next of this.epoch(epoch, { from: batch, ...(signal ? { signal } : {}) })) {
        micro.push(next);
        const last = ++batch >= this.length;
        if (micro.length < accumulate && !last) continue;
        yield window(micro, last ? { epoch: epoch + 1, batch: 0, step: ++step } : { epoch, batch, step: ++step });
        if (step >= steps) return;
        micro = [];
      }
    }
  }
}

/** With the samples' ids, where all batches have them: they key dropout. */
function window(micro: readonly AnyBatch[], cursor: Cursor): AnyWindow & { cursor: Cursor } {
  const ids = micro.map((b) => b.ids);
  return ids.every((i) => i instanceof Int32Array)
    ? { micro, cursor, ids: Int32Array.from(ids.flatMap((i) => [...(i as Int32Array)])) }
    : { micro, cursor };
}
