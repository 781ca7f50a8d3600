export { diagnose, type Finding, type Severity } from './diagnosis/index.ts';
export {
  type ConfusedPair,
  classesShown,
  type EvalTables,
  evalFolder,
  readEvalTables,
  type ShownInput,
  type ShownMistake,
} from './eval-tables.ts';
export {
  formatRecord,
  History,
  type HistoryFile,
  type HistoryRecord,
  type HistoryValue,
  parseRecord,
  readHistory,
  type Series,
  type Sink,
  supersede,
} from './history.ts';
export { JsonLinesSink } from './jsonl.ts';
export * from './metrics/index.ts';
export {
  ProgressBar,
  type ProgressBarOptions,
  type ProgressState,
  type ProgressStream,
  RateMeter,
  renderProgress,
  secondsLeft,
} from './progress.ts';
export { type ReportFinding, reportOf } from './report/index.ts';
export { findRuns, type RunFolder, type RunState, readRun } from './runs/index.ts';
export { readSamples, type SampleOutputs, type ShownSample } from './samples.ts';
export { TensorBoardSink } from './tensorboard/index.ts';
export { formatDuration, formatNumber, formatRate, sparkline, type TerminalImageOptions, terminalImage } from './text.ts';
