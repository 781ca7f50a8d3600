// Gathers the samples of a batch out of shared columns, scaling them on the way; what is more than that, native code does.
// Plain JavaScript, without imports, so that a worker thread runs it as it stands, from the sources and from the package alike; the
// main thread runs the same code when there are no workers. Types: gather.d.mts and job.ts.

export function allocateOut(job) {
  return job.columns.map((column) => {
    const Constructor = column.encoding ? Float32Array : column.data.constructor;
    return new Constructor(job.positions.length * column.outSize);
  });
}

export function gather(job, outs, from, to, native) {
  job.columns.forEach((column, c) => {
    const out = outs[c];
    const { data, program } = column;
    if (program) native.augment(data, job.positions, out, program.header, program.numbers, from, to);
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

export function mix(job, outs, native) {
  const rows = job.positions.length;
  for (const m of job.mixes) {
    const out = outs[m.column];
    if (m.kind === 'mixup') native.mixup(out, rows, m.lambda);
    else if (m.kind === 'cutmix') native.cutmix(out, rows, m.height, m.width, m.box);
    else {
      const soft = new Float32Array(rows * m.classes);
      for (let k = 0; k < rows; k++) soft[k * m.classes + out[k]] = 1;
      outs[m.column] = soft;
    }
  }
}
