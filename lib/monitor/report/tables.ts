// What a report shows of an evaluation: confusion matrix, classes, calibration, strata, the most confidently wrong.
import { html, type Markup } from '../charts/html.ts';
import type { EvalTables, ShownMistake } from '../eval-tables.ts';
import { pngUrl } from '../png.ts';
import { formatNumber } from '../text.ts';

/** A matrix of more classes is too wide to be read: its most confused pairs tell what it would. */
const matrixShown = 40;
const rowsShown = 200;
const shades = 10;

const nothing = html``;
const percent = (v: number): string => (Number.isFinite(v) ? `${(100 * v).toFixed(1)} %` : '–');
const figure = (v: unknown): string => (typeof v === 'number' ? formatNumber(v) : '–');
const list = <T>(v: readonly T[] | undefined): readonly T[] => v ?? [];
const nameOf = (labels: readonly string[] | undefined, c: number): string => labels?.[c] ?? String(c);

const panel = (title: string, content: Markup, more = ''): Markup =>
  html`<section class="panel ${more}"><h3>${title}</h3>${content}</section>`;
const scroll = (name: string, content: Markup): Markup =>
  html`<div class="scroll" tabindex="0" role="region" aria-label="${name}">${content}</div>`;

/** Shade of a cell by its share of the true class, 0 to 10; the style keeps text on it readable. */
const shadeOf = (count: number, total: number): number => (count > 0 ? Math.max(1, Math.round((shades * count) / total)) : 0);

function confusion({ confusion: counts, labels }: EvalTables): Markup {
  if (!counts || counts.length === 0) return nothing;
  if (counts.length > matrixShown)
    return panel(
      'Confusion matrix',
      html`<p class="quiet">${counts.length} classes: too many to show; the most confused pairs are beside it.</p>`,
    );
  const name = (i: number) => nameOf(labels, i);
  const row = (cells: readonly number[], t: number) => {
    const total = cells.reduce((a, b) => a + b, 0);
    const cell = (n: number, p: number) =>
      html`<td class="s${shadeOf(n, total)}${p === t ? ' right' : ''}" title="true ${name(t)}, predicted ${name(p)}">${n || '·'}</td>`;
    return html`<tr><th scope="row">${name(t)}</th>${cells.map(cell)}</tr>`;
  };
  const head = html`<tr><th class="text" scope="col">true \\ predicted</th>${counts.map((_, i) => html`<th scope="col">${name(i)}</th>`)}</tr>`;
  const table = html`<table class="matrix"><caption>Shaded by the share of the true class; the diagonal is right.</caption><thead>${head}</thead><tbody>${counts.map(row)}</tbody></table>`;
  return panel('Confusion matrix', scroll('Confusion matrix', table), counts.length > 6 ? 'wide' : '');
}

function pairs({ mostConfused }: EvalTables): Markup {
  const shown = list(mostConfused).slice(0, 20);
  if (shown.length === 0) return nothing;
  const rows = shown.map(
    (p) => html`<tr><td class="text">${p.target}</td><td class="text">${p.prediction}</td><td>${p.count}</td></tr>`,
  );
  const head = html`<tr><th class="text" scope="col">true</th><th class="text" scope="col">taken for</th><th scope="col">times</th></tr>`;
  return panel('Most confused', html`<table><thead>${head}</thead><tbody>${rows}</tbody></table>`);
}

function classes({ perClass }: EvalTables): Markup {
  const all = list(perClass);
  if (all.length === 0) return nothing;
  const shown = all.length > rowsShown ? all.toSorted((a, b) => a.f1 - b.f1).slice(0, rowsShown) : all;
  const caption =
    all.length > shown.length ? html`<caption>The ${rowsShown} of ${all.length} with the lowest F1.</caption>` : nothing;
  const row = (c: (typeof all)[number]) =>
    html`<tr><th scope="row">${c.label}</th><td>${percent(c.precision)}</td><td>${percent(c.recall)}</td><td>${percent(c.f1)}</td><td>${c.support}</td></tr>`;
  const head = ['class', 'precision', 'recall', 'F1', 'support'].map(
    (n, i) => html`<th scope="col" class="${i ? '' : 'text'}">${n}</th>`,
  );
  const table = html`<table>${caption}<thead><tr>${head}</tr></thead><tbody>${shown.map(row)}</tbody></table>`;
  return panel('Classes', scroll('Classes', table));
}

/** Accuracy over confidence as bars; where both agree the bars end on the line. */
function reliability({ reliability: bins, figures }: EvalTables): Markup {
  const all = list(bins).filter((b) => b.count > 0 && Number.isFinite(b.accuracy));
  if (all.length === 0) return nothing;
  const [size, left] = [200, 34];
  const y = (v: number) => (size + 6 - size * v).toFixed(1);
  const bar = (b: (typeof all)[number]) => {
    const title = `confidence ${percent(b.from)} to ${percent(b.to)}: ${percent(b.accuracy)} right of ${b.count}, mean confidence ${percent(b.confidence)}`;
    return html`<rect class="bar" x="${(left + size * b.from + 0.5).toFixed(1)}" y="${y(b.accuracy)}" width="${(size * (b.to - b.from) - 1).toFixed(1)}" height="${(size * b.accuracy).toFixed(1)}"><title>${title}</title></rect>`;
  };
  const ticks = [0, 0.5, 1].map(
    (v) =>
      html`<text x="${left - 4}" y="${y(v)}" text-anchor="end" dy="4">${v}</text><text x="${left + size * v}" y="${size + 22}" text-anchor="middle">${v}</text>`,
  );
  const svg = html`<svg viewBox="0 0 260 246" role="img" aria-label="Reliability diagram: accuracy over confidence in ${all.length} bins" class="diagram"><rect class="frame" x="${left}" y="6" width="${size}" height="${size}"/>${all.map(bar)}<line class="ideal" x1="${left}" y1="${size + 6}" x2="${left + size}" y2="6"/>${ticks}<text x="${left + size / 2}" y="${size + 40}" text-anchor="middle">confidence</text></svg>`;
  const errors = html`<p class="quiet">Accuracy by confidence; on the line both agree. Expected calibration error ${figure(figures['val/ece'])}, largest ${figure(figures['val/mce'])}.</p>`;
  return panel('Reliability', html`${svg}${errors}`);
}

function strata({ strata: all }: EvalTables): Markup {
  const shown = list(all).slice(0, rowsShown);
  if (shown.length === 0) return nothing;
  const row = (s: (typeof shown)[number]) =>
    html`<tr><th scope="row">${s.stratum}</th><td>${s.samples}</td><td>${percent(s.accuracy)}</td><td>${percent(s.macroF1)}</td></tr>`;
  const head = html`<tr><th class="text" scope="col">stratum</th><th scope="col">samples</th><th scope="col">accuracy</th><th scope="col">macro F1</th></tr>`;
  return panel('Strata', scroll('Strata', html`<table><thead>${head}</thead><tbody>${shown.map(row)}</tbody></table>`));
}

function mistakes({ mistakes: all, labels }: EvalTables): Markup {
  const shown = list(all).slice(0, 50);
  if (shown.length === 0) return nothing;
  const name = (c: number) => nameOf(labels, c);
  const one = (m: ShownMistake) => {
    const { image, text } = m.input ?? {};
    const what = `sample ${m.id}: ${name(m.target)}, taken for ${name(m.prediction)}`;
    const seen = typeof image === 'string' && pngUrl.test(image) ? html`<img src="${image}" alt="${what}">` : html``;
    const words = typeof text === 'string' ? html`<pre tabindex="0">${text}</pre>` : html``;
    return html`<li class="panel">${seen}${words}<p><strong>${name(m.prediction)}</strong> with ${percent(m.confidence)}, but it is <strong>${name(m.target)}</strong> (${percent(m.targetProbability)})</p><p class="quiet">sample ${m.id}</p></li>`;
  };
  return html`<h2 id="mistakes">Most confidently wrong</h2><ul class="mistakes">${shown.map(one)}</ul>`;
}

/** Everything that the tables hold. */
export function evaluationOf(tables: EvalTables | undefined, which: string): Markup {
  if (!tables) return nothing;
  const parts = [confusion(tables), pairs(tables), classes(tables), reliability(tables), strata(tables)].filter(
    (p) => p !== nothing,
  );
  const worst = mistakes(tables);
  if (parts.length === 0 && worst === nothing) return nothing;
  return html`<h2 id="evaluation">Evaluation</h2><p class="quiet">The ${which}: after step ${tables.step}, epoch ${tables.epoch}.</p><div class="grid">${parts}</div>${worst}`;
}

/** Cells of a matrix darken by tenths, their text stays as it is; pictures are shown enlarged, as pixels. */
export const tableStyle = `${Array.from({ length: shades }, (_, i) => `.s${i + 1} { background: rgba(var(--heat), ${((i + 1) * 0.035).toFixed(3)}); }`).join(' ')}
.matrix td { text-align: center; min-width: 2.2rem; white-space: nowrap; overflow-wrap: normal; } .matrix th { overflow-wrap: normal; } .wide { grid-column: 1 / -1; } .matrix .right { font-weight: 700; outline: 1px solid var(--quiet); outline-offset: -1px; }
.settings th { min-width: 8rem; }
.diagram { width: 100%; max-width: 22rem; } .diagram text { fill: var(--quiet); font-size: 11px; } .diagram .bar { fill: var(--c0); } .diagram .frame { fill: none; stroke: var(--rule); }
.diagram .ideal { stroke: var(--text); stroke-dasharray: 4 3; stroke-width: 1.5; }
.mistakes { list-style: none; margin: 0; padding: 0; display: grid; gap: .75rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 14rem), 1fr)); }
.mistakes img { width: 7rem; max-width: 100%; height: auto; image-rendering: pixelated; border: 1px solid var(--rule); background: var(--bg); } .mistakes pre { max-height: 10rem; overflow: auto; border: 1px solid var(--rule); padding: .4rem; background: var(--bg); }
.finding { border-left: 4px solid var(--quiet); } .finding.error { border-color: var(--bad); } .finding.warning { border-color: var(--warn); } .finding h3 span { font-weight: 400; }
@media print { .mistakes { grid-template-columns: 1fr 1fr 1fr; } .mistakes pre { max-height: none; } * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
`;
