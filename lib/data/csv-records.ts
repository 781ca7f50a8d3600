/** Limits and signs of a CSV dialect. */
export interface Dialect {
  /** One character; it may be neither a quote nor a line end. */
  readonly delimiter: string;
  /** The longest field and the most fields of a record: an unclosed quote must not swallow the file. */
  readonly maxField: number;
  readonly maxFields: number;
}

/** A record and the line (from 1) on which it starts. */
export interface CsvRecord {
  readonly line: number;
  readonly fields: string[];
}

const quote = 34;
const cr = 13;
const lf = 10;

type State = 'start' | 'plain' | 'quoted' | 'afterQuote';

/**
 * RFC 4180, incrementally: give it text in any pieces, take the records that are complete. Lines end in CRLF, LF or CR; empty lines
 * are passed over. `fail(line, what)` makes the error to throw.
 */
export class CsvRecords {
  readonly #delimiter: number;
  #state: State = 'start';
  #fields: string[] = [];
  #field = '';
  #line = 1;
  #startLine = 1;
  #quoteLine = 1;
  #skipLf = false;
  #ready: CsvRecord[] = [];

  constructor(
    readonly dialect: Dialect,
    readonly fail: (line: number, what: string) => Error,
  ) {
    this.#delimiter = dialect.delimiter.charCodeAt(0);
  }

  /** Takes the next text and returns the records that it completes. */
  push(text: string): CsvRecord[] {
    let from = 0; // the start of the run of ordinary characters not yet in the field
    for (let i = 0; i < text.length; i++) {
      const c = text.charCodeAt(i);
      if (this.#state === 'quoted') {
        if (c === quote) {
          this.#append(text.slice(from, i));
          this.#state = 'afterQuote';
        } else if (c === cr || (c === lf && !this.#skipLf)) this.#line++;
        this.#skipLf = c === cr; // CRLF inside a quoted field is one line end
        continue;
      }
      if (c === lf && this.#skipLf) {
        this.#skipLf = false;
        continue;
      }
      this.#skipLf = false;
      if (c === quote) {
        if (this.#state === 'plain')
          throw this.fail(this.#line, 'a quote inside an unquoted field; quote the whole field and double the quote');
        if (this.#state === 'afterQuote') this.#append('"');
        else this.#quoteLine = this.#line;
        this.#state = 'quoted';
        from = i + 1;
      } else if (c === this.#delimiter || c === lf || c === cr) {
        if (this.#state === 'plain') this.#append(text.slice(from, i));
        this.#end(c);
      } else if (this.#state === 'afterQuote') {
        throw this.fail(this.#line, `${JSON.stringify(text[i])} after a closing quote; a delimiter or a line end must follow it`);
      } else if (this.#state === 'start') {
        this.#state = 'plain';
        from = i;
      }
    }
    if (this.#state === 'plain' || this.#state === 'quoted') this.#append(text.slice(from));
    return this.#take();
  }

  /** Ends the text and returns the last record, if the file does not end in a line end. */
  finish(): CsvRecord[] {
    if (this.#state === 'quoted') throw this.fail(this.#quoteLine, 'the quote that opens here is never closed');
    if (this.#fields.length > 0 || this.#state !== 'start') this.#end(lf);
    return this.#take();
  }

  #take(): CsvRecord[] {
    const ready = this.#ready;
    this.#ready = [];
    return ready;
  }

  #append(text: string): void {
    this.#field += text;
    if (this.#field.length <= this.dialect.maxField) return;
    const line = this.#state === 'quoted' ? this.#quoteLine : this.#line;
    throw this.fail(line, `a field of more than ${this.dialect.maxField} characters; is a quote left open?`);
  }

  /** Ends a field at delimiter or line end `c`, and a record at a line end. */
  #end(c: number): void {
    const blank = this.#state === 'start' && this.#fields.length === 0 && c !== this.#delimiter;
    if (!blank) this.#fields.push(this.#field);
    if (this.#fields.length > this.dialect.maxFields) {
      throw this.fail(this.#startLine, `more than ${this.dialect.maxFields} fields; is the delimiter right?`);
    }
    this.#field = '';
    this.#state = 'start';
    if (c === this.#delimiter) return;
    if (!blank) this.#ready.push({ line: this.#startLine, fields: this.#fields });
    this.#fields = [];
    this.#line++;
    this.#startLine = this.#line;
    this.#skipLf = c === cr;
  }
}
