/** What of a run outlives it: checkpoints, and the best weights. */
import { join } from 'node:path';
import type { StateDict } from '../nn/module.ts';
import type { BatchSource } from './batch.ts';
import { BestWeights } from './best-weights.ts';
import { loadCheckpoint, type Restored, stageCheckpoint } from './checkpoint.ts';
import type { Checkpoint, CheckpointScore } from './checkpoint-files.ts';
import { FewBatches } from './few-batches.ts';
import { saveSafetensors } from './state.ts';
import type { Stepper } from './stepper.ts';
import type { Telling } from './telling.ts';
import type { Trainer, TrainerOptions } from './trainer.ts';
import { updateBatchNorm } from './update-batch-norm.ts';

export const checkpoints = 'checkpoints';
const bestFile = 'best.safetensors';

export class Keeping {
  readonly #settings: TrainerOptions;
  readonly #stepper: Stepper;
  readonly #telling: Telling;
  readonly #best = new BestWeights();
  /** The step of the last checkpoint. */
  #at = 0;
  #writing: Promise<Checkpoint> | undefined;

  /** @param settings without a `dir` nothing is written */
  constructor(settings: TrainerOptions, stepper: Stepper, telling: Telling) {
    this.#settings = settings;
    this.#stepper = stepper;
    this.#telling = telling;
  }
  /** The checkpoint under way, or the last. */
  get writing(): Promise<Checkpoint> | undefined {
    return this.#writing;
  }

  markBest(): void {
    this.#best.keep(this.#stepper.average ?? this.#settings.model);
  }

  /** Copies the state now and writes it while training goes on; one write at a time, and one a step. */
  async checkpoint(json: () => object, score: CheckpointScore | undefined): Promise<void> {
    const { dir, checkpoint } = this.#settings;
    const { step } = this.#stepper.cursor;
    if (!dir || step === this.#at) return;
    this.#at = step;
    const { kept } = this.#best;
    const tensors: Record<string, StateDict> = kept ? { [bestFile]: kept } : {};
    const extra = { json: json(), tensors };
    const options = { keep: checkpoint?.keep ?? {}, ...(score ? { score } : {}) };
    const write = await stageCheckpoint(join(dir, checkpoints), this.#stepper, extra, options);
    await this.#writing;
    this.#writing = write();
    this.#writing.then(
      (c) => this.#telling.event({ type: 'checkpoint', step: c.step, path: c.path }),
      () => {}, // awaited before the next checkpoint and at the end
    );
  }
  /** A checkpoint of this step on its way: none of this attempt counts as one. */
  async checkpointNow(json: () => object, score: CheckpointScore | undefined): Promise<void> {
    if (!this.#writing) this.#at = -1;
    await this.checkpoint(json, score);
  }

  /** Goes on from the newest valid checkpoint in the run's folder. */
  async resume(dir: string): Promise<Restored | undefined> {
    const restored = await loadCheckpoint(join(dir, checkpoints), this.#stepper);
    if (!restored) return undefined;
    this.#at = this.#stepper.cursor.step;
    this.#best.take(await restored.tensors(bestFile));
    return restored;
  }

  /**
   * Best weights, or averages, go into the model, and its file is written.
   * @param train what batch norm's statistics are made from anew, where the weights are a mean (SWA); undefined: they stay as they are
   */
  async finish(trainer: Trainer, train: BatchSource | undefined): Promise<void> {
    const { dir, model, swa, precision } = this.#settings;
    this.#best.finish(model, this.#stepper.average);
    if (swa && train)
      // A stream may have no end; a thousand batches tell the statistics.
      await updateBatchNorm(model, new FewBatches(train, 1000), {
        forward: (b) => trainer.forward(b),
        ...(precision ? { precision } : {}),
      });
    if (dir) await saveSafetensors(join(dir, bestFile), model.stateDict());
  }
}
