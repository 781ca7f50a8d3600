// Data on its way to the model: `export * as data from './data/index.ts'`, `export * as augment from './data/augment/index.ts'`.
export { type Batch, type HostBatch, toDevice } from './collate.ts';
export { type CsvOptions, csv } from './csv.ts';
export {
  ArrayDataset,
  type Column,
  type ColumnBacked,
  type ColumnSource,
  concat,
  type Dataset,
  type Encoding,
  type Row,
  type SampleContext,
  type SampleStream,
  subset,
  TensorDataset,
} from './dataset.ts';
export type { HostArray, TypedArray } from './host.ts';
export { type IdxOptions, idx } from './idx.ts';
export { type ImageFolder, type ImageFolderOptions, type InMemoryOptions, imageFolder } from './image-folder.ts';
export { type BadLine, type BadLinePolicy, type JsonLines, type JsonLinesOptions, jsonLines } from './json-lines.ts';
export { type Cursor, type EpochOptions, Loader, loader, type Window, type WindowsOptions } from './loader.ts';
export { type Mnist, type MnistOptions, mnist } from './mnist.ts';
export type { LoaderOptions, SampleFunction, SampleInfo } from './options.ts';
export { type PackedTokens, type PackedTokensOptions, packedTokens } from './packed-tokens.ts';
export { type PadOptions, padded } from './padding.ts';
export { type ParquetOptions, parquet } from './parquet.ts';
export { balancedSampler, type Sampler, type WeightedOptions, weightedSampler } from './sampler.ts';
export type { Shard, Share } from './shard.ts';
export { type Fold, kFold, type Parts, type SplitOptions, split, type View } from './split.ts';
export { TableDataset, type TableOptions } from './table.ts';
export {
  type CharTokens,
  charTokens,
  type TextOptions,
  TextWindows,
  type TextWindowsOptions,
  text,
} from './text.ts';
export { type Tokenizer, type TrainTokenizerOptions, tokenizer, trainTokenizer } from './tokenizer.ts';
