// The charts of a page, in the browser: stands in pages as a script (assets.ts: asGlobal), so it imports nothing. What needs no page, such as decimate,
// is imported by Node too. Types are in page.d.mts.

/** A number in four digits, as in the terminal. */
export function formatNumber(v) {
  if (v === null || v === undefined) return '';
  const size = Math.abs(v);
  if (!Number.isFinite(v) || v === 0) return String(v);
  if (size < 1e-3 || size >= 1e6) return v.toExponential(2);
  return size >= 1000 ? v.toFixed(0) : v.toPrecision(4);
}

/** A number beside an axis, as short as it can be. */
export function formatTick(v) {
  const size = Math.abs(v);
  if (v !== 0 && (size < 1e-3 || size >= 1e6)) return v.toExponential(1).replace('.0e', 'e');
  return String(+v.toPrecision(4));
}

/** Bytes of 1024 each step. */
export function formatBytes(v) {
  if (v === null || v === undefined || !Number.isFinite(v)) return formatNumber(v);
  const unit = Math.min(4, Math.max(0, Math.floor(Math.log2(Math.max(1, Math.abs(v))) / 10)));
  return `${+(v / 1024 ** unit).toPrecision(3)} ${['B', 'KB', 'MB', 'GB', 'TB'][unit]}`;
}

/** The first place in an ascending list whose value is at least v. */
export function lowerBound(list, v) {
  let [low, high] = [0, list.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list[middle] < v) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * The part of the curves between places `from` and `to` in at most 2 * buckets points: of each bucket the smallest and the largest value, in the order
 * in which they stand, at the bucket's first and last x, so that no spike is lost. Short parts are left as they are. What is not finite is null.
 */
export function decimate(x, curves, from, to, buckets) {
  const n = to - from;
  const finite = (v) => (Number.isFinite(v) ? v : null);
  if (n <= 2 * buckets) return [Array.from(x.slice(from, to)), ...curves.map((c) => Array.from(c.slice(from, to), finite))];
  const edge = (b) => from + Math.floor((b * n) / buckets);
  const xs = new Array(2 * buckets);
  for (let b = 0; b < buckets; b++) {
    xs[2 * b] = x[edge(b)];
    xs[2 * b + 1] = x[edge(b + 1) - 1];
  }
  return [xs, ...curves.map((c) => extremes(c, buckets, edge))];
}

function extremes(curve, buckets, edge) {
  const out = new Array(2 * buckets);
  for (let b = 0; b < buckets; b++) {
    let [low, high] = [-1, -1];
    for (let i = edge(b); i < edge(b + 1); i++) {
      if (!Number.isFinite(curve[i])) continue;
      if (low < 0 || curve[i] < curve[low]) low = i;
      if (high < 0 || curve[i] > curve[high]) high = i;
    }
    const first = Math.min(low, high);
    out[2 * b] = first < 0 ? null : curve[first];
    out[2 * b + 1] = first < 0 ? null : curve[Math.max(low, high)];
  }
  return out;
}

/** The exponential moving mean of weight 0 to 1, without the pull to 0 at its beginning; what is not finite is passed over and stays. */
export function smooth(values, weight) {
  if (!(weight > 0)) return values;
  const out = new Float64Array(values.length);
  let [mean, share] = [0, 0];
  for (let i = 0; i < values.length; i++) {
    if (Number.isFinite(values[i])) {
      mean = weight * mean + (1 - weight) * values[i];
      share = weight * share + (1 - weight);
    }
    out[i] = Number.isFinite(values[i]) ? mean / share : values[i];
  }
  return out;
}

/** Between the ticks of an axis of steps: there is none at 430.2. */
const wholeSteps = Array.from({ length: 36 }, (_, i) => [1, 2, 5][i % 3] * 10 ** Math.floor(i / 3));

/** And of one of bytes, whose ticks are round in KB and MB. */
const wholeBytes = Array.from({ length: 50 }, (_, i) => 2 ** i);

/** What a logarithmic scale can show; the rest is a gap. */
function positive(values) {
  const out = new Float64Array(values.length);
  for (let i = 0; i < values.length; i++) out[i] = values[i] > 0 ? values[i] : Number.NaN;
  return out;
}

/** Charts by group: those of a group zoom together. */
const groups = new Map();

/**
 * Draws curves over one axis of steps into an element, and keeps them readable at any zoom: what is seen is decimated anew. Returns what changes it.
 * Keys, with the focus on the chart: + and - zoom, arrows move, 0 shows all. The mouse: drag to zoom, twice clicked shows all.
 */
export function draw(element, options) {
  return new Chart(element, options);
}

class Chart {
  constructor(element, options) {
    this.element = element;
    this.options = { height: 220, group: 'all', format: formatNumber, log: false, smoothing: 0, ...options };
    this.x = options.x;
    this.curves = options.curves;
    this.range = null;
    this.group = groups.get(this.options.group) ?? new Set();
    groups.set(this.options.group, this.group.add(this));
    this.width = element.clientWidth; // asked for once: each question lays the page out anew
    this.listen();
    this.build();
  }

  /** All curves with their raw ones behind them where they are smoothed. */
  get lines() {
    const { smoothing, log } = this.options;
    if (this.cached) return this.cached;
    const seen = (values) => (log ? positive(values) : values);
    this.cached = this.curves.flatMap((c, i) => {
      const line = { name: c.name, color: `--c${(c.color ?? i) % 6}`, dash: c.dash, points: c.points };
      if (!(smoothing > 0) || c.points) return [{ ...line, values: seen(c.values) }];
      return [
        { ...line, name: `${c.name} (each)`, values: seen(c.values), faint: true },
        { ...line, values: seen(smooth(c.values, smoothing)) },
      ];
    });
    return this.cached;
  }

  build() {
    this.plot?.destroy();
    const { format, log, height } = this.options;
    const style = getComputedStyle(this.element);
    const color = (name) => style.getPropertyValue(name).trim();
    const axis = {
      stroke: () => color('--quiet'),
      grid: { stroke: () => color('--rule'), width: 1 },
      ticks: { stroke: () => color('--rule') },
    };
    const series = this.lines.map((l) => ({
      label: l.name,
      stroke: () => color(l.color) + (l.faint ? '55' : ''),
      width: l.faint ? 1 : 1.75,
      ...(l.dash ? { dash: [6, 4] } : {}),
      spanGaps: true,
      points: { show: l.points || undefined, size: 6 },
      value: (_, v) => format(v),
    }));
    this.plot = new uPlot(
      {
        width: Math.max(200, this.width),
        height,
        scales: { x: { time: false, ...this.limits }, y: { distr: log ? 3 : 1 } },
        axes: [
          { ...axis, incrs: wholeSteps },
          {
            ...axis,
            size: 64,
            ...(format === formatBytes ? { incrs: wholeBytes } : {}),
            values: (_, vs) => vs.map((v) => (v === null ? '' : format === formatNumber ? formatTick(v) : format(v))),
          },
        ],
        series: [{ label: this.options.xName ?? 'step', value: (_, v) => (v === null ? '' : String(v)) }, ...series],
        cursor: {
          drag: { x: true, y: false, setScale: false },
          // Charts of a group share the cursor. What is dragged is not shared: each would zoom into what the one before has zoomed to already.
          sync: { key: this.options.group, filters: { pub: (type) => type === 'mousemove' || type === 'mouseleave' } },
          bind: { dblclick: () => () => this.showAll() },
        },
        hooks: { setSelect: [(u) => this.selected(u)], draw: [(u) => this.mark(u)] },
      },
      this.visible(),
      this.element,
    );
    this.describe();
  }

  /** What is drawn: the curves between the ends of the range and one point beyond each. */
  visible() {
    const [from, to] = this.range ?? [this.x[0], this.x[this.x.length - 1]];
    const first = Math.max(0, lowerBound(this.x, from) - 1);
    const last = Math.min(this.x.length, lowerBound(this.x, to) + 2);
    const buckets = Math.max(50, Math.min(2000, this.width || 600));
    return decimate(
      this.x,
      this.lines.map((l) => l.values),
      first,
      last,
      buckets,
    );
  }

  /** Of the steps that are seen. */
  get limits() {
    const [min, max] = this.range ?? [this.x[0] ?? 0, this.x[this.x.length - 1] ?? 1];
    return { min, max: max > min ? max : min + 1 };
  }

  refresh() {
    this.plot.batch(() => {
      this.plot.setData(this.visible(), false);
      this.plot.setScale('x', this.limits);
    });
    this.describe();
  }

  selected(u) {
    if (u.select.width < 3) return;
    const [from, to] = [u.posToVal(u.select.left, 'x'), u.posToVal(u.select.left + u.select.width, 'x')];
    u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    this.zoom(from, to);
  }
  /** Shows the steps between two, in all charts of the group. */
  zoom(from, to) {
    for (const chart of this.group) {
      chart.range = [from, to];
      chart.refresh();
    }
  }
  showAll() {
    for (const chart of this.group) {
      chart.range = null;
      chart.refresh();
    }
  }
  /** New curves, over the same axis or another; the zoom stays. */
  setData(x, curves) {
    const same = curves.length === this.curves.length && curves.every((c, i) => c.name === this.curves[i].name);
    this.x = x;
    this.curves = curves;
    this.cached = undefined;
    if (same) this.refresh();
    else this.build();
  }
  set(change) {
    const looks = () => `${this.options.log} ${this.lines.map((l) => l.name).join()}`;
    const before = looks();
    Object.assign(this.options, change);
    this.cached = undefined;
    // A chart is made anew only where it has other lines or another scale: that takes several times as long.
    if (looks() === before) this.refresh();
    else this.build();
  }
  destroy() {
    this.observer.disconnect();
    this.group.delete(this);
    this.plot.destroy();
  }

  listen() {
    const { element } = this;
    element.tabIndex = 0;
    element.setAttribute('role', 'group');
    element.addEventListener('keydown', (e) => this.key(e));
    this.observer = new ResizeObserver(() => {
      this.width = element.clientWidth;
      const width = Math.max(200, this.width);
      if (width === this.plot.width) return;
      this.plot.setSize({ width, height: this.options.height });
      this.refresh();
    });
    this.observer.observe(element);
    for (const query of ['(prefers-color-scheme: dark)', 'print'])
      matchMedia(query).addEventListener('change', () => this.plot.redraw(false));
  }
  key(event) {
    const all = [this.x[0], this.x[this.x.length - 1]];
    const [from, to] = this.range ?? all;
    const [middle, half] = [(from + to) / 2, (to - from) / 2];
    const within = (a, b) => {
      const shift = Math.max(0, all[0] - a) - Math.max(0, b - all[1]);
      return [Math.max(all[0], a + shift), Math.min(all[1], b + shift)];
    };
    const next = {
      '+': () => within(middle - half / 2, middle + half / 2),
      '=': () => within(middle - half / 2, middle + half / 2),
      '-': () => within(middle - half * 2, middle + half * 2),
      ArrowLeft: () => within(from - half / 2, to - half / 2),
      ArrowRight: () => within(from + half / 2, to + half / 2),
    }[event.key];
    if (event.ctrlKey || event.metaKey || event.altKey || (!next && event.key !== '0')) return;
    event.preventDefault();
    if (next) this.zoom(...next());
    else this.showAll();
  }

  /** Vertical lines where something happened: steps whose value was NaN, a rollback. */
  mark(u) {
    const { ctx, bbox } = u;
    ctx.save();
    for (const { step, color = '--bad' } of this.options.marks ?? []) {
      const at = u.valToPos(step, 'x', true);
      if (at < bbox.left || at > bbox.left + bbox.width) continue;
      ctx.strokeStyle = getComputedStyle(this.element).getPropertyValue(color).trim();
      ctx.lineWidth = devicePixelRatio;
      ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
      ctx.beginPath();
      ctx.moveTo(at, bbox.top);
      ctx.lineTo(at, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  }

  /** The chart in words, for those who do not see it. */
  describe() {
    const [from, to] = this.range ?? [this.x[0], this.x[this.x.length - 1]];
    const last = this.curves.map((c) => `${c.name}: last ${this.options.format(c.values[c.values.length - 1])}`);
    const span = this.x.length ? `steps ${Math.round(from)} to ${Math.round(to)}` : 'no steps yet';
    this.element.setAttribute(
      'aria-label',
      `${this.options.title}, ${span}. ${last.join(', ')}. Plus and minus zoom, arrows move, 0 shows all.`,
    );
  }
}
