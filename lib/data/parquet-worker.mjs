// A thread that reads one Parquet file. Damaged files can keep the reader busy for ever: a thread can be ended.
import { open } from 'node:fs/promises';
import { parentPort, workerData } from 'node:worker_threads';
import { brotliDecompressSync, gunzipSync } from 'node:zlib';

/** The file as the reader asks for it. */
async function opened({ path, bytes }) {
  const handle = await open(path, 'r');
  return {
    byteLength: bytes,
    async slice(start, end = bytes) {
      if (!(start >= 0 && end >= start && end <= bytes)) throw new Error(`bytes ${start} to ${end} are not in the file`);
      const part = new Uint8Array(end - start);
      await handle.read(part, 0, part.length, start);
      return part.buffer;
    },
  };
}

/** Booleans are 0 and 1; what is neither number nor text is told by its kind. */
function fieldOf(value) {
  if (value === null || value === undefined) return null;
  if (typeof value === 'number' || typeof value === 'string') return value;
  if (typeof value === 'boolean' || typeof value === 'bigint') return Number(value);
  return { kind: value?.constructor?.name ?? typeof value };
}

/** Says what is in the file, and then gives groups of rows as they are asked for. */
async function serve() {
  const { parquetMetadataAsync, parquetReadObjects } = await import(workerData.reader);
  const file = await opened(workerData);
  const compressors = { GZIP: (packed) => gunzipSync(packed), BROTLI: (packed) => brotliDecompressSync(packed) };
  const metadata = await parquetMetadataAsync(file);
  const [, ...schema] = metadata.schema;
  const groups = metadata.row_groups.map((g) => Number(g.num_rows));
  const rowsOf = async (index, columns) => {
    const rowStart = groups.slice(0, index).reduce((a, b) => a + b, 0);
    const rows = await parquetReadObjects({ file, metadata, compressors, columns, rowStart, rowEnd: rowStart + groups[index] });
    return rows.map((row) => columns.map((name) => fieldOf(row[name])));
  };
  parentPort.on('message', ({ index, columns }) => {
    rowsOf(index, columns).then(
      (rows) => parentPort.postMessage({ rows }),
      (error) => parentPort.postMessage({ error: String(error?.message ?? error) }),
    );
  });
  const nested = schema.find((c) => (c.num_children ?? 0) > 0 || c.repetition_type === 'REPEATED')?.name;
  parentPort.postMessage({ names: schema.map((c) => c.name), groups, total: Number(metadata.num_rows), nested });
}

serve().catch((error) => {
  setImmediate(() => {
    throw error; // told to the parent as the thread's error
  });
});
