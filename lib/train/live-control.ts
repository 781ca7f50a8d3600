/** What is asked of a run while it trains: gathered at any time, obeyed at the next step boundary, in the order of asking. */
import type { ControlKind, ControlRequest } from '../monitor/control/index.ts';
import { ConfigError, checkOptions } from '../native/errors.ts';
import type { Checkpoint } from './checkpoint-files.ts';
import { ControlInbox } from './control-inbox.ts';
import type { EvalMetrics } from './events.ts';

/** `run.control`. Everything takes effect at the next step boundary and is written to the history; a wish that comes too late rejects with ConfigError. */
export interface RunControl {
  /** Sets the rate of the coming step (of the first group; others in proportion); the schedule's shape goes on from it. */
  set(change: { lr?: number }): Promise<void>;
  /** Evaluates on the run's validation data. Looking changes nothing: early stopping, plateau rule and hooks are not asked. */
  evaluate(): Promise<EvalMetrics>;
  /** Writes a checkpoint; arrives once it is on the disk. */
  checkpoint(): Promise<Checkpoint>;
  /** Ends the run with the epoch under way, after its evaluation and checkpoint, with stopReason 'stopped'. Arrives once that is settled. */
  stopAfterEpoch(): Promise<void>;
}

/** What a run does when it is asked. What is undefined it cannot. */
export interface Controlled {
  /** Steps done. */
  step(): number;
  /** @throws ConfigError where no factor makes this rate */
  setLr(lr: number): void;
  readonly evaluate: (() => Promise<EvalMetrics>) | undefined;
  /** Copies the state; writing goes on behind training. */
  readonly checkpoint: (() => Promise<{ written: Promise<Checkpoint> | undefined }>) | undefined;
  told(entry: ControlEntry): void;
  /** Of what was refused before it was a wish. */
  notice(sentence: string): void;
}

/** A wish as the history has it. */
export interface ControlEntry {
  readonly what: ControlKind;
  readonly by: string;
  readonly lr?: number;
  readonly refused?: string;
}

/** What obeying brought. */
export interface Obeyed {
  readonly step: number;
  readonly metrics?: EvalMetrics;
  readonly written?: Promise<Checkpoint> | undefined;
}

/** What somebody asks for. */
export interface Wish {
  readonly what: ControlKind;
  readonly lr: number | undefined;
  readonly by: string;
}
/** Who asked on this process hears what came of it. */
interface OwnWish extends Wish {
  readonly resolve?: (obeyed: Obeyed) => void;
  readonly reject?: (error: unknown) => void;
}

const program = 'program';

export class LiveControl implements RunControl {
  /** Has somebody asked the run to end with this epoch? */
  endsWithEpoch = false;
  readonly #run: Controlled;
  readonly #leads: boolean;
  readonly #wishes: OwnWish[] = [];
  #ended = false;
  #inbox: ControlInbox | undefined;

  /** @param leads of several processes, is this the one that is asked? */
  constructor(run: Controlled, leads = true) {
    this.#run = run;
    this.#leads = leads;
  }

  set(change: { lr?: number }): Promise<void> {
    checkOptions('control.set', change, ['lr']);
    const { lr } = change;
    if (lr === undefined) return Promise.resolve();
    if (!(lr >= 0 && lr < Infinity)) throw new ConfigError(`control.set: lr must be a number >= 0, got ${lr}`);
    return this.#ask({ lr }, program)[0]?.then(() => {}) as Promise<void>;
  }
  async evaluate(): Promise<EvalMetrics> {
    return (await this.#one('evaluate')).metrics as EvalMetrics;
  }
  async checkpoint(): Promise<Checkpoint> {
    return (await this.#one('checkpoint')).written as Promise<Checkpoint>;
  }
  async stopAfterEpoch(): Promise<void> {
    await this.#one('stopAfterEpoch');
  }

  /** Does anything wait for the next step boundary? */
  get waiting(): boolean {
    return this.#wishes.length > 0;
  }

  /** A promise for each wish, in order: settles once it is obeyed, rejects with the reason where it is not. */
  #ask(request: ControlRequest, by: string): Promise<Obeyed>[] {
    return (Object.keys(request) as ControlKind[]).map((what) => this.#one(what, by, request.lr));
  }

  #one(what: ControlKind, by = program, lr?: number): Promise<Obeyed> {
    if (this.#ended) return Promise.reject(new ConfigError(`${named(what)}: the run has ended`));
    if (!this.#leads) return Promise.reject(new ConfigError(`${named(what)}: ask on rank 0, for all ranks`));
    return new Promise((resolve, reject) => {
      this.#wishes.push({ what, by, lr: what === 'lr' ? lr : undefined, resolve, reject });
    });
  }

  /** All that waits. */
  take(): Wish[] {
    return this.#wishes.splice(0);
  }
  /** Obeys them. No step may be in flight. What fails on the way is the run's own failure. */
  async apply(wishes: readonly OwnWish[]): Promise<void> {
    for (const [i, wish] of wishes.entries()) {
      const { what, by, lr } = wish;
      const entry = { what, by, ...(lr === undefined ? {} : { lr }) };
      try {
        const refused = this.#refusal(wish);
        this.#run.told(refused === undefined ? entry : { ...entry, refused });
        if (refused !== undefined) wish.reject?.(new ConfigError(`${named(what)}: ${refused}`));
        else {
          const obeyed = { step: this.#run.step(), ...(await this.#obey(what)) };
          wish.resolve?.(obeyed);
        }
      } catch (error) {
        for (const { reject } of wishes.slice(i)) reject?.(error);
        throw error;
      }
    }
  }

  /** Why a wish is not obeyed, if it is not. A rate is set here, since only setting it shows. */
  #refusal({ what, lr }: Wish): string | undefined {
    if (what === 'evaluate' && !this.#run.evaluate) return 'the run has no validation data';
    if (what === 'checkpoint' && !this.#run.checkpoint) return 'the Trainer has no dir to write to';
    if (lr === undefined) return undefined;
    try {
      this.#run.setLr(lr);
      return undefined;
    } catch (error) {
      if (error instanceof ConfigError) return error.message;
      throw error;
    }
  }

  async #obey(what: ControlKind): Promise<Omit<Obeyed, 'step'>> {
    const { evaluate, checkpoint } = this.#run;
    if (what === 'evaluate' && evaluate) return { metrics: await evaluate() };
    if (what === 'checkpoint' && checkpoint) return checkpoint();
    if (what === 'stopAfterEpoch') this.endsWithEpoch = true;
    return {};
  }

  /** Takes wishes from the run's folder too (`anneal control`, the live page), from now to the end. */
  async listen(dir: string, attempt: number): Promise<void> {
    this.#inbox = await ControlInbox.open(dir, attempt, {
      ask: (request, by) => this.#ask(request, by),
      refused: (sentence) => this.#run.notice(sentence),
      step: () => this.#run.step(),
    });
  }

  /** No step comes any more. */
  async end(): Promise<void> {
    this.#ended = true;
    for (const { what, reject } of this.#wishes.splice(0))
      reject?.(new ConfigError(`${named(what)}: the run ended before its next step`));
    await this.#inbox?.close();
  }
}

const named = (what: ControlKind): string => (what === 'lr' ? 'control.set' : `control.${what}`);
