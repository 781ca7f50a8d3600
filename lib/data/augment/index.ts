export type { Transform } from './descriptors.ts';
export * from './image.ts';
export { colorJitter, randAugment } from './image-color.ts';
export { cutmix, type MixOptions, mixChoice, mixup } from './mix.ts';
export { type SmoteOptions, smote } from './smote.ts';
export { featureMask, gaussianNoise } from './tabular.ts';
