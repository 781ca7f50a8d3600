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
export {
  encodeSafetensors,
  readSafetensors,
  type SafetensorsEntry,
  SafetensorsFile,
  type StoredDType,
  type TensorInfo,
  writeSafetensors,
} from './safetensors.ts';
export type { FileContent } from './whole-file.ts';
