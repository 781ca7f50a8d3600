import { setImmediate as macrotask } from 'node:timers/promises';

const budget = 4; // milliseconds of main-thread work between two turns of the event loop

/** Spreads work over turns of the event loop: call `breathe` between pieces that take well under a millisecond. */
export class Slices {
  #since = performance.now();

  /** Whether the time of this slice is used up. */
  get spent(): boolean {
    return performance.now() - this.#since > budget;
  }

  /** Lets the event loop turn if the slice is spent. */
  async breathe(): Promise<void> {
    if (!this.spent) return;
    await macrotask();
    this.#since = performance.now();
  }
}
