export { Plateau, type PlateauDecision, type PlateauOptions, type PlateauState, plateau } from './plateau.ts';
export { type PartJSON, Schedule, type ScheduleJSON } from './schedule.ts';
export {
  constant,
  cosine,
  cosineRestarts,
  custom,
  exponential,
  fromJSON,
  inverseSqrt,
  linear,
  type OneCycleOptions,
  oneCycle,
  oneMinusSqrt,
  polynomial,
  step,
  warmup,
  wsd,
} from './shapes.ts';
