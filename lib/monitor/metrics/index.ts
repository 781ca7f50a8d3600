export { Accuracy, accuracy, TopKAccuracy, type TopKOptions } from './accuracy.ts';
export { Calibration, type CalibrationOptions, type ReliabilityBin } from './calibration.ts';
export { type Classes, predictedClasses, probabilitiesOf, type Scores } from './classes.ts';
export { type AverageMetrics, type ClassMetrics, ConfusionMatrix, type ConfusionOptions } from './confusion.ts';
export { type RankingAverage, RankingMetrics, type RankingOptions } from './ranking.ts';
export { Perplexity, type RegressionFigures, RegressionMetrics } from './regression.ts';
export { ConfidentlyWrong, type DoubtfulSample, Stratified, suspectedLabelErrors } from './samples.ts';
