import { checkFunction, checkText } from '../../native/errors.ts';
import { asGlobal, chartAssets, contentPolicy, pageScript, scriptText } from '../charts/assets.ts';
import { html, jsonForScript, type Markup } from '../charts/html.ts';
import { type EvalTables, readEvalTables } from '../eval-tables.ts';
import type { HistoryValue } from '../history.ts';
import { type Figure, figuresOf, flat, type RunFolder, readRun } from '../runs/index.ts';
import { readSamples } from '../samples.ts';
import { formatCount, formatDuration, formatNumber } from '../text.ts';
import { curvesOf, type ReportCurves } from './curves.ts';
import { samplesOf } from './samples.ts';
import { evaluationOf, tableStyle } from './tables.ts';

/** What a report shows of a finding; `diagnose` gives more. */
export interface ReportFinding {
  severity: string;
  title: string;
  since: number;
  evidence: string;
  action: string;
  sampleIds?: readonly number[];
}

type Samples = Awaited<ReturnType<typeof readSamples>>;

const listed = (steps: readonly number[]): string =>
  `${steps.slice(0, 20).join(', ')}${steps.length > 20 ? `, ... (${steps.length} in all)` : ''}`;

/** A value of a record, which may be anything. */
const shown = (v: HistoryValue | undefined): string => (typeof v === 'object' ? JSON.stringify(v) : String(v ?? '–'));

const stateClass = { running: 'good', finished: 'good', stopped: 'warn', killed: 'warn', failed: 'bad' } as const;

function head(run: RunFolder, figures: readonly Figure[]): Markup {
  const { state, reason, started, updated, steps, totalSteps, history } = run;
  const told = Object(run.run) as Record<string, HistoryValue>;
  const fact = (name: string, value: Markup | string | undefined) => value && html`<div><dt>${name}</dt><dd>${value}</dd></div>`;
  const date = (ms: number) =>
    new Date(ms)
      .toISOString()
      .replace('T', ' ')
      .replace(/\.\d+Z/, ' UTC');
  const best = figures.map((f) =>
    fact(`best ${f.name}`, html`${formatNumber(f.best)} <span class="quiet">at step ${f.step}</span>`),
  );
  const damaged = history.damaged.length
    ? html`<p class="warn">${history.damaged.length} lines of the log could not be read (the first is line ${history.damaged[0]?.line}): a run that was killed leaves its last one cut short.</p>`
    : '';
  return html`<p><strong class="${stateClass[state]}">${state}</strong>${reason && reason !== state ? html`: ${reason}` : ''}</p>
<dl class="facts">${fact('model', told.model === undefined ? undefined : html`${shown(told.model)}`)}${fact('parameters', typeof told.parameters === 'number' ? formatCount(told.parameters) : undefined)}
${fact('optimizer', html`${shown(told.optimizer)}`)}${fact('precision', html`${shown(told.precision)}`)}${fact('steps', totalSteps ? `${steps} of ${totalSteps}` : String(steps))}
${fact('started', started === undefined ? undefined : date(started))}${fact('last heard of', date(updated))}${fact('lasted', started === undefined ? undefined : formatDuration((updated - started) / 1000))}
${fact('starts', history.attempt > 1 ? String(history.attempt) : undefined)}${best}</dl>${damaged}`;
}

function findingsOf(findings: readonly ReportFinding[] | undefined): Markup {
  if (!findings) return html``;
  const one = (f: ReportFinding) =>
    html`<article class="panel finding ${['error', 'warning'].includes(f.severity) ? f.severity : ''}"><h3>${f.title} <span class="quiet">(${f.severity}, from step ${f.since})</span></h3><p>${f.evidence}</p><p><strong>${f.action}</strong></p>${f.sampleIds?.length ? html`<p class="quiet">samples ${listed(f.sampleIds)}</p>` : ''}</article>`;
  const all = findings.length
    ? html`<div class="grid">${findings.map(one)}</div>`
    : html`<p class="good">Nothing is wrong by the rules of the diagnosis.</p>`;
  return html`<h2 id="findings">Findings</h2>${all}`;
}

function curves(data: ReportCurves): Markup {
  if (data.charts.length === 0) return html`<h2 id="curves-title">Curves</h2><p class="quiet">No steps are recorded.</p>`;
  const note = (steps: readonly number[], what: string) =>
    steps.length ? html`<p class="bad">${what} at ${steps.length === 1 ? 'step' : 'steps'} ${listed(steps)}.</p>` : '';
  const few =
    data.kept < data.steps
      ? html`<p class="quiet">Of ${data.steps} steps the smallest and largest of ${data.kept / 2} equal parts are drawn.</p>`
      : '';
  const chart = (c: ReportCurves['charts'][number], i: number) =>
    html`<section class="panel"><h3>${c.title}</h3><div class="chart" id="chart-${i}"></div></section>`;
  return html`<h2 id="curves-title">Curves</h2>${note(data.broken, 'NaN or infinite')}${note(data.skipped, 'Skipped')}${few}
<div class="controls"><label>Smoothing <input type="range" id="smoothing" min="0" max="0.99" step="0.01" value="0"> <output id="smoothing-value" for="smoothing">0</output></label>
<label><input type="checkbox" id="log"> logarithmic</label> <button type="button" id="all">Show all steps</button> <span class="quiet">Drag over a chart to zoom; on the keyboard +, -, arrows and 0.</span></div>
<noscript><p class="warn">The curves are drawn by the script in this page, which the browser does not run.</p></noscript><div class="grid">${data.charts.map(chart)}</div>`;
}

/** Figures of the layers as they were told last. */
function layers({ history }: RunFolder): Markup {
  const record = history.records.findLast((r) => r.type === 'layers');
  const rows = Array.isArray(record?.layers)
    ? (record.layers as readonly HistoryValue[]).filter((r) => typeof r === 'object' && r !== null)
    : [];
  if (rows.length === 0) return html``;
  const names = [...new Set(rows.flatMap((r) => Object.keys(r as object)))].slice(0, 16);
  const cell = (v: HistoryValue | undefined) =>
    typeof v === 'number' ? html`<td>${formatNumber(v)}</td>` : html`<td class="text">${v === undefined ? '' : shown(v)}</td>`;
  const row = (r: HistoryValue) => html`<tr>${names.map((n) => cell((r as Record<string, HistoryValue>)[n]))}</tr>`;
  const table = html`<table><thead><tr>${names.map((n) => html`<th scope="col">${n}</th>`)}</tr></thead><tbody>${rows.slice(0, 500).map(row)}</tbody></table>`;
  return html`<h2 id="layers">Layers</h2><p class="quiet">At step ${record?.step}.</p><div class="scroll" tabindex="0" role="region" aria-label="Layers">${table}</div>`;
}

function facts(title: string, id: string, value: HistoryValue | undefined): Markup {
  if (value === undefined) return html``;
  const parts = (name: string) => name.split('.').map((part, i) => html`${i > 0 && html`.<wbr>`}${part}`);
  const row = ([name, text]: [string, string]) =>
    html`<tr><th scope="row">${parts(name)}</th><td class="text">${text.includes('\n') ? html`<pre>${text}</pre>` : text}</td></tr>`;
  return html`<h2 id="${id}">${title}</h2><table class="settings">${[...flat(value)].map(row)}</table>`;
}

/** A page that needs nothing but itself: no request, no script but its own. */
function page(title: string, body: Markup, data: ReportCurves): string {
  const { scripts, style } = chartAssets();
  const own = `${asGlobal('reportPage', pageScript('page.mjs', 'report-page.mjs', import.meta.url))}\nreportPage.start();`;
  const all = (data.charts.length ? [...scripts, own] : []).map(scriptText);
  const css = `${style}\n${tableStyle}`;
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="${contentPolicy(all, css)}">
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="referrer" content="no-referrer"><meta name="generator" content="anneal">
${html`<title>${title}</title>`}<style>${css}</style></head>
<body>${body}
<script type="application/json" id="curves">${jsonForScript(data)}</script>
${all.map((s) => `<script>${s}</script>`).join('\n')}
</body></html>
`;
}

/**
 * A run as one HTML page that needs nothing else: curves, the tables of its best evaluation (else the latest), findings, configuration and environment. What
 * the run's files say is shown as text, whatever it is.
 * @param tables of the evaluation to show, and which it is
 * @param findings of `diagnose`; left out, the section is too
 * @param samples what `readSamples` gives
 */
export function renderReport(
  run: RunFolder,
  tables?: { tables: EvalTables; which: string },
  findings?: readonly ReportFinding[],
  samples: Samples = { outputs: [], damaged: 0 },
): string {
  const data = curvesOf(run.history.records);
  const notices = run.history.records.filter((r) => r.type === 'notice' && typeof r.message === 'string');
  const told = notices.length
    ? html`<ul>${notices.slice(0, 50).map((r) => html`<li>step ${r.step}: ${r.message as string}</li>`)}</ul>`
    : '';
  const configuration = Object(run.run?.configuration) as Record<string, HistoryValue>;
  const body = html`<a class="skip" href="#curves-title">To the curves</a><header><p class="quiet">Anneal: report of a run</p><h1>${run.name}</h1>${head(run, figuresOf(run))}${told}</header>
<main>${findingsOf(findings)}${curves(data)}${evaluationOf(tables?.tables, tables?.which ?? '')}${samplesOf(samples.outputs, samples.damaged)}${layers(run)}${facts('Configuration', 'configuration', run.run?.configuration && configuration)}${facts('Environment', 'environment', run.run?.environment)}</main>
<footer class="quiet"><p>${run.dir}</p></footer>`;
  return page(`${run.name}: report`, body, data);
}

/** Reads a run and renders its report; see `renderReport`. Tables that cannot be read are left out. */
export async function reportOf(path: string, findings?: (run: RunFolder) => readonly ReportFinding[]): Promise<string> {
  checkText('reportOf', 'the run', path);
  if (findings !== undefined && findings !== null)
    checkFunction('reportOf', 'findings', findings, '(run) => diagnose(run.history.records)');
  const run = await readRun(path);
  const read = (which: 'best' | 'latest') => readEvalTables(run.dir, which).catch(() => undefined);
  const [best, latest, samples] = await Promise.all([read('best'), read('latest'), readSamples(run.dir).catch(() => undefined)]);
  const tables = best ?? latest;
  return renderReport(run, tables && { tables, which: best ? 'best' : 'latest' }, findings?.(run), samples);
}
