import { classCollapse, dataStarvation } from './data.ts';
import { overfitting, underfitting } from './fit.ts';
import { explodingGradients, vanishingGradients } from './gradients.ts';
import { deadUnits, saturatedSoftmax } from './layers.ts';
import { learningRateTooHigh, learningRateTooLow, ratePlan } from './learning-rate.ts';
import { lossScaleCollapse } from './loss-scale.ts';
import { nonFinite } from './non-finite.ts';
import type { Rule } from './rule.ts';
import { spikes } from './spikes.ts';

export type { Rule };

/** All rules, causes before what they cause: of one severity, findings are told in this order. */
export const rules: readonly Rule[] = [
  nonFinite,
  lossScaleCollapse,
  explodingGradients,
  learningRateTooHigh,
  deadUnits,
  saturatedSoftmax,
  vanishingGradients,
  spikes,
  learningRateTooLow,
  overfitting,
  underfitting,
  classCollapse,
  ratePlan,
  dataStarvation,
];
