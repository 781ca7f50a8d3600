/** What is asked of a run between its steps. Several processes obey the same, in the same order, before the same step. */
import type { Ruling } from './hooks.ts';
import type { LiveControl, Wish } from './live-control.ts';
import type { Ranks } from './ranks.ts';
import type { StepResult } from './stepper.ts';

/** Decided for all, and wishes to obey. */
export interface Order extends Pick<Ruling, 'stop' | 'lrScale'> {
  wishes: readonly Wish[];
}

export class Orders {
  readonly #ranks: Ranks;
  readonly #live: LiveControl;
  /** What this rank wants of all of several. */
  #own: Pick<Ruling, 'stop' | 'lrScale'> = {};
  /** A step has told that some rank wants something. */
  #asked = false;

  constructor(ranks: Ranks, live: LiveControl) {
    this.#ranks = ranks;
    this.#live = live;
  }

  /** Wants this of all ranks. The first reason to stop counts, and the last scale. */
  want({ stop, lrScale }: Ruling): void {
    const reason = this.#own.stop ?? stop;
    const scale = lrScale ?? this.#own.lrScale;
    this.#own = { ...(reason === undefined ? {} : { stop: reason }), ...(scale === undefined ? {} : { lrScale: scale }) };
  }
  /** A step's result has arrived. */
  told({ asked }: StepResult): void {
    if (asked) this.#asked = true;
  }

  /**
   * What holds from the next step on, if anything. Ranks tell each other with their steps' figures that they want to talk, so that all know it at the same
   * step, and nothing is waited for where nobody does.
   * @param settle waits for the step in flight
   */
  async hear(settle: () => Promise<void>, signal: AbortSignal): Promise<Order | undefined> {
    const { parallel } = this.#ranks;
    if (!parallel ? !this.#live.waiting : !this.#asked) {
      if (parallel) parallel.asks = this.#live.waiting || Object.keys(this.#own).length > 0;
      return undefined;
    }
    await settle();
    const wishes = this.#live.take();
    if (!parallel) return { wishes };
    const own = { ...this.#own, wishes: wishes.map(({ what, lr, by }) => ({ what, lr, by })) };
    [this.#asked, this.#own, parallel.asks] = [false, {}, false];
    const all = await this.#ranks.exchange<Order>(own, signal);
    const stop = all.find((o) => o.stop !== undefined)?.stop;
    const [first = own] = all; // its hooks' scale counts, and people ask there
    return { ...first, ...(stop === undefined ? {} : { stop }), wishes: this.#ranks.leads ? wishes : first.wishes };
  }
}
