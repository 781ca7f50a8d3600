// What the golden event files hold: npx tsx test/golden/tensorboard/write.ts DIR writes them, read.py says what TensorBoard makes of them.
import { renameSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { TensorBoardSink } from '../../../lib/monitor/tensorboard/index.ts';

export const weights = Float32Array.from({ length: 300 }, (_, i) => (i % 3 ? Math.sin(i) : 0) * 10 ** ((i % 13) - 9));
export const hostile = '</script><b>é\u{1f600}</b>';
export const picture = { data: Uint8Array.of(0, 50, 100, 150, 200, 250, 255, 1, 2, 3, 4, 5), shape: [3, 2, 2] };

/** Two files of one run: four steps, of which the last two are done again by a second start with steps 3 to 5. Returns their names here. */
export async function writeGolden(dir: string): Promise<string[]> {
  let time = 1_700_000_000;
  const now = () => (time += 0.25);
  const sinks = [1, 2].map((attempt) => {
    const sink = new TensorBoardSink(dir, { now });
    sink.begin(attempt, attempt === 1 ? 0 : 2);
    for (let step = attempt === 1 ? 1 : 3; step <= (attempt === 1 ? 4 : 5); step++) {
      const loss = step === 4 ? Number.NaN : attempt + 1 / step;
      sink.write({ attempt, step, type: 'step', loss, lr: step * 1e-3, applied: true, time: 9, layers: { fc1: { ratio: step / 7 } } });
    }
    return sink;
  });
  const [, last] = sinks as [TensorBoardSink, TensorBoardSink];
  last.write({ attempt: 2, step: 5, type: 'eval', 'val/loss': Number.POSITIVE_INFINITY, 'val/accuracy': 0.75, epoch: 1 });
  last.write({ attempt: 2, step: 5, type: 'notice', message: hostile });
  last.scalar('own/big step', -1.5e-30, 2 ** 40 + 5);
  last.histogram('weights', weights, 5);
  last.histogram('empty', [Number.NaN], 5);
  last.image('colours', picture, 5);
  last.text(hostile, 'x'.repeat(300), 5);
  for (const sink of sinks) await sink.close();
  return sinks.map((sink) => sink.path);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const dir = process.argv[2] ?? dirname(fileURLToPath(import.meta.url));
  const names = await writeGolden(dir);
  names.forEach((path, i) => void renameSync(path, join(dir, `events.out.tfevents.${i + 1}`)));
}
