// Gathers the samples of a batch out of shared columns, moving and scaling them on the way.
// Plain JavaScript, without imports, so that a worker thread runs it as it stands, from the sources and from the package alike; the
// main thread runs the same code when there are no workers. Types: gather.d.mts and job.ts.

export function allocateOut(job) {
  return job.columns.map((column) => {
    const Constructor = column.encoding ? Float32Array : column.data.constructor;
    return new Constructor(job.positions.length * column.outSize);
  });
}

export function gather(job, outs, from, to) {
  job.columns.forEach((column, c) => {
    const out = outs[c];
    if (column.stages.length > 0) gatherImages(column, job.positions, out, from, to);
    else if (column.encoding) gatherEncoded(column, job.positions, out, from, to);
    else gatherPlain(column, job.positions, out, from, to);
  });
}

function gatherPlain({ data, size, step, shift }, positions, out, from, to) {
  for (let k = from; k < to; k++) {
    const start = positions[k] * step + shift;
    if (size === 1) out[k] = data[start];
    else out.set(data.subarray(start, start + size), k * size);
  }
}

/** One function of a stored value per channel; for bytes a table of its 256 results. */
function encoders({ data, channels, encoding }) {
  return Array.from({ length: channels }, (_, c) => {
    if (!encoding) return undefined;
    const { scale } = encoding;
    const mean = encoding.mean[c];
    const std = encoding.std[c];
    const encode = (value) => (value * scale - mean) / std;
    return data instanceof Uint8Array ? Float32Array.from({ length: 256 }, (_, v) => encode(v)) : encode;
  });
}

function gatherEncoded(column, positions, out, from, to) {
  const { data, size, step, shift, channels } = column;
  const plane = size / channels;
  const tables = encoders(column);
  for (let k = from; k < to; k++) {
    let source = positions[k] * step + shift;
    let target = k * size;
    for (const table of tables) {
      const end = target + plane;
      if (typeof table === 'function') while (target < end) out[target++] = table(data[source++]);
      else while (target < end) out[target++] = table[data[source++]];
    }
  }
}

/**
 * Which source row (or column) each output row shows, after all stages: crops and flips move whole rows and columns, so their
 * product is two lists. A negative entry -(s + 1) is padding put there by stage s.
 */
function follow(stages, k, length, vertical) {
  let map = new Int32Array(length);
  for (let i = 0; i < length; i++) map[i] = i;
  for (let s = 0; s < stages.length; s++) {
    const stage = stages[s];
    if (stage.kind === 'crop') {
      const size = vertical ? stage.height : stage.width;
      const word = stage.words[4 * k + (vertical ? 0 : 1)];
      const places = map.length + 2 * stage.padding - size + 1;
      const first = Math.floor((word * places) / 2 ** 32) - stage.padding;
      const cut = map;
      map = new Int32Array(size);
      for (let i = 0; i < size; i++) {
        const at = first + i;
        map[i] = at >= 0 && at < cut.length ? cut[at] : -(s + 1);
      }
    } else if (!vertical && (stage.words[4 * k] >>> 8) * 2 ** -24 < stage.p) {
      map.reverse();
    }
  }
  return map;
}

function gatherImages(column, positions, out, from, to) {
  const { data, step, shift, channels, height, width, stages, outSize } = column;
  const tables = encoders(column);
  const plane = height * width;
  // what padding looks like in the batch, per channel and stage
  const fills = tables.map((table) => stages.map(({ fill = 0 }) => encodeOne(table, fill)));
  for (let k = from; k < to; k++) {
    const rows = follow(stages, k, height, true);
    const columns = follow(stages, k, width, false);
    const base = positions[k] * step + shift;
    let target = k * outSize;
    for (let c = 0; c < channels; c++) {
      for (let y = 0; y < rows.length; y++) {
        copyRow(out, target, data, base + c * plane, width, rows[y], columns, tables[c], fills[c]);
        target += columns.length;
      }
    }
  }
}

function encodeOne(table, value) {
  if (table === undefined) return value;
  return typeof table === 'function' ? table(value) : table[value];
}

/** One row of pixels. The loops are apart because this is where an epoch's time goes. */
function copyRow(out, target, data, origin, width, row, columns, table, fills) {
  const n = columns.length;
  const start = origin + row * width;
  if (row < 0) {
    // the stage that put a pixel there first decides its value
    for (let i = 0; i < n; i++) out[target + i] = fills[-(columns[i] < 0 ? Math.max(row, columns[i]) : row) - 1];
  } else if (table === undefined || typeof table === 'function') {
    for (let i = 0; i < n; i++) {
      const x = columns[i];
      out[target + i] = x < 0 ? fills[-x - 1] : encodeOne(table, data[start + x]);
    }
  } else {
    for (let i = 0; i < n; i++) {
      const x = columns[i];
      out[target + i] = x < 0 ? fills[-x - 1] : table[data[start + x]];
    }
  }
}
