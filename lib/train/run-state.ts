import type { LrScales } from './rate-control.ts';

/** An evaluation: its step and figures. */
export interface Best {
  step: number;
  metrics: Record<string, number>;
}

/** What a run's checkpoints keep beside the stepper's state. */
export interface RunState {
  attempt: number;
  /** The hooks' states by name. */
  hooks: Record<string, unknown>;
  best: Best | null;
  /** The last evaluation. */
  evaluated: Best;
  lrScale: LrScales;
  /** Why the run is over; null where a resume goes on. */
  stopReason: string | null;
}

/** Stopped from outside: a resume goes on. */
export const interrupted = (reason: string | undefined): boolean => reason === 'aborted' || reason === 'stopped';
