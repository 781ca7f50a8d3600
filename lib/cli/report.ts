/** A run as one HTML page. */
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { diagnose } from '../monitor/diagnosis/index.ts';
import { reportOf } from '../monitor/report/index.ts';
import { readRun } from '../monitor/runs/index.ts';
import { writeWhole } from '../train/whole-file.ts';

/** `anneal report`. Writes report.html into the run's folder unless told otherwise; '-' is the terminal. */
export async function report(run: string, { output }: { output?: string }): Promise<void> {
  const page = await reportOf(run, ({ history }) => diagnose(history.records));
  if (output === '-') {
    process.stdout.write(page);
    return;
  }
  const path = resolve(output ?? `${(await readRun(run)).dir}/report.html`);
  await writeWhole(path, page);
  console.log(pathToFileURL(path).href);
}
