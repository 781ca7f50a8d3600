import { mkdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CheckpointError, ConfigError, checkText, describe } from '../native/errors.ts';
import { Module, type StateDict } from '../nn/module.ts';
import { rngState, setRngState } from '../tensor/context.ts';
import { type Checkpoint, latestValid, type WriteCheckpointOptions, writeCheckpoint } from './checkpoint-files.ts';
import { encoded, loadSafetensors } from './state.ts';
import type { Stepper, StepperState } from './stepper.ts';

const averageFile = 'average.safetensors';

/** What rides along in a checkpoint: tensors by file name, and JSON. */
export interface Extra {
  readonly tensors?: Readonly<Record<string, StateDict>>;
  readonly json?: unknown;
}

interface SavedState {
  stepper: StepperState;
  rng: { seed: number; attempt: number };
  optimizer: { kind: string; groups: Record<string, unknown>[] };
  extra: unknown;
}

/** By its parts: the class itself imports this file. */
function checkStepper(where: string, stepper: Stepper): void {
  const { model, optimizer } = Object(stepper) as Partial<Stepper>;
  if (!(model instanceof Module) || optimizer === undefined)
    throw new ConfigError(`${where}: expected a Stepper, got ${describe(stepper)}.`);
}

/** Copies everything that a resume needs to the host now, and returns a function that writes it: training may go on in between. */
export async function stageCheckpoint(
  dir: string,
  stepper: Stepper,
  extra: Extra = {},
  options: WriteCheckpointOptions = {},
): Promise<() => Promise<Checkpoint>> {
  checkText('saveCheckpoint', 'the folder', dir);
  checkStepper('saveCheckpoint', stepper);
  const optimizer = stepper.optimizer.stateDict();
  const rng = rngState();
  const tensors = {
    'weights.safetensors': stepper.model.stateDict(),
    'optimizer.safetensors': optimizer.tensors,
    ...(stepper.average ? { [averageFile]: stepper.average.state() } : {}),
    ...extra.tensors,
  };
  // All reads are queued before the first is awaited: steps queued from now on come after every one of them.
  const [own, ...contents] = await Promise.all([stepper.state(), ...Object.values(tensors).map(encoded)]);
  const state: SavedState = {
    stepper: own,
    rng,
    optimizer: { kind: optimizer.kind, groups: optimizer.groups },
    extra: extra.json ?? null,
  };
  const files: Record<string, string | AsyncIterable<Uint8Array>> = { 'state.json': JSON.stringify(state) };
  Object.keys(tensors).forEach((name, i) => {
    files[name] = contents[i] as AsyncIterable<Uint8Array>;
  });
  return () => writeCheckpoint(dir, own.attempts, files, options);
}

/** Writes a checkpoint of the stepper now. */
export async function saveCheckpoint(
  dir: string,
  stepper: Stepper,
  extra?: Extra,
  options?: WriteCheckpointOptions,
): Promise<Checkpoint> {
  return (await stageCheckpoint(dir, stepper, extra, options))();
}

/** What was found and put back. */
export interface Restored {
  readonly checkpoint: Checkpoint;
  /** Newer checkpoints that were not whole, with the reason. */
  readonly rejected: readonly { path: string; reason: string }[];
  readonly extra: unknown;
  /** Reads a file of extra tensors, if the checkpoint has it. */
  tensors(name: string): Promise<StateDict | undefined>;
}

/** Puts the stepper where the newest valid checkpoint in `dir` left it; undefined where there is none. */
export async function loadCheckpoint(dir: string, stepper: Stepper): Promise<Restored | undefined> {
  checkText('loadCheckpoint', 'the folder', dir);
  checkStepper('loadCheckpoint', stepper);
  const { checkpoint, rejected } = await latestValid(dir);
  if (!checkpoint) {
    if (rejected.length)
      throw new CheckpointError(
        `${dir}: none of its ${rejected.length} checkpoints is whole: ${rejected.map((r) => `${r.path}: ${r.reason}`).join('; ')}. Start anew without resume, or restore the folder.`,
      );
    return undefined;
  }
  const at = (name: string) => join(checkpoint.path, name);
  const state = JSON.parse(await readFile(at('state.json'), 'utf8')) as SavedState;
  const weights = await loadSafetensors(at('weights.safetensors'));
  const optimizer = await loadSafetensors(at('optimizer.safetensors'));
  stepper.model.loadStateDict(weights);
  stepper.optimizer.loadStateDict({ ...state.optimizer, tensors: optimizer });
  for (const t of [...weights.values(), ...optimizer.values()]) t.dispose();
  await loadAverage(stepper, state.stepper.average, at(averageFile));
  stepper.load(state.stepper);
  setRngState(state.rng);
  return {
    checkpoint,
    rejected,
    extra: state.extra,
    tensors: async (name) => (name in checkpoint.manifest.files ? loadSafetensors(at(name)) : undefined),
  };
}

/** Averages of weights; a run that had none begins them with the weights that it goes on from. */
async function loadAverage(stepper: Stepper, saved: StepperState['average'], path: string): Promise<void> {
  const { average } = stepper;
  if (!average || saved === undefined) return;
  if (saved !== average.kind)
    throw new CheckpointError(
      `${path}: these averages are of ${saved}, and the run asks for ${average.kind}. Ask for ${saved}, or start anew without resume.`,
    );
  const tensors = await loadSafetensors(path);
  average.load(tensors);
  for (const t of tensors.values()) t.dispose();
}

/** Where a fresh start puts what the run's folder held. */
const previous = 'previous';

/**
 * Moves what an earlier run left in the folder out of the way of one that starts anew: its checkpoints, of later steps perhaps, must not be what a
 * later resume finds. One run is kept so.
 */
export async function setAside(dir: string, names: readonly string[]): Promise<void> {
  const old: string[] = [];
  for (const name of names) if (await stat(join(dir, name)).catch(() => undefined)) old.push(name);
  if (old.length === 0) return;
  const to = join(dir, previous);
  await rm(to, { recursive: true, force: true });
  await mkdir(to);
  for (const name of old) await rename(join(dir, name), join(to, name));
}
