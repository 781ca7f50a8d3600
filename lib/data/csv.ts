import { ConfigError, checkOptions, DataError, describe } from '../native/errors.ts';
import { CsvRecords } from './csv-records.ts';
import { inspectFile, readChunks } from './files.ts';
import { checkInteger } from './options.ts';
import { checkTableOptions, type Fail, Table, type TableDataset, type TableOptions, tableOptions } from './table.ts';

/** Options of `csv`. */
export interface CsvOptions extends TableOptions {
  /** Whether the first record names the columns (default true), or the names themselves where the file has none. */
  header?: boolean | readonly string[];
  /** One character, default ','. */
  delimiter?: string;
  /** The longest field in characters. Default 1 MiB. */
  maxField?: number;
}

function checkCsvOptions(options: CsvOptions): void {
  checkOptions('data.csv', options, [...tableOptions, 'header', 'delimiter', 'maxField']);
  checkTableOptions('data.csv', options);
  const { delimiter = ',', header } = options;
  if (options.maxField !== undefined) checkInteger('data.csv', 'maxField', options.maxField, 1);
  if (typeof delimiter !== 'string' || delimiter.length !== 1 || '"\r\n'.includes(delimiter)) {
    throw new ConfigError(
      `data.csv: delimiter must be one character other than a quote or a line end, got ${describe(delimiter)}.`,
    );
  }
  if (header !== undefined && typeof header !== 'boolean' && !Array.isArray(header)) {
    throw new ConfigError(`data.csv: header must be true, false or a list of names, got ${describe(header)}.`);
  }
}

function namesOf(header: boolean | readonly string[], first: readonly string[], line: number, fail: Fail): readonly string[] {
  if (header === true) return first.map((n) => n.trim());
  if (header === false) return first.map((_, i) => `column ${i}`);
  if (header.length === first.length) return header;
  throw fail(line, `${first.length} fields, but the header option names ${header.length} columns`);
}

/**
 * Reads numbers from a CSV file (RFC 4180; UTF-8, plain or gzip) into a dataset with x [features] and, with a `label`, y [].
 * The file is read in pieces, so that its text is never in memory whole. Throws DataError, naming the file and the line, for a field
 * that is not a number, a record of another width, a quote left open, bytes that are not UTF-8.
 */
export async function csv(path: string | URL, options: CsvOptions = {}): Promise<TableDataset> {
  checkCsvOptions(options);
  const file = await inspectFile('data.csv', path);
  const fail: Fail = (line, what) => new DataError(`data.csv: ${file.path}: line ${line}: ${what}.`);
  const dialect = { delimiter: options.delimiter ?? ',', maxField: options.maxField ?? 2 ** 20, maxFields: 65_536 };
  const records = new CsvRecords(dialect, fail);
  const { header = true } = options;
  let table: Table | undefined;
  let width = 0;
  const add = ({ line, fields }: { line: number; fields: string[] }): void => {
    if (!table) {
      table = new Table(options, namesOf(header, fields, line, fail), line, fail);
      width = fields.length;
      if (header === true) return;
    }
    if (fields.length !== width) {
      const hint = fields.length === 1 && width > 1 ? '; is the delimiter right?' : '';
      throw fail(line, `expected ${width} fields, found ${fields.length}${hint}`);
    }
    table.add(line, fields);
  };
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let offset = 0;
  const decode = (chunk?: Buffer): string => {
    try {
      return decoder.decode(chunk, { stream: chunk !== undefined });
    } catch (cause) {
      const message = `data.csv: ${file.path}: bytes that are not UTF-8 in the 64 KiB from byte ${offset}. Convert the file to UTF-8.`;
      throw new DataError(message, { cause });
    }
  };
  for await (const chunk of readChunks('data.csv', file)) {
    for (const record of records.push(decode(chunk))) add(record);
    offset += chunk.length;
  }
  for (const record of [...records.push(decode()), ...records.finish()]) add(record);
  if (!table) throw fail(1, 'the file holds no records');
  return (table as Table).finish();
}
