/** Loaded before an example: writes what its Trainers find wrong with their runs, a line of JSON each, and each run's end, to the file that ANNEAL_WATCHED names. */
import { subscribe } from 'node:diagnostics_channel';
import { appendFileSync } from 'node:fs';

const path = process.env.ANNEAL_WATCHED as string;
const write = (line: object) => appendFileSync(path, `${JSON.stringify(line)}\n`);
subscribe('anneal:finding', (message) => write((message as { finding: object }).finding));
subscribe('anneal:run', (message) => {
  const { type, step } = message as { type: string; step: number };
  if (type === 'end') write({ end: step });
});
