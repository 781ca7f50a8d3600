// The live page, in the browser: stands in it as a script (charts/assets.ts: asGlobal), so it imports nothing; curves.mjs stands before it. Whatever a run
// says is shown as text, by textContent.

const maxCharts = 24;
const maxCurves = 64;
const drawEvery = 250;
const seriesOf = (names) =>
  plan(names)
    .slice(0, maxCharts)
    .flatMap(([, metrics]) => metrics)
    .filter((m) => names.has(m));

const element = (name, text, attributes = {}) => {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
};
const byId = (id) => document.getElementById(id);

/** One run and as much of its curves as has been fetched. */
class Run {
  constructor(color) {
    this.color = color;
    this.shown = true;
    this.curves = new Map();
    this.pulling = false;
  }
  take(state) {
    if (this.state?.generation !== state.generation) this.curves.clear();
    this.state = state;
  }
  /** Fetches what the curves that are drawn lack; calls `arrived` after each part. */
  async pull(arrived) {
    if (this.pulling) return;
    this.pulling = true;
    try {
      for (;;) {
        const { id, generation, lengths } = this.state;
        const have = (name) => this.curves.get(name)?.steps.length ?? 0;
        const lacking = seriesOf(new Set(Object.keys(lengths))).filter((n) => have(n) < lengths[n]);
        const wanted = lacking.slice(0, maxCurves);
        if (!this.shown || wanted.length === 0) return;
        const query = new URLSearchParams({ run: id, generation });
        for (const name of wanted) query.append('metric', `${name}:${have(name)}`);
        const response = await fetch(`/api/series?${query}`);
        if (!response.ok) return; // other curves now: their state is on its way
        const parts = parseSeries(new Float64Array(await response.arrayBuffer()));
        if (this.state.generation !== generation) continue;
        for (const [i, name] of wanted.entries()) this.append(name, parts[i]);
        arrived();
      }
    } catch {
      // The connection is lost; the next state that arrives asks again.
    } finally {
      this.pulling = false;
    }
  }
  append(name, { steps, values }) {
    const curve = this.curves.get(name) ?? { steps: new Column(), values: new Column() };
    this.curves.set(name, curve);
    curve.steps.push(steps);
    curve.values.push(values);
  }
}

class Page {
  constructor(charts) {
    this.charts = charts;
    this.runs = new Map();
    this.drawn = new Map();
    this.outputs = new OutputLists();
    this.options = { smoothing: 0, log: false };
    this.colors = 0;
    this.listen();
    this.connect();
  }

  // ---- what arrives ---------------------------------------------------------------------------------------------------------

  connect() {
    const source = new EventSource('/events');
    source.onopen = () => this.say('Live.');
    source.onerror = () => {
      this.say('The connection is lost; trying again. Is anneal watch still running?');
      if (source.readyState === EventSource.CLOSED) setTimeout(() => this.connect(), 2000);
    };
    source.addEventListener('runs', (e) => this.known(JSON.parse(e.data)));
    source.addEventListener('run', (e) => this.changed(JSON.parse(e.data)));
  }
  say(text) {
    byId('state').textContent = text;
  }
  known(ids) {
    for (const id of this.runs.keys()) if (!ids.includes(id)) this.runs.delete(id);
    for (const id of ids) if (!this.runs.has(id)) this.runs.set(id, new Run(this.colors++ % 6));
    this.draw();
  }
  changed(state) {
    const run = this.runs.get(state.id) ?? new Run(this.colors++ % 6);
    this.runs.set(state.id, run);
    run.take(state);
    this.draw();
    run.pull(() => this.draw());
  }

  // ---- what is shown --------------------------------------------------------------------------------------------------------

  /** Soon; not more often than one can see. */
  draw() {
    this.waiting ??= setTimeout(
      () => {
        this.waiting = undefined;
        const begun = performance.now();
        this.show();
        this.last = performance.now();
        this.pause = Math.max(drawEvery, 4 * (this.last - begun)); // long runs are drawn less often: the page stays free to answer
      },
      Math.max(0, (this.pause ?? 0) - (performance.now() - (this.last ?? 0))),
    );
  }
  get told() {
    return [...this.runs.values()].filter((run) => run.state);
  }
  get shown() {
    return this.told.filter((run) => run.shown);
  }
  show() {
    this.showRuns();
    this.showCharts();
    this.showLists();
    this.showTargets();
  }

  showRuns() {
    const rows = byId('runs').tBodies[0];
    for (const row of [...rows.rows]) if (!this.runs.has(row.dataset.id)) row.remove();
    for (const run of this.told) {
      const { id } = run.state;
      const row = [...rows.rows].find((r) => r.dataset.id === id) ?? this.newRow(rows, run);
      const { step, totalSteps, last, attempt } = run.state;
      const figure = (v) => (v === undefined ? '' : typeof v === 'string' ? v : this.charts.formatNumber(v));
      const cells = [
        this.lifeOf(run.state) + (attempt > 1 ? `, attempt ${attempt}` : ''),
        totalSteps ? `${step} of ${totalSteps}` : String(step),
        ...['loss', 'val/loss', 'lr', 'samplesPerSecond'].map((name) => figure(last[name])),
      ];
      for (const [i, text] of cells.entries()) if (row.cells[i + 1].textContent !== text) row.cells[i + 1].textContent = text;
    }
  }
  lifeOf({ life, stopReason, damaged }) {
    const words = { listening: 'training', killed: 'killed', over: stopReason ? `ended: ${stopReason}` : 'over' }[life];
    return damaged ? `${words}; ${damaged} damaged lines` : words;
  }
  newRow(rows, run) {
    const row = rows.insertRow();
    row.dataset.id = run.state.id;
    const head = element('th', undefined, { scope: 'row' });
    const label = element('label');
    const box = element('input', undefined, { type: 'checkbox' });
    box.checked = run.shown;
    box.addEventListener('change', () => {
      run.shown = box.checked;
      run.pull(() => this.draw());
      this.draw();
    });
    const dot = element('span', undefined, { class: 'dot', 'aria-hidden': 'true' });
    dot.style.background = `var(--c${run.color})`;
    label.append(box, dot, run.state.id);
    head.append(label);
    row.append(head);
    for (let i = 0; i < 6; i++) row.append(element('td', '', i === 0 ? { class: 'text' } : {}));
    return row;
  }

  showCharts() {
    const { shown } = this;
    const names = new Set(shown.flatMap((run) => [...run.curves.keys()]));
    const wanted = plan(names);
    byId('more').hidden = wanted.length <= maxCharts;
    byId('more').textContent = `${wanted.length - maxCharts} further metrics are not drawn.`;
    const titles = new Set();
    for (const [title, metrics] of wanted.slice(0, maxCharts)) {
      titles.add(title);
      this.showChart(title, metrics, shown);
    }
    // In their order, whenever a metric came; a panel that moves would lose the focus.
    const order = [...titles].map((title) => this.drawn.get(title).panel);
    const place = byId('charts');
    if (order.some((panel, i) => place.children[i] !== panel)) place.append(...order);
    for (const [title, { panel, chart }] of this.drawn) {
      if (titles.has(title)) continue;
      chart.destroy();
      panel.remove();
      this.drawn.delete(title);
    }
  }
  showChart(title, metrics, shown) {
    const parts = shown.flatMap((run) =>
      metrics.filter((m) => run.curves.has(m)).map((metric) => ({ run, metric, ...run.curves.get(metric) })),
    );
    const curves = parts.map(({ steps, values }) => ({ steps: steps.view, values: values.view }));
    const seen = parts.map((p) => `${p.run.state.id} ${p.run.state.generation} ${p.metric} ${p.steps.length}`).join('\n');
    const before = this.drawn.get(title);
    if (before?.seen === seen) return;
    const { x, columns } = overlay(curves);
    const several = shown.length > 1;
    const lines = parts.map(({ run, metric }, i) => ({
      name: several ? `${metric}, ${run.state.id}` : metric,
      values: columns[i],
      color: run.color,
      ...(metric.startsWith('val/') ? { dash: metrics.length > 1, points: true } : {}),
    }));
    const { chart, note } = before ?? this.newChart(title, metrics, x, lines);
    if (before) chart.setData(x, lines);
    const drawn = this.drawn.get(title);
    drawn.seen = seen;
    this.tellNotFinite(drawn, curves, parts, note);
  }
  newChart(title, metrics, x, lines) {
    const panel = element('div', undefined, { class: 'panel' });
    const place = element('div', undefined, { class: 'chart' });
    const note = element('p', '', { class: 'bad', hidden: '' });
    panel.append(element('h3', title), place, note);
    byId('charts').append(panel);
    const format = metrics.includes('memory') ? this.charts.formatBytes : this.charts.formatNumber;
    const chart = this.charts.draw(place, { title, x, curves: lines, format, ...this.options });
    const made = { panel, chart, note };
    this.drawn.set(title, made);
    return made;
  }
  /** NaN and infinities are gaps in a curve; they are marked, and said. */
  tellNotFinite(drawn, curves, parts, note) {
    const steps = curves.flatMap(({ steps, values }) => {
      const found = [];
      for (let i = 0; i < values.length; i++) if (!Number.isFinite(values[i])) found.push(steps[i]);
      return found;
    });
    note.hidden = steps.length === 0;
    if (steps.length === drawn.broken) return;
    drawn.broken = steps.length;
    if (steps.length === 0) return;
    const where = parts.length > 1 ? '' : ` of ${parts[0].metric}`;
    note.textContent = `${steps.length} values${where} are not finite, the first at step ${Math.min(...steps.slice(0, 1000))}.`;
    drawn.chart.set({ marks: steps.slice(0, 50).map((step) => ({ step })) });
  }

  showLists() {
    const several = this.shown.length > 1;
    const of = (id) => (several ? `${id}: ` : '');
    const findings = this.shown.flatMap(({ state }) => state.findings.map((f) => ({ id: state.id, ...f })));
    this.fill('findings', findings, 'Nothing was found.', (f) => {
      const item = element('li');
      const severity = { error: 'bad', warning: 'warn' }[f.severity] ?? 'quiet';
      item.append(element('strong', `${of(f.id)}${f.severity ?? 'finding'}: ${f.title ?? f.rule ?? ''}`, { class: severity }));
      for (const text of [f.evidence, f.action, f.docs]) if (text) item.append(element('p', String(text)));
      return item;
    });
    const journal = this.shown.flatMap(({ state }) => state.journal.map((r) => ({ id: state.id, ...r })));
    this.fill('journal', journal.reverse(), 'Nothing was asked of the runs.', (r) => element('li', of(r.id) + this.sentence(r)));
    this.showEvals();
    const states = this.shown.map((run) => run.state);
    this.outputs.show(byId('samples'), byId('outputs'), states);
  }
  sentence(r) {
    if (r.type === 'notice') return `step ${r.step}: ${r.message}`;
    const names = { lr: `lr ${r.lr}`, evaluate: 'evaluate', checkpoint: 'checkpoint', stopAfterEpoch: 'stop after the epoch' };
    return `step ${r.step}: ${names[r.what] ?? r.what}, asked by ${r.by}${r.refused ? `; refused: ${r.refused}` : ''}`;
  }
  fill(id, items, none, make) {
    const key = JSON.stringify(items);
    const list = byId(id);
    if (list.dataset.key === key) return;
    list.dataset.key = key;
    list.replaceChildren(...(items.length ? items.map(make) : [element('li', none, { class: 'quiet' })]));
  }
  showEvals() {
    const key = JSON.stringify(this.shown.map(({ state }) => [state.id, state.evals]));
    if (this.evalsKey === key) return;
    this.evalsKey = key;
    const tables = this.shown.filter(({ state }) => state.evals.length).map(({ state }) => this.evalTable(state));
    byId('evals').replaceChildren(...(tables.length ? tables : [element('p', 'None yet.', { class: 'quiet' })]));
  }
  evalTable({ id, evals }) {
    const names = [...new Set(evals.flatMap((r) => Object.keys(r)))].filter((n) => n.startsWith('val/')).slice(0, 20);
    const table = element('table');
    table.append(element('caption', id));
    const head = table.createTHead().insertRow();
    for (const name of ['step', ...names]) head.append(element('th', name, { scope: 'col' }));
    const rows = table.createTBody();
    for (const r of [...evals].reverse()) {
      const row = rows.insertRow();
      row.append(element('th', String(r.step), { scope: 'row' }));
      for (const n of names) row.append(element('td', typeof r[n] === 'number' ? this.charts.formatNumber(r[n]) : (r[n] ?? '')));
    }
    const box = element('div', undefined, {
      class: 'scroll',
      tabindex: '0',
      role: 'region',
      'aria-label': `evaluations of ${id}`,
    });
    box.append(table);
    return box;
  }

  // ---- what is asked --------------------------------------------------------------------------------------------------------

  showTargets() {
    const ids = this.told.filter((run) => run.state.steerable).map((run) => run.state.id);
    const select = byId('target');
    const key = JSON.stringify(ids);
    if (select.dataset.key === key) return;
    select.dataset.key = key;
    const chosen = select.value;
    select.replaceChildren(...ids.map((id) => element('option', id, { value: id })));
    if (ids.includes(chosen)) select.value = chosen;
    for (const control of byId('steering').querySelectorAll('button, input, select')) control.disabled = ids.length === 0;
    if (ids.length === 0) byId('answer').textContent = 'No run is under way that could be steered.';
    else if (!chosen) byId('answer').textContent = '';
  }
  listen() {
    byId('smoothing').addEventListener('input', (e) => this.change({ smoothing: Number(e.target.value) }));
    byId('log').addEventListener('change', (e) => this.change({ log: e.target.checked }));
    byId('all').addEventListener('click', () => [...this.drawn.values()][0]?.chart.showAll());
    byId('steering').addEventListener('submit', (e) => {
      e.preventDefault();
      const text = byId('lr').value.trim();
      if (text === '' || !(Number(text) >= 0 && Number(text) < Infinity)) this.answer('lr must be a number >= 0, such as 1e-4');
      else this.ask({ lr: Number(text) });
    });
    for (const button of document.querySelectorAll('[data-wish]'))
      button.addEventListener('click', () => this.ask({ [button.dataset.wish]: true }));
  }
  change(options) {
    Object.assign(this.options, options);
    for (const { chart } of this.drawn.values()) chart.set(options);
  }
  answer(text) {
    byId('answer').textContent = text;
  }
  async ask(wish) {
    const run = byId('target').value;
    this.answer(`Asked ${run}; waiting for its next step ...`);
    try {
      const response = await fetch('/api/control', {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', 'X-Anneal': '1' },
        body: JSON.stringify({ run, ...wish }),
      });
      if (!response.ok) return this.answer(await response.text());
      const { results, refused } = await response.json();
      const said = (results ?? []).map((r) =>
        r.refused ? `refused at step ${r.step}: ${r.refused}` : `applied at step ${r.step}`,
      );
      this.answer(refused ? `refused: ${refused}` : said.join('; '));
    } catch {
      this.answer('The request did not arrive. Is anneal watch still running?');
    }
  }
}

/** Begins; `charts` is what page.mjs of the charts exports. */
export function start(charts) {
  if (location.search) history.replaceState(null, '', '/'); // the token is a cookie by now
  return new Page(charts);
}
