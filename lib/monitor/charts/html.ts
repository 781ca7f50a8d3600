/** Text that is HTML already. Everything else is escaped when it is put into a page. */
export class Markup {
  readonly #text: string;
  constructor(text: string) {
    this.#text = text;
  }
  toString(): string {
    return this.#text;
  }
}

/** What a template takes: lists are joined, null, undefined and false leave nothing, all else is shown as text. */
export type Content = Markup | string | number | boolean | null | undefined | readonly Content[];

const entities: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };

/** C0 and C1 controls and the marks that turn the direction of text would let a name pretend to be another: shown as U+FFFD. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
const misleading = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;

/** Text as a page shows it, in an element or in a quoted attribute. */
export function escapeHtml(text: string): string {
  return text.replace(misleading, '\ufffd').replace(/[&<>"']/g, (c) => entities[c] as string);
}

function contentOf(value: Content): string {
  if (value instanceof Markup) return value.toString();
  if (Array.isArray(value)) return value.map(contentOf).join('');
  if (value === null || value === undefined || value === false) return '';
  return escapeHtml(typeof value === 'object' ? JSON.stringify(value) : String(value)); // an object of JSON may have a toString of its own
}

/** A template of HTML, in which what is put in is text unless it is itself such a template: html`<td>${name}</td>`. */
export function html(parts: TemplateStringsArray, ...values: readonly Content[]): Markup {
  return new Markup(parts.reduce((all, part, i) => all + contentOf(values[i - 1]) + part));
}

/** JSON that may stand in a script element: nothing in it ends the element or opens a comment. NaN and the infinities are written by name. */
export function jsonForScript(value: unknown): string {
  const json = JSON.stringify(value, (_, v) => (typeof v === 'number' && !Number.isFinite(v) ? String(v) : v));
  return json.replace(/[<>&\u2028\u2029]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
