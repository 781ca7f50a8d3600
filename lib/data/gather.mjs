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
  let map = Array.from({ length }, (_, i) => i);
  stages.forEach((stage, s) => {
    if (stage.kind === 'crop') {
      const size = vertical ? stage.height : stage.width;
      const word = stage.words[4 * k + (vertical ? 0 : 1)];
      const places = map.length + 2 * stage.padding - size + 1;
      const first = Math.floor((word * places) / 2 ** 32) - stage.padding;
      const cut = map;
      map = Array.from({ length: size }, (_, i) => {
        const at = first + i;
        return at >= 0 && at < cut.length ? cut[at] : -(s + 1);
      });
    } else if (!vertical && (stage.words[4 * k] >>> 8) * 2 ** -24 < stage.p) {
      map.reverse();
    }
  });
  return map;
}

function gatherImages(column, positions, out, from, to) {
  const { data, step, shift, channels, height, width, stages, outSize } = column;
  const tables = encoders(column);
  const plane = height * width;
  for (let k = from; k < to; k++) {
    const rows = follow(stages, k, height, true);
    const columns = follow(stages, k, width, false);
    const base = positions[k] * step + shift;
    let target = k * outSize;
    for (let c = 0; c < channels; c++) {
      const table = tables[c];
      for (const row of rows) {
        const start = base + c * plane + row * width;
        for (const x of columns) {
          let value;
          if (row >= 0 && x >= 0) value = data[start + x];
          // the stage that put the pixel there first decides its value
          else value = stages[-(row < 0 && x < 0 ? Math.max(row, x) : Math.min(row, x)) - 1].fill;
          out[target++] = table === undefined ? value : typeof table === 'function' ? table(value) : table[value];
        }
      }
    }
  }
}
