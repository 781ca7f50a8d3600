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

/** Who changes a run's learning rate from outside: hooks, the plateau rule, live control. */
export class RateControl {
  #scales: LrScales = { batch: 1, hooks: 1, plateau: 1, control: 1 };
  readonly #stepper: Stepper;

  constructor(stepper: Stepper) {
    this.#stepper = stepper;
  }

  get scales(): LrScales {
    return this.#scales;
  }

  scale(change: Partial<LrScales>): void {
    this.#scales = { ...this.#scales, ...change };
    const { batch, hooks, plateau, control } = this.#scales;
    const product = batch * hooks * plateau * control;
    if (product !== this.#stepper.lrScale) this.#stepper.setLrScale(product);
  }

  /**
   * Makes the rate of the coming step what live control asks; the schedule's shape, and what others decide, go on from it. At a factor of 0 the peak is set.
   * @throws ConfigError where no factor makes it so
   */
  set(lr: number): void {
    const stepper = this.#stepper;
    const own = stepper.optimizer.groups[0]?.lr ?? 0;
    const { batch, hooks, plateau } = this.#scales;
    const peak = (own * (stepper.schedule?.factor(stepper.applied) ?? 1) || own) * batch * hooks * plateau;
    if (!(peak > 0)) {
      const why = own > 0 ? 'a hook has set the rate to 0' : "the optimizer's own lr is 0";
      throw new ConfigError(`${why}, which no factor changes. Set the groups' lr.`);
    }
    this.scale({ control: lr / peak });
  }
}
