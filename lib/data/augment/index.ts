export type { Transform } from './descriptors.ts';
export {
  type FillOptions,
  type ImageOptions,
  normalize,
  randomAffine,
  randomCrop,
  randomErasing,
  randomHorizontalFlip,
  randomResizedCrop,
  randomRotation,
  randomVerticalFlip,
} from './image.ts';
export { colorJitter, randAugment } from './image-color.ts';
export { cutmix, type MixOptions, mixChoice, mixup } from './mix.ts';
export { type SmoteOptions, smote } from './smote.ts';
export { featureMask, gaussianNoise } from './tabular.ts';
export { randomDelete, randomSwap, type TokenMaskOptions, tokenMask } from './text.ts';
export { synonymReplacement, type Thesaurus, wordnet } from './text-synonyms.ts';
export { type BackTranslation, type BackTranslationOptions, backTranslation } from './text-translate.ts';
export {
  type ApertiumOptions,
  apertium,
  type TransformersJsOptions,
  type TranslationPipeline,
  type Translator,
  transformersJs,
} from './translators.ts';
