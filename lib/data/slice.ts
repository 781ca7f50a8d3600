import { setImmediate as macrotask } from 'node:timers/promises';

const budget = 4; // milliseconds of main-thread work between two turns of the event loop

// One clock for all: many short jobs in a row, each within its budget, would starve the event loop together.
let since = 0;

/**
 * Lets the event loop turn if the main thread has worked through its slice: call it between pieces that take well under a
 * millisecond. When a piece of work is done affects no result.
 */
export async function breathe(): Promise<void> {
  if (performance.now() - since <= budget) return;
  await macrotask();
  since = performance.now();
}
