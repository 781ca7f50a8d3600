import { synchronize } from '../native/run.ts';
import { device } from '../tensor/device.ts';
import { persistent } from '../tensor/scope.ts';
import { nativeOp, run, unwritten } from './define.ts';

const peakOp = nativeOp('peak');

/**
 * The f32 multiply-add rate of this machine out of registers, all threads together, in FLOP/s: the ceiling of matrix products. The best
 * of five bursts of about 50 ms.
 */
export async function measurePeak(): Promise<number> {
  const out = persistent(() => unwritten([device('cpu').threads + 1], 'f32'));
  const burst = async (iterations: number): Promise<number> => {
    const start = performance.now();
    run(peakOp, [], [out], [iterations]);
    await synchronize();
    return (performance.now() - start) / 1000;
  };
  await burst(1e5);
  const iterations = Math.ceil((0.05 / (await burst(1e6))) * 1e6);
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 5; i++) best = Math.min(best, await burst(iterations));
  const each = (await out.data())[out.size - 1] as number;
  const flops = 2 * iterations * each * (out.size - 1);
  out.dispose();
  return flops / best;
}
