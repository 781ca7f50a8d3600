// Data, files, checkpoints.
import { mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  augment,
  CheckpointError,
  ConfigError,
  DataError,
  data,
  loadSafetensors,
  nn,
  ones,
  optim,
  saveSafetensors,
} from '../../lib/index.ts';
import { iterate, linear, loader, type Row, set, stepper, wrong } from './row.ts';

const dir = mkdtempSync(join(tmpdir(), 'anneal-bad-'));
process.on('exit', () => rmSync(dir, { recursive: true, force: true }));
const file = (name: string, content: string | Uint8Array = '') => {
  const path = join(dir, name);
  writeFileSync(path, content);
  return path;
};

export const sets: Row[] = [
  [
    'a loader without batchSize',
    () => data.loader(set(), wrong({})),
    ConfigError,
    /data\.loader: batchSize must be an integer from 1.*got undefined/,
  ],
  ['a misspelled loader option', () => loader({ shufle: true }), ConfigError, /"shufle" should be "shuffle"/],
  [
    'a number as a dataset',
    () => data.loader(wrong(3), { batchSize: 1 }),
    ConfigError,
    /data\.loader: expected a dataset \(\{ length, get \}\), an array of samples, or an iterable/,
  ],
  [
    'a batch of each process and of all',
    () => data.loader([{ x: 1 }], { batchSize: 1, globalBatchSize: 2 }),
    ConfigError,
    /data\.loader: give one of batchSize \(of each process\) and globalBatchSize/,
  ],
  [
    'a batch of all that cannot be dealt out',
    () => data.loader([{ x: 1 }], { globalBatchSize: 10, shard: { rank: 0, size: 4 } }),
    ConfigError,
    /globalBatchSize must be a multiple of the 4 processes, got 10\. 12 is/,
  ],
  ['an empty dataset', () => data.loader([], { batchSize: 1 }), ConfigError, /data\.loader: the dataset is empty/],
  [
    'dropLast of everything',
    () => loader({ batchSize: 11, dropLast: true }),
    ConfigError,
    /dropLast leaves no batch of 11 from 10 samples; use a smaller batchSize/,
  ],
  [
    'columns of two lengths',
    () => new data.TensorDataset({ x: { data: new Float32Array(4) }, y: { data: new Int32Array(3) } }),
    DataError,
    /column "y" has 3 samples, but column "x" has 4/,
  ],
  [
    'a column that is no whole samples',
    () => new data.TensorDataset({ x: { data: new Float32Array(5), shape: [2] } }),
    DataError,
    /column "x": 5 elements are not whole samples of shape \[2\]/,
  ],
  ['a sample that is not there', () => set().get(10), DataError, /sample 10 does not exist: the dataset has 10 samples, 0 to 9/],
  [
    'parts that do not add up',
    () => data.split(set(), [5, 4]),
    ConfigError,
    /sizes add up to 9, but the dataset has 10 samples.*Make them add up/,
  ],
  ['strata by a column that is not there', () => data.split(set(), [5, 5], { stratify: 'z' }), DataError, /no column "z"/],
  [
    'windows without an end',
    () => iterate(loader().windows({})),
    ConfigError,
    /loader\.windows: say how long: \{ steps \} or \{ epochs \}/,
  ],
  [
    'a cursor of another loader',
    () => iterate(loader().windows({ epochs: 2, from: { epoch: 0, batch: 9 } })),
    ConfigError,
    /batch 9 of epoch 0 does not exist: there are 2 batches/,
  ],
  [
    'a transform that comes too late',
    () => loader({ transform: [augment.randomHorizontalFlip(), (s: unknown) => s] }),
    ConfigError,
    /functions in transform come before descriptors.*Put the functions first/,
  ],
  ['a crop of nothing', () => augment.randomCrop(0), ConfigError, /augment\.randomCrop: size must be a positive integer/],
  [
    'samples of two shapes',
    () => iterate(data.loader([{ x: [1] }, { x: [1, 2] }], { batchSize: 2 })),
    DataError,
    /sample 1, field "x" is f32 \[2\], but sample 0.*Make samples of one shape, or give a collate/,
  ],
  [
    'a sample that throws',
    () =>
      iterate(
        data.loader(
          {
            length: 2,
            get: () => {
              throw new Error('torn');
            },
          },
          { batchSize: 1 },
        ),
      ),
    DataError,
    /sample 0: torn\..*badSamples: 'replace'/,
  ],
  ['a CSV that is not there', () => data.csv(join(dir, 'none.csv')), DataError, /data\.csv: .*none\.csv/],
  [
    'a CSV with a word',
    () => data.csv(file('word.csv', 'a,b\n1,2\n3,many\n')),
    DataError,
    /word\.csv: line 3: column "b": "many" is not a number\. Leave the column out/,
  ],
  [
    'a CSV with a short line',
    () => data.csv(file('short.csv', 'a,b\n1,2\n3\n')),
    DataError,
    /short\.csv: line 3: expected 2 fields, found 1; is the delimiter right/,
  ],
  [
    'an IDX file cut short',
    () => data.idx(file('cut.idx', Uint8Array.of(0, 0, 8, 1, 0, 0, 0, 9, 1, 2))),
    DataError,
    /cut\.idx.*9/,
  ],
  ['a picture in place of an IDX file', () => data.idx(file('p.idx', '\x89PNG....')), DataError, /p\.idx.*IDX/],
  ['MNIST from a number', () => data.mnist({ dir: wrong(5) }), ConfigError, /data\.mnist: dir must be a string, got 5/],
  [
    'no columns at all',
    () => new data.TensorDataset(wrong(undefined)),
    DataError,
    /TensorDataset: expected columns by name, for example/,
  ],
  [
    'MNIST from nowhere',
    () => data.mnist({ dir: join(dir, 'nowhere') }),
    DataError,
    /data\.mnist: none of .* is in .*nowhere\. Give the directory/,
  ],
];

export const checkpoints: Row[] = [
  ['weights that are not there', () => loadSafetensors(join(dir, 'none.safetensors')), CheckpointError, /none\.safetensors/],
  [
    'weights that are text',
    () => loadSafetensors(file('text.safetensors', 'these are no weights at all')),
    CheckpointError,
    /text\.safetensors.*safetensors/,
  ],
  [
    'weights cut short',
    async () => {
      const path = join(dir, 'cut.safetensors');
      await saveSafetensors(path, linear().stateDict());
      truncateSync(path, 100);
      return loadSafetensors(path);
    },
    CheckpointError,
    /cut\.safetensors/,
  ],
  [
    'saving what is no tensor',
    () => saveSafetensors(join(dir, 'no.safetensors'), wrong({ a: [1] })),
    CheckpointError,
    /saveSafetensors: a is not a Tensor/,
  ],
  [
    'saving where nobody may',
    () => saveSafetensors('/proc/no/w.safetensors', { a: ones([1]) }),
    CheckpointError,
    /\/proc\/no\/w\.safetensors: could not be written/,
  ],
  [
    'weights of another model',
    () => linear().loadStateDict(new nn.Linear(4, 5).stateDict()),
    CheckpointError,
    /weight: expected \[3, 4\], got \[5, 4\].*same architecture/,
  ],
  [
    'weights under other names',
    () => linear().loadStateDict({ w: ones([3, 4]) }),
    CheckpointError,
    /missing: weight, bias\. unexpected: w\..*strict: false/,
  ],
  [
    'resuming another model',
    async () => {
      const to = join(dir, 'run');
      await stepper().save(to);
      return stepper({}, new nn.Linear(4, 7)).resume(to);
    },
    CheckpointError,
    /the weights do not fit this model.*weight: expected \[7, 4\], got \[3, 4\]/,
  ],
  [
    'resuming with another optimizer',
    async () => {
      const to = join(dir, 'run2');
      const m = linear();
      await stepper({}, m).save(to);
      return stepper({ optimizer: new optim.AdamW(m.parameters()) }, m).resume(to);
    },
    CheckpointError,
    /AdamW\.loadStateDict: the state does not fit\. it is SGD's/,
  ],
  [
    'a folder of damaged checkpoints',
    async () => {
      const to = join(dir, 'run3');
      mkdirSync(join(to, 'step-00000001'), { recursive: true });
      return stepper().resume(to);
    },
    CheckpointError,
    /run3: none of its 1 checkpoints is whole: .*manifest\.json.*without resume, or restore/,
  ],
];
