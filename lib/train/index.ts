export type { AnyBatch, AnyWindow, BatchSource, TensorBatch } from './batch.ts';
export type { ScaleLr } from './batch-scaling.ts';
export { loadCheckpoint, saveCheckpoint } from './checkpoint.ts';
export {
  type Checkpoint,
  type CheckpointManifest,
  type CheckpointScore,
  type Keep,
  type LatestValid,
  latestValid,
  type Pruned,
  pruneCheckpoints,
  verifyCheckpoint,
  type WriteCheckpointOptions,
  writeCheckpoint,
} from './checkpoint-files.ts';
export {
  EarlyStopping,
  type EarlyStoppingDecision,
  type EarlyStoppingOptions,
  type EarlyStoppingState,
  type EarlyStopReason,
  modeOf,
} from './early-stopping.ts';
export type { ConfusionTable, MetricName, StratumMetrics } from './eval-metrics.ts';
export type { EvalMetrics, TrainEvent } from './events.ts';
export { type Decoder, type GenerateOptions, generate } from './generate.ts';
export type { Decision, Hook } from './hooks.ts';
export type { ControlEntry, RunControl } from './live-control.ts';
export type { LearningRateCurve, LearningRateSuggestions } from './lr-curve.ts';
export type { FindLearningRateOptions } from './lr-finder.ts';
export { type Predictable, type Prediction, type PredictOptions, predict } from './predict.ts';
export type { Run } from './run.ts';
export {
  encodeSafetensors,
  readSafetensors,
  type SafetensorsEntry,
  SafetensorsFile,
  type StoredDType,
  type TensorInfo,
  writeSafetensors,
} from './safetensors.ts';
export type { MadeSamples, SampleImage, SampleMoment, SampleOutput, SamplesOptions } from './sample-outputs.ts';
export { loadSafetensors, saveSafetensors } from './state.ts';
export { type LossFunction, Stepper, type StepperOptions, type StepResult } from './stepper.ts';
export type { Logger } from './telling.ts';
export { type LoadTorchOptions, loadTorch, type TorchValue } from './torch-file/index.ts';
export { type FitOptions, type FitResult, Trainer, type TrainerLoss, type TrainerOptions } from './trainer.ts';
export { type UpdateBatchNormOptions, updateBatchNorm } from './update-batch-norm.ts';
export type { FileContent } from './whole-file.ts';
