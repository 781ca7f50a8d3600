// What a report shows of sample outputs: those of the first time, the last and some between, the last first.
import { html, type Markup } from '../charts/html.ts';
import { pngUrl } from '../png.ts';
import type { SampleOutputs, ShownSample } from '../samples.ts';

const timesShown = 8;

/** At most `most` of a list, evenly, its ends among them. */
function spread<T>(all: readonly T[], most: number): T[] {
  if (all.length <= most) return [...all];
  return Array.from({ length: most }, (_, i) => all[Math.round((i * (all.length - 1)) / (most - 1))] as T);
}

function one({ name, text, image }: ShownSample, step: number): Markup {
  const picture =
    image !== undefined && pngUrl.test(image) ? html`<img src="${image}" alt="${name}, after step ${step}">` : html``;
  const words = text === undefined ? html`` : html`<pre tabindex="0">${text}</pre>`;
  return html`<li class="panel${text === undefined ? '' : ' words'}"><h4>${name}</h4>${picture}${words}</li>`;
}

export function samplesOf(outputs: readonly SampleOutputs[], damaged: number): Markup {
  const cut = damaged ? html`<p class="warn">${damaged} lines of the sample outputs could not be read.</p>` : html``;
  if (outputs.length === 0) return damaged ? html`<h2 id="samples">Sample outputs</h2>${cut}` : html``;
  const shown = spread(outputs, timesShown).reverse();
  const few =
    shown.length < outputs.length
      ? html`<p class="quiet">${shown.length} of ${outputs.length} times, the last first.</p>`
      : html``;
  const time = ({ step, epoch, samples }: SampleOutputs) =>
    html`<section><h3>After step ${step} ${epoch > 0 && html`<span class="quiet">(${epoch} ${epoch === 1 ? 'epoch' : 'epochs'})</span>`}</h3><ul class="samples">${samples.map((s) => one(s, step))}</ul></section>`;
  return html`<h2 id="samples">Sample outputs</h2>${few}${cut}${shown.map(time)}`;
}
