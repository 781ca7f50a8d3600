import { ConfigError } from '../native/errors.ts';
import type { Stepper } from './stepper.ts';

/** What multiplies a run's learning rate beside the schedule's factor; all of them hold. */
export interface LrScales {
  /** What the size of the batch makes of it. */
  batch: number;
  hooks: number;
  plateau: number;
  control: number;
}

/** A rate asked for, until the next step boundary. */
interface PendingLr {
  lr: number;
  resolve: () => void;
  reject: (error: Error) => void;
}

/** Who changes a run's learning rate from outside: hooks, the plateau rule, live control. */
export class RateControl {
  #scales: LrScales = { batch: 1, hooks: 1, plateau: 1, control: 1 };
  #pending: PendingLr[] = [];
  readonly #stepper: Stepper;
  readonly #told: (lr: number) => void;

  /** @param told hears of each rate that live control has set */
  constructor(stepper: Stepper, told: (lr: number) => void) {
    this.#stepper = stepper;
    this.#told = told;
  }

  get scales(): LrScales {
    return this.#scales;
  }
  /** Does a rate wait for the next step boundary? */
  get waiting(): boolean {
    return this.#pending.length > 0;
  }

  scale(change: Partial<LrScales>): void {
    this.#scales = { ...this.#scales, ...change };
    const { batch, hooks, plateau, control } = this.#scales;
    const product = batch * hooks * plateau * control;
    if (product !== this.#stepper.lrScale) this.#stepper.setLrScale(product);
  }

  /** Settles once the rate is in force. */
  ask(lr: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#pending.push({ lr, resolve, reject });
    });
  }

  /** Makes the rate of the coming step what was asked; the schedule's shape, and what others decide, go on from it. At a factor of 0 the peak is set. */
  apply(): void {
    const stepper = this.#stepper;
    for (const { lr, resolve, reject } of this.#pending.splice(0)) {
      const own = stepper.optimizer.groups[0]?.lr ?? 0;
      const { batch, hooks, plateau } = this.#scales;
      const peak = (own * (stepper.schedule?.factor(stepper.applied) ?? 1) || own) * batch * hooks * plateau;
      if (!(peak > 0)) {
        const why = own > 0 ? 'a hook has set the rate to 0' : "the optimizer's own lr is 0";
        reject(new ConfigError(`control.set: ${why}, which no factor changes. Set the groups' lr.`));
        continue;
      }
      this.scale({ control: lr / peak });
      this.#told(lr);
      resolve();
    }
  }

  /** No step comes any more. */
  end(): void {
    for (const { reject } of this.#pending) reject(new ConfigError('control.set: the run ended before its next step'));
  }
}
