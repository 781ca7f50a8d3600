import { checkOptions } from '../native/errors.ts';
import { Adam, type AdamOptions, AdamW } from './adam.ts';
import { type Named, paramGroups } from './groups.ts';
import { SGD, type SGDOptions } from './sgd.ts';

/** The decay of a recipe goes to its groups, so that biases and norms have none. */
type Over<O> = Partial<Omit<O, 'weightDecay'>> & { weightDecay?: number };

function split<O extends object>(where: string, options: Over<O>, decay: number): { weightDecay: number; rest: Partial<O> } {
  checkOptions(where, options, Object.keys(Object(options)));
  const { weightDecay = decay, ...rest } = options;
  return { weightDecay, rest: rest as Partial<O> };
}

/**
 * Starting points of the training guide (docs, how to train a neural network). Each takes a model, and options that override it; decay is never
 * applied to biases and norms.
 */
export const recipes = {
  /** The guide's first choice: Adam, lr 1e-3, betas 0.9 and 0.999, no decay. */
  adam: (model: Named, options: Over<AdamOptions> = {}): Adam => {
    const { weightDecay, rest } = split<AdamOptions>('recipes.adam', options, 0);
    return new Adam(paramGroups(model, { weightDecay }), { lr: 1e-3, betas: [0.9, 0.999], ...rest });
  },
  /** The same with decoupled decay 0.01, the guide's standard for Adam: most networks, transformers with a warm-up. */
  adamW: (model: Named, options: Over<AdamOptions> = {}): AdamW => {
    const { weightDecay, rest } = split<AdamOptions>('recipes.adamW', options, 0.01);
    return new AdamW(paramGroups(model, { weightDecay }), { lr: 1e-3, betas: [0.9, 0.999], ...rest });
  },
  /**
   * For squeezing out the last of it, with tuning: SGD with momentum 0.9, lr 0.1 (the guide's range is 0.01 to 0.1), decay 1e-4 (1e-4 to 1e-3).
   */
  sgd: (model: Named, options: Over<SGDOptions> = {}): SGD => {
    const { weightDecay, rest } = split<SGDOptions>('recipes.sgd', options, 1e-4);
    return new SGD(paramGroups(model, { weightDecay }), { lr: 0.1, momentum: 0.9, ...rest });
  },
  /** SGD for small data or fine-tuning: lr 0.01, momentum 0.9, decay 1e-3. */
  sgdGentle: (model: Named, options: Over<SGDOptions> = {}): SGD => {
    const { weightDecay, rest } = split<SGDOptions>('recipes.sgdGentle', options, 1e-3);
    return new SGD(paramGroups(model, { weightDecay }), { lr: 0.01, momentum: 0.9, ...rest });
  },
};
