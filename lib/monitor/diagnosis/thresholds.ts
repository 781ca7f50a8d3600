/**
 * Every number by which a run is judged. They were set on 48 generated runs and held against 48 others that were not looked at meanwhile
 * (docs/diagnosis.md has both tables); ratios have no unit, steps are optimizer steps.
 */
export const thresholds = {
  /** Steps before which a run is not judged by the course of its loss. */
  leastSteps: 40,
  overfitting: {
    /** Evaluations that it takes, and those at the end whose median counts. */
    evaluations: 4,
    last: 3,
    /** The validation loss has risen above its best by so much of it, */
    rise: 0.1,
    /** and by so much of the first training loss, below which it is no matter; */
    riseOfStart: 0.02,
    /** while the training loss fell by so much of what it was then. */
    trainFall: 0.1,
  },
  underfitting: {
    /** The mean training loss changes by less than this share between the third and the last quarter, or the median validation loss by `stillSeen`, */
    still: 0.05,
    stillSeen: 0.02,
    /** and is still above this share of what it was at the beginning, */
    left: 0.6,
    /** or, where the classes or R2 are known, the model has less than this share of the way from guessing to perfect; */
    skill: 0.6,
    /** not before this share of the run. */
    after: 0.5,
    /** Validation may be above training by this share; more is overfitting. */
    gap: 0.3,
  },
  learningRateTooHigh: {
    /** The loss ends so many times above its best, */
    rise: 1.5,
    /** or above its beginning, */
    above: 1.2,
    /** or once shot up so many times above its beginning (median of 3 steps) and has not come down below `left` of it, */
    shot: 3,
    /** or was so many times above its beginning for 10 steps, whatever came then, */
    burst: 10,
    /** or updates move the weights by this share of their norm at each step, and the loss ends above `left` of its beginning. */
    updateRatio: 0.3,
    left: 0.6,
  },
  learningRateTooLow: {
    /** Updates move the weights by less than this share of their norm, */
    updateRatio: 2e-4,
    /** the loss is still above this share of its beginning, */
    left: 0.7,
    /** and either all steps together cannot have moved them by this share, */
    travelled: 0.05,
    /** or it goes on falling: Kendall's tau of 12 medians (1: every one below those before it); */
    falling: 0.5,
    /** not before this share of the run. */
    after: 0.25,
  },
  ratePlan: {
    /** Relative difference of the applied rate from the schedule's. */
    apart: 0.01,
    /** At this share of the steps. */
    share: 0.05,
  },
  explodingGradients: {
    /** Median norm over 10 steps, in multiples of that of the first 10, */
    growth: 50,
    /** or clipping leaves less than this of the gradient in half of all steps. */
    clipped: 0.01,
    /** or it is larger than this in the median of all steps. */
    norm: 1000,
  },
  vanishingGradients: {
    /** Root mean square of a layer's gradient, against the layer where that is largest, */
    layers: 1e-3,
    /** in this share of the records of the layers. */
    records: 0.5,
    /** Where layers are not recorded: the global norm, while the loss is above `left` of its beginning. */
    norm: 1e-6,
    left: 0.9,
  },
  spikes: {
    /** Steps that a value is compared with, and how many of them there must be. */
    window: 128,
    least: 16,
    /** Standard deviations above the mean, and multiples of the median. */
    z: 6,
    lossTimes: 3,
    normTimes: 8,
    /** In multiples of the run's first values; what is smaller is no harm. */
    lossFloor: 1,
    normFloor: 8,
    /** Steps after which a spike is no spike but another state. */
    longest: 8,
    /** Where more than this share of the steps are spikes, the run is noisy as a whole. */
    share: 0.25,
    /** Spikes that are told one by one. */
    told: 5,
  },
  deadUnits: {
    /** Share of a layer's units that are 0 for all samples in the last two records of the layers; for an error. */
    share: 0.5,
    error: 0.9,
  },
  saturatedSoftmax: {
    /** Share of rows whose largest probability is above 0.99. */
    share: 0.8,
    /** For the output of a classifier: this share in any two records that follow each other, while the loss is above `loss`: sure and wrong. */
    output: 0.5,
    loss: 0.7,
  },
  lossScale: {
    /** A scale that is no use any more. */
    collapsed: 1,
    /** Share of the last `window` steps that are skipped. */
    skipped: 0.3,
    window: 50,
  },
  dataStarvation: {
    /** Share of the loop's time that goes by waiting for data, in the median of the last `window` steps; the device is waited for less than `device`. */
    data: 0.5,
    device: 0.1,
    window: 100,
    /** Waits below this are no matter, in seconds. */
    least: 0.001,
  },
  classCollapse: {
    /** The overall accuracy, and the recall of a class with at least so many samples, in the last two evaluations that tell classes. */
    accuracy: 0.75,
    recall: 0.1,
    support: 5,
  },
} as const;
