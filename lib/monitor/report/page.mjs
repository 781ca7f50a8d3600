// Draws the charts of a report from the data that stands in it. `charts` is lib/monitor/charts/page.mjs, `uPlot` is uPlot.

/** Numbers that were written as the base64 of their bytes, little-endian. */
export function decode(text, Type) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Type(bytes.buffer);
}

/** The curve's values over the axis. */
export function valuesOf(curve, length) {
  if (curve.values !== undefined) return decode(curve.values, Float32Array);
  const values = new Float32Array(length).fill(Number.NaN);
  curve.at.forEach((place, i) => {
    values[place] = curve.few[i] ?? Number.NaN;
  });
  return values;
}

/** Draws all; the charts are in `window.report` too, for whoever looks with the browser's tools. */
export function start() {
  const data = JSON.parse(document.getElementById('curves').textContent);
  const x = decode(data.x, Float64Array);
  const drawn = data.charts.map((chart, i) =>
    charts.draw(document.getElementById(`chart-${i}`), {
      title: chart.title,
      x,
      curves: chart.curves.map((c) => ({ ...c, values: valuesOf(c, x.length), points: c.at !== undefined })),
      format: chart.format === 'bytes' ? charts.formatBytes : charts.formatNumber,
      marks: data.marks,
    }),
  );
  const control = (id, event, change) => {
    const element = document.getElementById(id);
    element?.addEventListener(event, () => change(element));
  };
  control('smoothing', 'input', (e) => {
    document.getElementById('smoothing-value').textContent = e.value;
    for (const chart of drawn) chart.set({ smoothing: Number(e.value) });
  });
  control('log', 'change', (e) => {
    for (const chart of drawn) chart.set({ log: e.checked });
  });
  control('all', 'click', () => drawn[0]?.showAll());
  globalThis.report = { charts: drawn };
}
