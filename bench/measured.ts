// What bench/claims.ts and bench/precision.ts share: a file of outcomes that is gone on with, and the network for few images.
import { appendFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { nn } from 'anneal';

/** Outcomes of runs, a line of JSON each; those that the file has already are there from the start. */
export class Outcomes<O> {
  readonly all: O[];
  constructor(readonly file: string) {
    mkdirSync(dirname(file), { recursive: true });
    const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n').filter(Boolean) : [];
    this.all = lines.map((line) => JSON.parse(line));
  }
  /** Makes one, keeps it, and tells how long it took. */
  async add(make: () => Promise<O>): Promise<O> {
    const start = performance.now();
    const outcome = await make();
    this.all.push(outcome);
    appendFileSync(this.file, `${JSON.stringify(outcome)}\n`);
    console.error(`${JSON.stringify(outcome)}, ${((performance.now() - start) / 1000).toFixed(0)} s`);
    return outcome;
  }
}

/** 16 and 32 filters, 128 hidden units: 596,000 weights. */
export const smallCnn = (dropout = false): nn.Sequential =>
  new nn.Sequential(
    new nn.Conv2d(1, 16, { kernelSize: 3 }),
    new nn.ReLU(),
    new nn.Conv2d(16, 32, { kernelSize: 3 }),
    new nn.ReLU(),
    new nn.MaxPool2d(2),
    ...(dropout ? [new nn.Dropout(0.25)] : []),
    new nn.Flatten(),
    new nn.Linear(4608, 128),
    new nn.ReLU(),
    ...(dropout ? [new nn.Dropout(0.5)] : []),
    new nn.Linear(128, 10),
  );
