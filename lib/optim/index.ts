/** Optimizers: fused multi-tensor updates, parameter groups, clipping. */
export { Adagrad, type AdagradOptions } from './adagrad.ts';
export { Adam, type AdamOptions, AdamW } from './adam.ts';
export { type AveragedWeights, type EMAOptions, ema, type SWAOptions, swa } from './averaged-weights.ts';
export { clipGradNorm } from './clip.ts';
export { type DecayGroup, type Named, type ParamGroupsOptions, paramGroups } from './groups.ts';
export { LAMB, type LAMBOptions } from './lamb.ts';
export { Lion, type LionOptions } from './lion.ts';
export { Muon, type MuonGroupsOptions, type MuonOptions, muonGroups } from './muon.ts';
export {
  type GroupInput,
  type GroupOptions,
  Optimizer,
  type OptimizerState,
  type ParamGroup,
  type Trainable,
} from './optimizer.ts';
export { recipes } from './recipes.ts';
export { RMSprop, type RMSpropOptions } from './rmsprop.ts';
export { type ScaleOptions, type ScalingRule, scaleLearningRate } from './scaling.ts';
export { SGD, type SGDOptions } from './sgd.ts';
export { type BeginOptions, type StepReport, StepState } from './step-state.ts';
