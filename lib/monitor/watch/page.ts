// The live page: one document that brings its scripts and style along, and may load nothing.
import { asGlobal, chartAssets, contentPolicy, html, inlineScript, Markup, pageScript, scriptText } from '../charts/index.ts';

const style = `
#runs td, #runs th, #evals td, #evals th { vertical-align: middle; white-space: nowrap; overflow-wrap: normal; } #runs label { display: inline-flex; align-items: center; min-height: 1.75rem; } #runs input { margin-right: .4rem; } #state { min-height: 1.5em; } .dot { display: inline-block; width: .8em; height: .8em; border-radius: 50%; margin-right: .4em; }
.steer { display: flex; flex-wrap: wrap; gap: .5rem; align-items: center; } .steer input { width: 8rem; background: var(--bg); border: 1px solid var(--quiet); border-radius: .3rem; padding: .25rem .5rem; min-height: 2rem; }
ul.lines { list-style: none; padding: 0; margin: 0; } ul.lines li { padding: .3rem 0; border-bottom: 1px solid var(--rule); } [hidden] { display: none !important; }
`;

const body = html`
<a class="skip" href="#charts">To the charts</a>
<header><h1>Anneal: live runs</h1><p id="state" role="status" class="quiet">Connecting ...</p></header>
<main>
<section aria-labelledby="h-runs"><h2 id="h-runs">Runs</h2><div class="scroll"><table id="runs"><thead><tr><th scope="col" class="text">run</th><th scope="col" class="text">state</th><th scope="col">step</th><th scope="col">loss</th><th scope="col">val/loss</th><th scope="col">lr</th><th scope="col">samples/s</th></tr></thead><tbody></tbody></table></div></section>
<section aria-labelledby="h-findings"><h2 id="h-findings">Findings</h2><ul id="findings" class="lines"></ul></section>
<section aria-labelledby="h-steer" id="steer"><h2 id="h-steer">Steer</h2>
<form class="steer" id="steering"><label>run <select id="target"></select></label>
<label>lr <input id="lr" inputmode="decimal" autocomplete="off" placeholder="1e-4" aria-label="learning rate"></label><button type="submit">Set lr</button>
<button type="button" data-wish="evaluate">Evaluate now</button><button type="button" data-wish="checkpoint">Checkpoint now</button><button type="button" data-wish="stopAfterEpoch">Stop after this epoch</button></form>
<p id="answer" role="status" class="quiet"></p></section>
<section aria-labelledby="h-charts"><h2 id="h-charts">Curves</h2>
<div class="controls"><label>smoothing <input type="range" id="smoothing" min="0" max="0.99" step="0.01" value="0"></label><label><input type="checkbox" id="log"> log scale</label><button type="button" id="all">Show all steps</button><span class="quiet">Drag to zoom, click twice for all.</span></div>
<p id="more" class="quiet" hidden></p>
<div id="charts" class="grid" tabindex="-1"></div></section>
<section aria-labelledby="h-evals"><h2 id="h-evals">Evaluations</h2><div id="evals"></div></section>
<section aria-labelledby="h-samples" id="samples" hidden><h2 id="h-samples">Sample outputs</h2><div id="outputs"></div></section>
<section aria-labelledby="h-journal"><h2 id="h-journal">Journal</h2><ul id="journal" class="lines"></ul></section>
</main>`;

let made: { text: string; policy: string } | undefined;

/** The page and the policy to serve it under, made once. */
export function watchPage(): { text: string; policy: string } {
  if (made) return made;
  const assets = chartAssets();
  const script = (name: string) => pageScript(`${name}.mjs`, `watch-${name}.mjs`, import.meta.url);
  const own = asGlobal('watch', `${script('curves')}\n${script('samples')}\n${script('page')}`);
  const scripts = [...assets.scripts, own, 'const page = watch.start(charts);'];
  const look = assets.style + style;
  const policy = contentPolicy(scripts.map(scriptText), look, "; connect-src 'self'; frame-ancestors 'none'");
  const text = html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1"><title>Anneal: live runs</title><link rel="icon" href="data:,"><style>${new Markup(look)}</style></head>
<body>${body}${scripts.map(inlineScript)}</body></html>`;
  made = { text: String(text), policy };
  return made;
}
