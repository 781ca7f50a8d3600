// Every loss, for the package's `losses`.
export * from '../loss.ts';
export {
  type BinaryFocalOptions,
  binaryFocal,
  type DiceOptions,
  dice,
  type FocalOptions,
  focal,
  type HingeOptions,
  hinge,
  hingeEmbedding,
  nll,
} from './classes.ts';
export { type CtcOptions, ctc } from './ctc.ts';
export { contrastive, cosineEmbedding, type TripletOptions, tripletMargin } from './distances.ts';
export { type GaussianOptions, gaussianNll, type PoissonOptions, poissonNll, smoothL1 } from './regression.ts';
export type { ClassOptions } from './shared.ts';
