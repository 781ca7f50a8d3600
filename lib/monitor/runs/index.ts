export { differences, type Figure, figuresOf, flat, lessIsBetter, lossesOf } from './figures.ts';
export { findRuns, historyFile, type RunFolder, type RunState, readRun } from './read.ts';
