/** The runs of a folder in a table, or two of them side by side. */
import { relative } from 'node:path';
import { formatDuration, formatNumber, formatRecord, sparkline } from '../monitor/index.ts';
import { differences, type Figure, figuresOf, findRuns, lossesOf, type RunFolder, readRun } from '../monitor/runs/index.ts';
import { table } from '../monitor/text.ts';
import { ConfigError } from '../native/errors.ts';

/** Control characters of a log that someone else wrote do nothing in a terminal; long texts are cut. */
const plain = (text: string, width = 60): string => {
  const clean = text.replace(/[\p{Cc}\p{Cf}]/gu, ' ');
  return clean.length > width ? `${clean.slice(0, width - 3)}...` : clean;
};
const date = (ms: number | undefined): string =>
  ms === undefined ? '-' : new Date(ms).toISOString().slice(0, 16).replace('T', ' ');
const nameIn = (folder: string, run: RunFolder): string => plain(relative(folder, run.dir) || run.name, 40);

/** What `anneal runs --json` tells of a run. */
function told(run: RunFolder, figures: readonly Figure[]) {
  const { dir, name, state, reason, started, updated, steps, totalSteps, history } = run;
  const { attempt, damaged } = history;
  return { dir, name, state, reason, started, updated, steps, totalSteps, attempt, damaged: damaged.length, figures };
}

const best = (figure: Figure | undefined): string => (figure ? formatNumber(figure.best) : '-');

function listing(folder: string, runs: readonly RunFolder[]): string {
  const all = runs.map((run) => ({ run, figures: figuresOf(run) }));
  // The figure of evaluations that most runs have beside the loss.
  const names = all.flatMap(({ figures }) => figures.map((f) => f.name)).filter((n) => n !== 'loss' && n !== 'val/loss');
  const count = (name: string) => names.filter((n) => n === name).length;
  const other = [...new Set(names)].sort((a, b) => count(b) - count(a))[0];
  const rows = all.map(({ run, figures }) => {
    const of = (name: string) => figures.find((f) => f.name === name);
    const steps = run.totalSteps ? `${run.steps}/${run.totalSteps}` : String(run.steps);
    const cells = [nameIn(folder, run), run.state, date(run.started), steps, best(of('loss')), best(of('val/loss'))];
    return [...cells, ...(other ? [best(of(other))] : []), sparkline(lossesOf(run.history.records), 16)];
  });
  const head = ['run', 'state', 'started (UTC)', 'steps', 'loss', 'val/loss', ...(other ? [other] : []), 'loss over steps'];
  return `${table(head, rows, null, 3)}\n\nFigures are the best of each run.`;
}

function comparison(a: RunFolder, b: RunFolder): string {
  const [left, right] = [figuresOf(a), figuresOf(b)];
  const names = [...new Set([...left, ...right].map((f) => f.name))];
  const find = (list: readonly Figure[], name: string) => list.find((f) => f.name === name);
  const cell = (f: Figure | undefined) => (f ? `${formatNumber(f.best)} @ ${f.step}` : '-');
  const lasted = (r: RunFolder) => (r.started === undefined ? '-' : formatDuration((r.updated - r.started) / 1000));
  const facts: string[][] = [
    ['state', a.state, b.state],
    ['steps', String(a.steps), String(b.steps)],
    ['lasted', lasted(a), lasted(b)],
    ...names.map((n) => [`best ${n}`, cell(find(left, n)), cell(find(right, n))]),
    ['loss over steps', sparkline(lossesOf(a.history.records), 24), sparkline(lossesOf(b.history.records), 24)],
  ];
  const other = differences(a, b).map((d) => [plain(d.name), plain(d.a ?? '-'), plain(d.b ?? '-')]);
  const head = (what: string) => [what, plain(a.name, 40), plain(b.name, 40)];
  const configuration = other.length
    ? table(head('configuration'), other, null, 3)
    : 'Configuration and environment are the same.';
  return `${table(head('figures'), facts, null, 1)}\n\n${configuration}`;
}

/** `anneal runs`. */
export async function runs(folder: string, { compare, json }: { compare?: readonly string[]; json?: boolean }): Promise<void> {
  if (compare) {
    if (compare.length !== 2) throw new ConfigError(`runs: --compare takes two runs, got ${compare.length}`);
    const [a, b] = (await Promise.all(compare.map((path) => readRun(path)))) as [RunFolder, RunFolder];
    const all = { runs: [a, b].map((r) => told(r, figuresOf(r))), differences: differences(a, b) };
    console.log(json ? formatRecord(all as never) : comparison(a, b));
    return;
  }
  const found: RunFolder[] = [];
  for (const dir of await findRuns(folder)) found.push(await readRun(dir));
  if (json) console.log(formatRecord(found.map((run) => told(run, figuresOf(run))) as never));
  else console.log(found.length ? listing(folder, found) : `${folder} holds no runs: no folder in it has a metrics.jsonl.`);
}
