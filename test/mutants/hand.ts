/** Mistakes that an author of kernels makes, one for each line of the list in the source itself: what to find, what stands there instead. */

import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { root, type Suspect } from './judge.ts';

export interface HandMade {
  class: 'barrier' | 'wait' | 'guard' | 'address' | 'constant' | 'fragment' | 'swizzle' | 'tail' | 'order';
  what: string;
  /** In native/cuda. */
  file: string;
  find: string;
  replace: string;
  /** The family that is compiled again, and the tests that judge it, by their names. */
  family: string;
  tests: RegExp;
}

const gemm = { file: 'gemm_mma.cuh', family: 'matmul_bf16', tests: /^(bf16 )?matmul > .*(bf16|matmul\/|linear\/)/ };
const ragged = { ...gemm, file: 'gemm_ragged.cuh' };
const tiles = { file: 'mma.cuh', family: 'matmul_bf16', tests: /^(bf16 )?matmul > .*(bf16|matmul\/|linear\/)/ };
const attention = { file: 'attention_forward.cuh', family: 'attention', tests: /^(bf16 )?attention > / };
const optimizer = { file: 'optim.cu', family: 'optim', tests: /^(20 steps as PyTorch|clipGradNorm as PyTorch|groups|a step) > / };

export const handMade: readonly HandMade[] = [
  // Products on tensor cores.
  {
    ...gemm,
    class: 'barrier',
    what: 'no barrier before a stage is read',
    find: "    __syncthreads();  // everyone's copies of this step have arrived, and nobody reads the stage that is filled next\n",
    replace: '',
  },
  {
    ...gemm,
    class: 'barrier',
    what: 'no barrier before the tiles become scratch',
    find: '  __syncthreads();  // the tiles become scratch\n',
    replace: '',
  },
  {
    ...gemm,
    class: 'barrier',
    what: 'the scratch is written again while it is read',
    find: '    if (i) __syncwarp();  // the rows before have been read\n',
    replace: '',
  },
  {
    ...gemm,
    class: 'wait',
    what: 'one copy too many under way',
    find: 'copyWait<kMmaStages - 2 - kLate>();',
    replace: 'copyWait<kMmaStages - 1 - kLate>();',
  },
  {
    ...gemm,
    class: 'tail',
    what: 'the last chunks of late rows are left out',
    find: 'if (step < steps + kLate)',
    replace: 'if (step < steps)',
  },
  { ...gemm, class: 'wait', what: 'a stage is not committed', find: '    copyCommit();\n  };', replace: '  };' },
  {
    ...gemm,
    class: 'tail',
    what: 'the last, ragged step along k is left out',
    find: 't.kBegin + kMmaStep - 1) / kMmaStep',
    replace: 't.kBegin) / kMmaStep',
  },
  {
    ...gemm,
    class: 'address',
    what: 'the wrong stage is filled',
    find: 'stage == 0 ? kMmaStages - 1 : stage - 1',
    replace: 'stage',
  },
  {
    ...gemm,
    class: 'guard',
    what: 'ragged columns are stored past the end',
    find: 'j < columns; j += 32',
    replace: 'j <= columns; j += 32',
  },
  {
    ...ragged,
    class: 'barrier',
    what: 'no barrier before a stage is read, ragged',
    find: '    __syncthreads();  // everyone has stored this step, and nobody reads the stages that are filled next\n',
    replace: '',
  },
  {
    ...ragged,
    class: 'guard',
    what: 'words are read past the ends of the matrix',
    find: 'return index * pitch >= 32 && (lines - 1 - index) * pitch >= 32;',
    replace: 'return true;',
  },
  {
    ...ragged,
    class: 'tail',
    what: 'what follows a row is summed along with it',
    find: '(real >= 2 ? words[i] & 0xffff : 0)',
    replace: 'words[i]',
  },
  {
    ...ragged,
    class: 'order',
    what: 'a row’s last word is not kept for the next step',
    find: 'low = spare, spare = high;',
    replace: 'low = spare;',
  },
  {
    ...ragged,
    class: 'address',
    what: 'a line’s missing word is always its last',
    find: 'begin & 16 ? 16 : 16 * kPerLine',
    replace: '16 * kPerLine',
  },
  {
    ...ragged,
    class: 'constant',
    what: 'chunks are cut at multiples of eight bytes',
    find: 'four = shift & 4;',
    replace: 'four = false;',
  },
  {
    ...tiles,
    class: 'fragment',
    what: 'a’s matrices in the order of b’s',
    find: 'const int byX = rows ? m & 1 : m >> 1, byK = rows ? m >> 1 : m & 1;',
    replace: 'const int byX = m >> 1, byK = m & 1;',
  },
  {
    ...tiles,
    class: 'fragment',
    what: 'b’s registers swapped',
    find: '"r"(a[3]), "r"(b[0]), "r"(b[1]));\n}\n\nANNEAL_FN uint32_t sharedAddress',
    replace: '"r"(a[3]), "r"(b[1]), "r"(b[0]));\n}\n\nANNEAL_FN uint32_t sharedAddress',
  },
  {
    ...tiles,
    class: 'swizzle',
    what: 'reads turn the chunk by another key than writes',
    find: 'turned = chunk ^ Swizzle<kPerLine>::key(line);',
    replace: 'turned = chunk ^ (line & 3);',
  },
  { ...tiles, class: 'guard', what: 'rows beyond the end are not zero-filled', find: 'real ? 16 : 0', replace: '16' },
  // Attention.
  {
    ...attention,
    class: 'barrier',
    what: 'keys overwritten while they are read',
    find: '    __syncthreads();  // values are here; the keys have been read\n',
    replace: '',
  },
  {
    ...attention,
    class: 'wait',
    what: 'values are used on their way',
    find: '    copyWait<0>();\n    __syncthreads();  // values are here',
    replace: '    __syncthreads();  // values are here',
  },
  {
    ...attention,
    class: 'tail',
    what: 'keys beyond the end are seen',
    find: 'if (j >= seen[e >> 1] ||',
    replace: 'if (j > seen[e >> 1] ||',
  },
  {
    ...attention,
    class: 'order',
    what: 'the sum does not shrink to the new maximum',
    find: 'run.sum[r] *= shrink;',
    replace: '',
  },
  {
    ...attention,
    class: 'fragment',
    what: 'the second row of a lane is 4 below',
    find: 'const int64_t seen[2] = {keysSeen(a, i), keysSeen(a, i + 8)};',
    replace: 'const int64_t seen[2] = {keysSeen(a, i), keysSeen(a, i + 4)};',
  },
  // Rows, reductions, moves.
  {
    class: 'tail',
    what: 'a row’s ragged end is left out',
    file: 'rows.cuh',
    family: 'softmax',
    tests: /softmax/i,
    find: 'if (team.lane < head + rest) {',
    replace: 'if (team.lane < head) {',
  },
  {
    class: 'barrier',
    what: 'warps’ results are read before they are written',
    file: 'reduce.cuh',
    family: 'reduce',
    tests: /^((bf16|f32) )?(reduce|dropout2d) > (sum|mean|drops whole)/,
    find: 'fromWarps[threadIdx.x >> 5] = s;\n    __syncthreads();',
    replace: 'fromWarps[threadIdx.x >> 5] = s;',
  },
  {
    class: 'constant',
    what: 'the butterfly begins at 8',
    file: 'reduce.cuh',
    family: 'reduce',
    tests: /^((bf16|f32) )?(reduce|dropout2d) > (sum|mean|drops whole)/,
    find: 'for (int d = 16; d; d >>= 1) op.merge(s, shuffledDown(s, d));',
    replace: 'for (int d = 8; d; d >>= 1) op.merge(s, shuffledDown(s, d));',
  },
  {
    class: 'barrier',
    what: 'a tile is read before it is whole',
    file: 'strided.cu',
    family: 'strided',
    tests: /^((bf16|f32) )?index > (permute|transpose)/,
    find: '  __syncthreads();\n#pragma unroll 4\n  for (int i = row;',
    replace: '#pragma unroll 4\n  for (int i = row;',
  },
  {
    class: 'swizzle',
    what: 'the tile is read at its mirror',
    file: 'strided.cu',
    family: 'strided',
    tests: /^((bf16|f32) )?index > (permute|transpose)/,
    find: '+ j0 + j] = tile[j][i];',
    replace: '+ j0 + j] = tile[i][j];',
  },
  {
    class: 'guard',
    what: 'a place’s run ends one late',
    file: 'index.cu',
    family: 'index',
    tests: /^((bf16|f32) )?index > (embedding|gather)/,
    find: 'at < n && keys[at] == key; ++at) sum += widen(g[from[at]]);',
    replace: 'at < n && keys[at] <= key + 1; ++at) sum += widen(g[from[at]]);',
  },
  {
    class: 'barrier',
    what: 'counts race with those who read them',
    file: 'sort.cu',
    family: 'sort',
    tests: /^((bf16|f32) )?index > (embedding|gather)/,
    find: '__popc(same & ((1u << lane) - 1));\n    __syncwarp();',
    replace: '__popc(same & ((1u << lane) - 1));',
  },
  {
    file: 'memory.cu',
    family: 'memory',
    tests: /^(20 steps as PyTorch|a step) > /,
    class: 'tail',
    what: 'one element more, inside a block of memory that has room for it',
    find: 'shareOf<N>(n, aligned16(y))',
    replace: 'shareOf<N>(n + 1, aligned16(y))',
  },
  // The step.
  {
    ...optimizer,
    class: 'tail',
    what: 'the last elements of a chunk are not updated',
    find: 'for (int64_t i = done + threadIdx.x; i < n; i += kThreads)',
    replace: 'for (int64_t i = done + threadIdx.x; i + 1 < n; i += kThreads)',
  },
  {
    ...optimizer,
    class: 'barrier',
    what: 'the row is read before it is there',
    find: '    if (threadIdx.x == 0) index = found;\n  }\n  __syncthreads();',
    replace: '    if (threadIdx.x == 0) index = found;\n  }',
  },
  {
    ...optimizer,
    class: 'guard',
    what: 'a skipped step is taken',
    find: 'return !state || state[kSkip] == 0;',
    replace: 'return true;',
  },
  {
    ...optimizer,
    class: 'address',
    what: 'each chunk begins one late',
    find: 'const int64_t begin = (blockIdx.x - row.first) * kUpdateChunk,',
    replace: 'const int64_t begin = (blockIdx.x - row.first) * (kUpdateChunk - 1),',
  },
];

/** The family's PTX with the mistake in its source. */
export async function compiled(h: HandMade): Promise<Suspect> {
  const folder = mkdtempSync(join(tmpdir(), 'anneal-hand-'));
  try {
    const native = join(root, 'native');
    const source = readFileSync(join(native, 'cuda', h.file), 'utf8');
    if (!source.includes(h.find)) throw new Error(`${h.file} has no longer: ${h.find}`);
    mkdirSync(join(folder, 'cuda'));
    writeFileSync(
      join(folder, 'cuda', h.file),
      source.replace(h.find, () => h.replace),
    );
    // Found before the true one of that name.
    const includes = [folder, native, join(native, 'src')].flatMap((at) => ['-I', at]);
    const main = [folder, native].map((at) => join(at, 'cuda', `${h.family}.cu`)).find(existsSync) as string;
    const out = join(folder, 'ptx');
    const language = ['-std=c++17', '--expt-relaxed-constexpr', '-lineinfo', '-arch=compute_80', '-ptx'];
    await promisify(execFile)('nvcc', [...language, ...includes, '-o', out, main]);
    return { family: h.family, ptx: readFileSync(out, 'utf8'), tests: h.tests };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
