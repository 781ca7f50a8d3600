// npm run build:simulator: builds the simulated GPU, build/Release/libanneal-sim-cuda.so (native/sim). Needs a C++ compiler and CMake only;
// what it executes, PTX, comes from npm run build:kernels.
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { isProgram, locked, main, root, run } from './lib/stage.mjs';

const out = join(root, 'build', 'cmake', 'simulator');

/** @param {{ quiet?: boolean }} [options] */
export function buildSimulator({ quiet = false } = {}) {
  return locked('simulator', async () => {
    const place = `-DCMAKE_LIBRARY_OUTPUT_DIRECTORY=${join(root, 'build', 'Release')}`;
    const stages = [
      ['-S', join(root, 'native', 'sim'), '-B', out, '-DCMAKE_BUILD_TYPE=Release', place],
      ['--build', out, '--target', 'anneal_sim', '--parallel', String(availableParallelism())],
    ];
    for (const args of stages) {
      const status = await run('cmake', args, { quiet });
      if (status !== 0) return status;
    }
    return 0;
  });
}

if (isProgram(import.meta.url)) main(() => buildSimulator());
