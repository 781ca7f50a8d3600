/** What attention on tensor cores does not do: it keeps no T x T buffer, and where it is causal it visits no tile above the diagonal. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import type { Launch } from '../../bench/simulated.ts';
import { simulator, withoutSimulator } from '../helpers/device.ts';

function attend(T: number, causal: boolean, more: Record<string, string> = {}): { launches: Launch[]; bytes: number } {
  const dir = mkdtempSync(join(tmpdir(), 'anneal-attention-'));
  const file = join(dir, 'counters.jsonl');
  writeFileSync(file, '');
  try {
    const args = ['--import', 'tsx', 'test/cuda/attention-child.ts', `${T}`, `${causal}`];
    const env = { ...process.env, ANNEAL_TEST_DEVICE: '', ANNEAL_CUDA_DRIVER: simulator, ANNEAL_SIM_COUNTERS: file, ...more };
    const cwd = fileURLToPath(new URL('../..', import.meta.url));
    return JSON.parse(execFileSync(process.execPath, args, { cwd, env, encoding: 'utf8', timeout: 60_000 }));
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** mma.m16n8k16 of one product of two 64 x 64 tiles over 64. */
const perProduct = (64 / 16) * (64 / 8) * (64 / 16);

describe.skipIf(withoutSimulator)('attention in bf16, heads of 64, on the simulated GPU', { timeout: 120_000 }, () => {
  test.each([
    ['causal', true, 512, (8 * 9) / 2],
    ['causal, ragged', true, 449, (8 * 9) / 2], // the last tile has one row
    ['not causal', false, 512, 8 * 8],
  ] as const)('%s: products of the tiles that are needed, and of no other', (_, causal, T, tiles) => {
    const { launches } = attend(T, causal);
    const products = launches.filter((l) => l.mma > 0).map((l) => [l.kernel, l.mma / perProduct / tiles]);
    // Forward: scores and sums. Backward: scores, dP and dQ by blocks of queries; scores, dP, dV and dK by blocks of keys.
    expect(products).toEqual([
      ['attention_64_bf16', 2],
      ['attention_grad_queries_64_bf16', 3],
      ['attention_grad_keys_64_bf16', 4],
    ]);
    for (const l of launches)
      expect(l.sharedWavefronts, `${l.kernel}: bank conflicts`).toBeLessThanOrEqual(1.01 * l.idealSharedWavefronts);
  });

  test('memory beside operands and results is the log-sum-exp', () => {
    expect([512, 1024].map((T) => attend(T, true).bytes)).toEqual([512 * 4, 1024 * 4]);
  });

  test('2048 queries fit where a matrix of 2048 x 2048 would not, scratch memory included', () => {
    const memory = { ANNEAL_SIM_MEMORY: String(7 * 2 ** 20) }; // such a matrix in bf16 has 8 MiB
    expect(attend(2048, true, memory).bytes).toBe(2048 * 4);
  });
});
