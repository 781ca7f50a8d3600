import { execFileSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { onEveryDevice } from './test/helpers/every-device.ts';

const simulated = (() => {
  try {
    execFileSync('nvcc', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false; // test/cuda/present.test.ts says so, as a named skip
  }
})();

export default defineConfig({
  resolve: {
    alias: {
      'anneal/typed': fileURLToPath(new URL('./lib/typed/index.ts', import.meta.url)),
      anneal: fileURLToPath(new URL('./lib/index.ts', import.meta.url)),
    },
  },
  test: {
    setupFiles: ['test/helpers/setup.ts'],
    pool: 'forks',
    // Each file's kernels use every core already, so two files side by side only fight over them.
    maxWorkers: Math.max(1, Math.floor(availableParallelism() / 2)),
    testTimeout: 60_000,
    hookTimeout: 60_000,
    projects: [
      { extends: true, test: { name: 'cpu', include: ['test/**/*.test.ts'] } },
      ...(simulated
        ? [
            {
              extends: true as const,
              test: { name: 'simulated', include: onEveryDevice, env: { ANNEAL_TEST_DEVICE: 'simulated' } },
            },
          ]
        : []),
    ],
  },
});
