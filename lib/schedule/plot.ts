const eighths = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const label = (v: number) => (v !== 0 && Math.abs(v) < 1e-3 ? v.toExponential(1) : v.toFixed(3)).padStart(8);

/** Area chart of `values` (one a column), `height` rows of text, the two ends of the axis below; it starts at 0 unless values are negative. */
export function plotText(values: Float64Array, height: number, ends: readonly [string, string]): string {
  const finite = [...values].filter(Number.isFinite);
  const top = Math.max(...finite, 0);
  const bottom = Math.min(...finite, 0);
  const span = top - bottom || 1;
  const lines: string[] = [];
  for (let row = height - 1; row >= 0; row--) {
    let line = '';
    for (const v of values) {
      const filled = Number.isFinite(v) ? ((v - bottom) / span) * height * 8 - row * 8 : Number.NaN;
      line += Number.isNaN(filled) ? '?' : eighths[Math.max(0, Math.min(8, Math.round(filled)))];
    }
    const mark = row === height - 1 ? label(top) : row === 0 ? label(bottom) : ' '.repeat(8);
    lines.push(`${mark} ┤${line}`.trimEnd());
  }
  const [begin, end] = ends;
  lines.push(`${' '.repeat(10)}${begin}${end.padStart(Math.max(values.length - begin.length, end.length + 1))}`);
  return lines.join('\n');
}

const escapeXml = (s: string) => s.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

/** The curve as one SVG element with its own axis labels. */
export function plotSvg(
  values: Float64Array,
  width: number,
  height: number,
  ends: readonly [string, string],
  title: string,
): string {
  const [left, right, up, down] = [48, 12, 24, 24];
  const top = Math.max(...values, 0);
  const bottom = Math.min(...values, 0);
  const x = (i: number) => left + ((width - left - right) * i) / (values.length - 1);
  const y = (v: number) => up + (height - up - down) * (1 - (v - bottom) / (top - bottom || 1));
  const points = Array.from(values, (v, i) => `${x(i).toFixed(1)},${y(v).toFixed(1)}`).join(' ');
  const text = (tx: number, ty: number, anchor: string, s: string) =>
    `<text x="${tx}" y="${ty}" text-anchor="${anchor}">${escapeXml(s)}</text>`;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="11">`,
    text(left, 14, 'start', title),
    `<path d="M${left} ${up}V${height - down}H${width - right}" fill="none" stroke="#888"/>`,
    text(left - 4, up + 4, 'end', label(top).trim()),
    text(left - 4, height - down, 'end', label(bottom).trim()),
    text(left, height - 8, 'start', ends[0]),
    text(width - right, height - 8, 'end', ends[1]),
    `<polyline points="${points}" fill="none" stroke="#2563eb" stroke-width="1.5"/>`,
    '</svg>',
  ].join('');
}
