import { median } from './numbers.ts';
import { thresholds } from './thresholds.ts';

/** Finds values far above those before them, as they come: by z-score and by multiples of the median over the last 128. */
export class SpikeDetector {
  readonly #window: number[] = [];
  readonly #times: number;
  readonly #floor: number;
  #begin: number | undefined;
  #streak = 0;

  /** @param times how many times the median a spike is at least; @param floor and how many times the median of the first values */
  constructor(times: number, floor: number) {
    this.#times = times;
    this.#floor = floor;
  }

  /** Is this value a spike? Spikes do not enter the window, unless they go on, which is then how the run is. */
  see(value: number): boolean {
    if (!Number.isFinite(value)) return false;
    const spike = this.#isSpike(value);
    this.#streak = spike ? this.#streak + 1 : 0;
    if (!spike || this.#streak > thresholds.spikes.longest) {
      this.#window.push(value);
      if (this.#window.length > thresholds.spikes.window) this.#window.shift();
    }
    return spike;
  }

  #isSpike(value: number): boolean {
    const { least, z } = thresholds.spikes;
    const all = this.#window;
    if (all.length < least) return false;
    this.#begin ??= median(all);
    // The cheap tests first: nearly every step is over here, and medians are sorted.
    if (!(value > this.#floor * this.#begin)) return false;
    let [sum, squares] = [0, 0];
    for (const v of all) sum += v;
    const mean = sum / all.length;
    for (const v of all) squares += (v - mean) ** 2;
    const deviation = Math.sqrt(squares / all.length);
    return value > mean + z * deviation && value > this.#times * median(all);
  }
}

/** Loss and gradient norm of a run, watched together. */
export class StepSpikes {
  readonly #loss = new SpikeDetector(thresholds.spikes.lossTimes, thresholds.spikes.lossFloor);
  readonly #norm = new SpikeDetector(thresholds.spikes.normTimes, thresholds.spikes.normFloor);
  /** Which of the two spikes at this step; undefined where neither does. */
  see(loss: number, gradNorm: number): ('loss' | 'gradNorm')[] | undefined {
    const found: ('loss' | 'gradNorm')[] = [];
    if (this.#loss.see(loss)) found.push('loss');
    if (this.#norm.see(gradNorm)) found.push('gradNorm');
    return found.length ? found : undefined;
  }
}
