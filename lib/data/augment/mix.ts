// Mixing the samples of a batch: mixup and cutmix.
import { ConfigError, checkOptions, checkText, describe } from '../../native/errors.ts';
import type { PhiloxStream } from '../../tensor/philox.ts';
import { checkP, checkWhole } from './check.ts';
import type { Cutmix, MixChoice, MixTransform, Mixup } from './descriptors.ts';

/** Options of `mixup` and `cutmix`. */
export interface MixOptions {
  /** The mixing weight is drawn from Beta(alpha, alpha), one for each batch. Default 1, evenly from 0 to 1. */
  alpha?: number;
  /** How many classes integer targets have: they become rows of that many weights, f32. Needed unless targets are f32 already. */
  numClasses?: number;
  /** The columns to be mixed. Default ['x']. */
  columns?: readonly string[];
  /** The column of targets. Default 'y'. */
  target?: string;
  /** The chance that a batch is mixed. Default 1. Targets become soft in any case. */
  p?: number;
}

function checkMix(where: string, options: MixOptions) {
  checkOptions(where, options, ['alpha', 'numClasses', 'columns', 'target', 'p']);
  const { alpha = 1, numClasses, columns = ['x'], target = 'y', p = 1 } = options;
  if (!(typeof alpha === 'number' && alpha > 0 && alpha < Infinity))
    throw new ConfigError(`${where}: alpha must be a finite number > 0, got ${describe(alpha)}. Mixup's authors use 0.1 to 1.`);
  if (!Array.isArray(columns) || columns.length === 0 || columns.some((c) => typeof c !== 'string'))
    throw new ConfigError(`${where}: columns must be a list of at least one column's name, got ${describe(columns)}.`);
  return {
    alpha,
    numClasses: numClasses === undefined ? undefined : checkWhole(where, 'numClasses', numClasses, 2, 2 ** 20),
    columns,
    target: checkText(where, 'target', target),
    p: checkP(where, p),
  };
}

/**
 * mixup (Zhang et al., 2018), as torchvision's MixUp: sample k of a finished batch becomes lambda x[k] + (1 - lambda) x[k - 1] (the first's partner is the
 * last), its target alike; lambda ~ Beta(alpha, alpha), one for each batch, keyed by (seed, epoch, the batch's first sample). Integer targets become
 * weights over `numClasses`; f32 targets (regression, or soft already) are mixed as they are. Columns must reach the model as f32.
 * Throws ConfigError for options out of range.
 */
export function mixup(options: MixOptions = {}): Mixup {
  return { kind: 'mixup', ...checkMix('augment.mixup', options) };
}

/**
 * CutMix (Yun et al., 2019), as torchvision's CutMix: a rectangle of each image, of 1 - lambda of the area before it is cut off at the border, is taken from
 * the sample before it in the batch; the target's weights are the areas' shares. Otherwise as `mixup`. Columns are images.
 * Throws ConfigError for options out of range.
 */
export function cutmix(options: MixOptions = {}): Cutmix {
  return { kind: 'cutmix', ...checkMix('augment.cutmix', options) };
}

/** One of the given mixes for each batch, each as likely: `augment.mixChoice([augment.mixup(m), augment.cutmix(m)])`. */
export function mixChoice(of: readonly (Mixup | Cutmix)[]): MixChoice {
  const right = Array.isArray(of) && of.length > 0 && of.every((t) => t?.kind === 'mixup' || t?.kind === 'cutmix');
  if (!right)
    throw new ConfigError(
      `augment.mixChoice: expected a list of augment.mixup(...) and augment.cutmix(...), got ${describe(of)}.`,
    );
  const kinds = new Set(of.map((t) => `${t.target} ${t.numClasses}`));
  if (kinds.size > 1)
    throw new ConfigError(
      'augment.mixChoice: its mixes must have the same target and numClasses, so that batches are of one kind.',
    );
  return { kind: 'mixChoice', of };
}

function normal(rng: PhiloxStream): number {
  const u = 1 - rng.uniform();
  return Math.sqrt(-2 * Math.log(u)) * Math.cos(2 * Math.PI * rng.uniform());
}

/** Gamma(shape, 1) by Marsaglia and Tsang (2000). */
function gamma(shape: number, rng: PhiloxStream): number {
  if (shape < 1) return gamma(shape + 1, rng) * (1 - rng.uniform()) ** (1 / shape);
  const d = shape - 1 / 3;
  const c = 1 / Math.sqrt(9 * d);
  for (;;) {
    const x = normal(rng);
    const v = (1 + c * x) ** 3;
    if (v > 0 && Math.log(1 - rng.uniform()) < 0.5 * x * x + d - d * v + d * Math.log(v)) return d * v;
  }
}

/** Beta(alpha, alpha). */
export function drawBeta(alpha: number, rng: PhiloxStream): number {
  const a = gamma(alpha, rng);
  const b = gamma(alpha, rng);
  // Both may round to 0 for a tiny alpha, whose mass is at the two ends.
  if (a + b === 0) return rng.uniform() < 0.5 ? 0 : 1;
  return a / (a + b);
}

/** What is done to one batch. `box`: x1, y1, x2, y2, for cutmix. */
export interface Mix {
  readonly transform: Mixup | Cutmix;
  readonly lambda: number;
  readonly box?: readonly [number, number, number, number];
}

/** torchvision's rectangle for lambda, and the weight that what is left of it gives. */
export function cutBox(lambda: number, height: number, width: number, x: number, y: number) {
  const r = 0.5 * Math.sqrt(1 - lambda);
  const [halfX, halfY] = [Math.trunc(r * width), Math.trunc(r * height)];
  const box = [Math.max(0, x - halfX), Math.max(0, y - halfY), Math.min(width, x + halfX), Math.min(height, y + halfY)] as const;
  return { box, lambda: 1 - ((box[2] - box[0]) * (box[3] - box[1])) / (width * height) };
}

/** Draws a batch's mix; `extent` are the images' height and width. */
export function drawMix(t: MixTransform, extent: (t: Cutmix) => readonly [number, number], rng: PhiloxStream): Mix {
  const chosen = t.kind === 'mixChoice' ? (t.of[rng.below(t.of.length)] as Mixup | Cutmix) : t;
  const mixed = rng.uniform() < chosen.p;
  const lambda = mixed ? drawBeta(chosen.alpha, rng) : 1;
  if (chosen.kind === 'mixup') return { transform: chosen, lambda };
  const [height, width] = extent(chosen);
  return { transform: chosen, ...cutBox(lambda, height, width, rng.below(width), rng.below(height)) };
}
