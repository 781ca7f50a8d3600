/**
 * The style of every page of charts: light and dark by the reader's scheme, light in print. Text has a contrast of at least 4.5, lines of charts of at
 * least 3 (WCAG AA; test/monitor/report-page.test.ts computes it). --c0 to --c5 are the curves' colours, which page.mjs reads.
 */
export const chartStyle = `
:root { color-scheme: light dark; --bg: #ffffff; --panel: #f5f6f8; --text: #16191d; --quiet: #4f5863; --rule: #c9ced6; --accent: #0b5cad;
  --good: #176b37; --warn: #8a4b00; --bad: #b01a2e; --c0: #0b5cad; --c1: #b34700; --c2: #176b37; --c3: #7d2fb8; --c4: #a3195b; --c5: #0a6b74; --heat: 11, 92, 173; }
@media screen and (prefers-color-scheme: dark) { :root { --bg: #14171c; --panel: #1d2128; --text: #e8eaee; --quiet: #a9b2be; --rule: #3b424d; --accent: #7cb8ff;
  --good: #6fd394; --warn: #ffb866; --bad: #ff8d98; --c0: #7cb8ff; --c1: #ffa657; --c2: #6fd394; --c3: #d0a5ff; --c4: #ff93bd; --c5: #6fd3dc; --heat: 124, 184, 255; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem clamp(.75rem, 3vw, 2rem) 3rem; max-width: 80rem; background: var(--bg); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0; } h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; } h3 { font-size: 1rem; margin: 0 0 .25rem; }
a { color: var(--accent); } p { margin: .5rem 0; } .quiet { color: var(--quiet); } code, pre { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .9em; }
pre { white-space: pre-wrap; margin: 0; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.skip { position: absolute; left: -99rem; } .skip:focus { position: static; }
.grid { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
.panel { background: var(--panel); border: 1px solid var(--rule); border-radius: .4rem; padding: .75rem; min-width: 0; break-inside: avoid; }
.facts { display: grid; gap: .5rem 1.5rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 11rem), 1fr)); margin: 1rem 0; }
.facts dt { color: var(--quiet); font-size: .85rem; } .facts dd { margin: 0; font-size: 1.1rem; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; max-width: 100%; } .scroll td:not(.text) { white-space: nowrap; overflow-wrap: normal; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; } caption { text-align: left; color: var(--quiet); padding-bottom: .25rem; }
th, td { padding: .2rem .5rem; text-align: right; border-bottom: 1px solid var(--rule); vertical-align: top; }
th { font-weight: 600; } th[scope=row], td.text, th.text { text-align: left; overflow-wrap: anywhere; } td.text { min-width: 6rem; }
button, input, select { font: inherit; color: inherit; } button, select { background: var(--panel); border: 1px solid var(--quiet); border-radius: .3rem; padding: .25rem .6rem; min-height: 2rem; }
.controls { display: flex; flex-wrap: wrap; gap: .5rem 1.25rem; align-items: center; margin: .5rem 0; } .controls label { display: inline-flex; gap: .4rem; align-items: center; min-height: 2rem; }
input[type=range] { accent-color: var(--accent); max-width: 10rem; } input[type=checkbox] { accent-color: var(--accent); width: 1.1rem; height: 1.1rem; }
.good { color: var(--good); } .warn { color: var(--warn); } .bad { color: var(--bad); }
.chart { width: 100%; min-height: 220px; } .chart .uplot { width: 100%; font: inherit; } .uplot .legend, .u-legend { font-size: .85rem; text-align: left; margin: 0; }
.u-legend th, .u-legend td { border: 0; } .u-legend .u-marker { border-radius: 2px; } .u-legend .u-value { min-width: 5rem; display: inline-block; text-align: left; }
.u-select { background: rgba(var(--heat), .2); } .u-cursor-x, .u-cursor-y { border-color: var(--quiet) !important; }
h4 { font-size: .9rem; margin: 0 0 .25rem; } .samples { list-style: none; margin: .25rem 0 1rem; padding: 0; display: flex; flex-wrap: wrap; gap: .75rem; } .samples li { max-width: 100%; } .samples .words { flex: 1 1 18rem; }
.samples img { min-width: 6rem; max-width: 100%; height: auto; image-rendering: pixelated; border: 1px solid var(--rule); } .samples pre { max-height: 14rem; overflow: auto; }
@media print { .samples pre { max-height: none; } body { max-width: none; padding: 0; font-size: 10pt; } .controls, .skip, .noprint { display: none !important; } h2 { break-after: avoid; }
  .grid { grid-template-columns: 1fr 1fr; } .panel { border-color: #999; } .scroll { overflow: visible; } .uplot canvas { width: 100% !important; height: auto !important; } .u-wrap { width: 100% !important; height: auto !important; }
  .u-over, .u-under { display: none; } a[href^="http"]::after { content: " (" attr(href) ")"; font-size: .85em; } }
@media (prefers-reduced-motion: no-preference) { a, button { transition: background-color .1s; } }
`;
