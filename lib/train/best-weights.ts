/** The best weights of a run so far, as a copy that training does not touch. */
import type { Module, StateDict } from '../nn/module.ts';
import { assign } from '../nn/module.ts';
import type { AveragedWeights } from '../optim/index.ts';
import { snapshot } from './state.ts';

export class BestWeights {
  #kept: StateDict | undefined;

  get kept(): StateDict | undefined {
    return this.#kept;
  }

  /** Takes over a copy, such as a checkpoint's. */
  take(weights: StateDict | undefined): void {
    this.dispose();
    this.#kept = weights;
  }

  keep(source: AveragedWeights | Module): void {
    this.take(snapshot(source));
  }

  /** Puts them into the model, or where none were kept the averages; both are freed. */
  finish(model: Module, average: AveragedWeights | undefined): void {
    if (this.#kept) {
      const own = model.stateDict();
      for (const [name, t] of this.#kept) assign(own.get(name) as never, t);
    } else average?.apply();
    average?.dispose();
    this.dispose();
  }

  dispose(): void {
    for (const t of this.#kept?.values() ?? []) t.dispose();
    this.#kept = undefined;
  }
}
