// Images a second out of a loader: npm run example -- bench/augment.ts. 50,000 u8 images of 3 x 32 x 32, scaled to f32, in batches of 128. `workers: 0` is one thread
// that does all (one core); with a worker the main thread only draws.
import { augment, data } from 'anneal';

const n = 50_000;
const x = new Uint8Array(new SharedArrayBuffer(n * 3072));
for (let i = 0; i < x.length; i++) x[i] = (i * 2654435761) >>> 24;
const set = new data.TensorDataset({
  x: { data: x, shape: [3, 32, 32], encoding: { scale: 1 / 255 } },
  y: { data: Int32Array.from({ length: n }, (_, i) => i % 10) },
});

const crop = augment.randomCrop(32, { padding: 4 });
const flip = augment.randomHorizontalFlip();
const jitter = augment.colorJitter({ brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 });
const pipelines = {
  none: [],
  'crop, flip': [crop, flip],
  'crop, flip, jitter': [crop, flip, jitter],
  'resized crop, flip, jitter': [augment.randomResizedCrop(32), flip, jitter],
  'crop, flip, RandAugment, erasing': [crop, flip, augment.randAugment(), augment.randomErasing()],
  'crop, flip, cutmix': [crop, flip, augment.cutmix({ numClasses: 10 })],
};

/** Images a second over one epoch. */
async function rate(transform: NonNullable<data.LoaderOptions['transform']>, workers: number): Promise<number> {
  const loader = data.loader(set, { batchSize: 128, shuffle: true, transform, workers });
  const start = performance.now();
  let seen = 0;
  for await (const { ids } of loader.epoch(0)) seen += ids.length;
  return seen / ((performance.now() - start) / 1000);
}

console.log('images a second, the median of five epochs (lowest to highest)');
for (const [name, transform] of Object.entries(pipelines)) {
  for (const workers of [0, 1]) {
    await rate(transform, workers); // the first starts threads
    const rates: number[] = [];
    for (let i = 0; i < 5; i++) rates.push(await rate(transform, workers));
    rates.sort((a, b) => a - b);
    const [low, middle, high] = [rates[0], rates[2], rates[4]].map((r) => Math.round(r as number).toLocaleString('en'));
    console.log(`${name.padEnd(34)} workers ${workers}  ${String(middle).padStart(9)}  (${low} to ${high})`);
  }
}
