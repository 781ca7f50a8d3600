export { type DataParallelOptions, dataParallel } from './data-parallel.ts';
export type { Parallel } from './parallel.ts';
export type { CollectiveOptions, Pending, ProcessGroup, Reduction } from './process-group.ts';
export type { Store } from './store.ts';
export { type Failure, type GroupOptions, type InitOptions, init, run, type World } from './world.ts';
