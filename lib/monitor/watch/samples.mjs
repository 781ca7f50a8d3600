// Sample outputs on the live page: stands before page.mjs in the same script, after curves.mjs, and imports nothing. Whatever a run says is shown as text;
// of pictures only those that came with it.

const picture = /^data:image\/png;base64,[A-Za-z0-9+/=]+$/;

/** The outputs of one run at one time: the last, as long as nobody chooses another. */
class Outputs {
  constructor(id) {
    this.id = id;
    this.chosen = null;
    this.keys = [];
    this.panel = element('section', undefined, { class: 'outputs' });
    this.choice = element('select', undefined, { 'aria-label': `step of the outputs of ${id}` });
    this.choice.addEventListener('change', () => {
      this.chosen = this.choice.selectedIndex === 0 ? null : this.choice.value;
      this.show();
    });
    const head = element('div', undefined, { class: 'controls' });
    this.label = element('label', 'after step ');
    this.label.append(this.choice);
    head.append(element('strong', id), this.label);
    this.list = element('ul', undefined, { class: 'samples' });
    this.panel.append(head, this.list);
  }
  /** @param keys ATTEMPT.STEP of what there is, the last last */
  take(keys) {
    if (keys.join() !== this.keys.join()) {
      this.keys = keys;
      const steps = [...keys].reverse().map((key) => element('option', key.slice(key.indexOf('.') + 1), { value: key }));
      this.choice.replaceChildren(...steps);
    }
    if (!keys.includes(this.chosen)) this.chosen = null;
    this.choice.value = this.chosen ?? keys.at(-1);
    this.show();
  }
  async show() {
    const key = this.chosen ?? this.keys.at(-1);
    if (key === this.shown) return;
    this.shown = key;
    try {
      const response = await fetch(`/api/samples?${new URLSearchParams({ run: this.id, made: key })}`);
      if (!response.ok) throw new Error(response.status);
      const { samples, step } = await response.json();
      if (key === this.shown) this.list.replaceChildren(...samples.map((s) => this.item(s, step)));
    } catch {
      if (key === this.shown) this.shown = undefined; // the next state that arrives asks again
    }
  }
  item({ name, text, image }, step) {
    const item = element('li', undefined, { class: typeof text === 'string' ? 'panel words' : 'panel' });
    item.append(element('h4', name));
    if (typeof image === 'string' && picture.test(image))
      item.append(element('img', undefined, { src: image, alt: `${name}, after step ${step}` }));
    if (typeof text === 'string') item.append(element('pre', text, { tabindex: '0' }));
    return item;
  }
}

/** Those of the runs that are shown, in their order, into a section that is there as long as there are some. */
export class OutputLists {
  constructor() {
    this.lists = new Map();
  }
  show(section, place, states) {
    const some = states.filter((state) => state.samples.length > 0);
    section.hidden = some.length === 0;
    for (const { id, samples } of some) {
      const list = this.lists.get(id) ?? new Outputs(id);
      this.lists.set(id, list);
      list.take(samples);
    }
    const panels = some.map(({ id }) => this.lists.get(id).panel);
    if (panels.length !== place.children.length || panels.some((p, i) => place.children[i] !== p))
      place.replaceChildren(...panels);
  }
}
