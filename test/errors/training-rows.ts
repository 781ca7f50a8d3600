// Optimizers, schedules, Stepper and Trainer.
import {
  CheckpointError,
  ConfigError,
  DataError,
  DeviceError,
  DTypeError,
  GraphError,
  nn,
  ones,
  optim,
  Parameter,
  ShapeError,
  Stepper,
  schedule,
  tensor,
} from '../../lib/index.ts';
import { classify, linear, loader, type Row, set, stepper, trainer, window, wrong } from './row.ts';

export const optimizers: Row[] = [
  ['no parameters', () => new optim.AdamW([]), ConfigError, /AdamW: no parameters were given\. Was model\.parameters\(\)/],
  [
    'one parameter, not a list',
    () => new optim.Adam(wrong(new Parameter(ones([1])))),
    ConfigError,
    /Adam: pass a list: \[parameter\]/,
  ],
  [
    'a model in place of its parameters',
    () => new optim.AdamW(wrong(linear())),
    ConfigError,
    /AdamW: expected parameters or groups.*Pass model\.parameters\(\)/,
  ],
  [
    'a negative rate',
    () => new optim.AdamW(linear().parameters(), { lr: -1 }),
    ConfigError,
    /AdamW group 0: lr must be a number >= 0, got -1/,
  ],
  [
    'betas of 1',
    () => new optim.Adam(linear().parameters(), { betas: [0.9, 1] }),
    ConfigError,
    /Adam group 0: betas must be two numbers from 0 to below 1, got \[0\.9, 1\]/,
  ],
  [
    'RMSprop forgetting more than all',
    () => new optim.RMSprop(linear().parameters(), { alpha: 1.5 }),
    ConfigError,
    /RMSprop group 0: alpha must be a number from 0 to 1, got 1\.5/,
  ],
  [
    'a negative momentum',
    () => new optim.RMSprop(linear().parameters(), { momentum: -0.1 }),
    ConfigError,
    /RMSprop group 0: momentum must be a number >= 0, got -0\.1/,
  ],
  [
    'Adagrad beginning below nothing',
    () => new optim.Adagrad(linear().parameters(), { initialAccumulatorValue: -1 }),
    ConfigError,
    /Adagrad group 0: initialAccumulatorValue must be a number >= 0, got -1/,
  ],
  [
    'a rate that grows as it decays',
    () => new optim.Adagrad(linear().parameters(), { lrDecay: -0.5 }),
    ConfigError,
    /Adagrad group 0: lrDecay must be a number >= 0, got -0\.5/,
  ],
  [
    'Lion with one beta',
    () => new optim.Lion(linear().parameters(), { betas: wrong([0.9]) }),
    ConfigError,
    /Lion group 0: betas must be two numbers from 0 to below 1, got \[0\.9\]/,
  ],
  ['Lion with an eps', () => new optim.Lion(linear().parameters(), wrong({ eps: 1e-8 })), ConfigError, /Lion.*eps/],
  [
    'SGD without a rate',
    () => new optim.SGD(linear().parameters(), {}),
    ConfigError,
    /SGD group 0: there is no default lr\. Give one, 0\.01 to 0\.1/,
  ],
  [
    'SGD without options',
    () => new optim.SGD(linear().parameters(), wrong(undefined)),
    ConfigError,
    /SGD group 0: there is no default lr/,
  ],
  [
    'the norm of nothing',
    () => optim.clipGradNorm(wrong(undefined), 1),
    ConfigError,
    /clipGradNorm: parameters must be a list, got undefined/,
  ],
  [
    'a misspelled optimizer option',
    () => new optim.AdamW(linear().parameters(), wrong({ weightdecay: 0.1 })),
    ConfigError,
    /AdamW.*"weightdecay" should be "weightDecay"/,
  ],
  [
    'a parameter in two groups',
    () => {
      const { weight } = linear();
      return new optim.SGD([{ params: [weight] }, { params: [weight] }], { lr: 0.1 });
    },
    ConfigError,
    /SGD: .*is in groups 0 and 1\. Give each parameter to one group/,
  ],
  [
    'a result in place of a parameter',
    () => new optim.SGD([linear().weight.mul(2)], { lr: 1 }),
    GraphError,
    /SGD: .*from mul is a result, not a leaf/,
  ],
  [
    '16-bit parameters',
    () => new optim.SGD([tensor([1], { dtype: 'bf16', requiresGrad: true })], { lr: 1 }),
    DTypeError,
    /SGD: parameters are f32.*got bf16.*precision: 'bf16'/,
  ],
  [
    'another optimizer’s state',
    () => {
      const m = linear();
      return new optim.Adam(m.parameters()).loadStateDict(new optim.SGD(m.parameters(), { lr: 1 }).stateDict());
    },
    CheckpointError,
    /Adam\.loadStateDict: the state does not fit\. it is SGD's/,
  ],
  [
    'a decay that names nobody',
    () => optim.paramGroups(linear(), { weightDecay: 0.1, noDecay: ['wieght'] }),
    ConfigError,
    /noDecay has wieght.*Did you mean "weight"/,
  ],
  [
    'a norm below nothing',
    () => optim.clipGradNorm(linear().parameters(), -1),
    ConfigError,
    /clipGradNorm: maxNorm must be a number from 0/,
  ],
  [
    'a schedule of no steps',
    () => schedule.cosine({ to: 0 }).over(0),
    ConfigError,
    /schedule\.over: totalSteps must be a positive integer, got 0/,
  ],
  [
    'two parts that both take the rest',
    () => schedule.cosine({ to: 0 }).followedBy(schedule.linear({ from: 1, to: 0 })),
    ConfigError,
    /cosine and linear both lack `steps`.*Give the other/,
  ],
  [
    'a warm-up longer than the run',
    () =>
      schedule
        .warmup({ steps: 50 })
        .followedBy(schedule.cosine({ to: 0 }))
        .over(20),
    ConfigError,
    /a run of 20 steps leaves none for cosine \(warmup 50\)\. Shorten/,
  ],
  ['a misspelled schedule option', () => schedule.warmup(wrong({ step: 3 })), ConfigError, /warmup.*"step" should be "steps"/],
];

export const training: Row[] = [
  [
    'a Stepper without a model',
    () => new Stepper(wrong({ optimizer: new optim.SGD(linear().parameters(), { lr: 1 }) })),
    ConfigError,
    /Stepper: model is missing: an nn\.Module/,
  ],
  [
    'a function as the model',
    () => stepper({ model: () => 1 }),
    ConfigError,
    /Stepper: model must be one, got function model: an nn\.Module/,
  ],
  [
    'parameters as the optimizer',
    () => stepper({ optimizer: linear().parameters() }),
    ConfigError,
    /Stepper: optimizer must be one, got \[Parameter, Parameter\]: for example new optim\.AdamW/,
  ],
  [
    'a schedule function',
    () => stepper({ schedule: schedule.cosine }),
    ConfigError,
    /Stepper: schedule must be one, got function cosine: for example schedule\.cosine\(/,
  ],
  [
    'a schedule of open length',
    () => stepper({ schedule: schedule.cosine({ to: 0 }) }),
    ConfigError,
    /Stepper: the schedule does not know its length\. Close it with \.over/,
  ],
  ['a precision that is none', () => stepper({ precision: 'half' }), ConfigError, /Stepper: precision must be 'f32'.*got "half"/],
  [
    'clipping to nothing',
    () => stepper({ clipNorm: 0 }),
    ConfigError,
    /Stepper: clipNorm must be a number above 0, got 0\. Leave it out/,
  ],
  ['a seed in words', () => stepper({ seed: 'one' }), ConfigError, /Stepper: seed must be a whole number, got "one"/],
  [
    'a number of processes in place of a group',
    () => stepper({ parallel: 2 }),
    ConfigError,
    /Stepper: parallel must come from dist\.dataParallel\(group, model, optimizer\), got 2/,
  ],
  [
    'processes by halves',
    () => trainer({ parallel: { data: 1.5 } }),
    ConfigError,
    /Trainer: parallel: data must be a whole number of processes >= 1, got 1\.5/,
  ],
  [
    'processes as a number',
    () => trainer({ parallel: 2 }),
    ConfigError,
    /Trainer: parallel must be \{ data: processes \}, or false, got 2/,
  ],
  ['a misspelled way to be parallel', () => trainer({ parallel: { date: 2 } }), ConfigError, /"date" should be "data"/],
  [
    'more processes than there are',
    () => trainer({ parallel: { data: 4 } }).fit({ train: loader(), epochs: 1 }),
    ConfigError,
    /parallel asks for 4 processes, and there is 1\. Call within dist\.run, and start them all: anneal launch --nproc-per-node 4/,
  ],
  [
    'a part of several processes’ window',
    () => stepper().step({ ...window(), share: { offsets: [0], rows: 100 } } as never, () => wrong(null)),
    ConfigError,
    /stepper\.step: the window is one process’ part of several/,
  ],
  ['a misspelled Stepper option', () => stepper({ clipNrom: 1 }), ConfigError, /"clipNrom" should be "clipNorm"/],
  [
    'a window of nothing',
    () =>
      stepper().step(
        { micro: [] },
        wrong(() => 0),
      ),
    ConfigError,
    /stepper\.step: the window has no batches\. Give \{ micro: \[batch\] \}/,
  ],
  [
    'a batch without columns',
    () =>
      stepper().step(
        { micro: [{}] },
        wrong(() => 0),
      ),
    DataError,
    /a batch needs at least one column/,
  ],
  [
    'a mean in place of the loss',
    () => {
      const m = linear();
      return stepper({}, m).step(
        window(),
        wrong((b: never) => classify(m)(b).mean()),
      );
    },
    ConfigError,
    /stepper\.step: the function must return a loss.*not its mean/,
  ],
  [
    'an async loss',
    () => {
      const m = linear();
      return stepper({}, m).step(
        window(),
        wrong(async (b: never) => classify(m)(b)),
      );
    },
    ConfigError,
    /must return a loss.*not a promise/,
  ],
  [
    'gradients left over',
    () => {
      const m = linear();
      const s = stepper({}, m);
      m.forward(ones([1, 4]))
        .sum()
        .backward();
      return s.step(window(), classify(m));
    },
    GraphError,
    /weight already has a gradient.*optimizer\.zeroGrad\(\) first/,
  ],
  [
    'a parameter that nobody owns',
    () => {
      const m = linear();
      return stepper({ optimizer: new optim.SGD([m.weight], { lr: 1 }) }, m).step(window(), classify(m));
    },
    GraphError,
    /a gradient reached bias, which the optimizer does not own.*\.freeze\(\)/,
  ],
  [
    'a Trainer without a loss',
    () => trainer({ loss: undefined }),
    ConfigError,
    /Trainer: loss must be a function \(output, batch\) => loss, for example/,
  ],
  ['a misspelled Trainer option', () => trainer({ earlystopping: {} }), ConfigError, /"earlystopping" should be "earlyStopping"/],
  [
    'a misspelled nested option',
    () => trainer({ checkpoint: { everystep: 1 } }),
    ConfigError,
    /Trainer: checkpoint: .*"everystep" should be "everySteps"/,
  ],
  [
    'checkpoints every half step',
    () => trainer({ checkpoint: { everySteps: 0.5 } }),
    ConfigError,
    /Trainer: checkpoint: everySteps must be an integer >= 0, got .*0\.5/,
  ],
  [
    'sample outputs every half step',
    () => trainer({ samples: { every: 0.5, make: () => 'x' } }),
    ConfigError,
    /Trainer: samples: every must be a whole number of steps >= 1, or 'epoch', got 0\.5/,
  ],
  [
    'sample outputs of nothing',
    () => trainer({ samples: { every: 'epoch' } }),
    ConfigError,
    /Trainer: samples: make must be a function.*generate\(model, prompt\)/,
  ],
  [
    'a misspelled option of sample outputs',
    () => trainer({ samples: { everySteps: 5, make: () => 'x' } }),
    ConfigError,
    /Trainer: samples: .*"everySteps"/,
  ],
  [
    'a metric that is none',
    () => trainer({ metrics: ['acuracy'] }),
    ConfigError,
    /unknown metric "acuracy"\. Known: accuracy, perClass/,
  ],
  [
    'a metric of unknown direction',
    () => trainer({ earlyStopping: { metric: 'val/quality' } }),
    ConfigError,
    /is a larger "val\/quality" better\? Give mode: 'min' or 'max'/,
  ],
  [
    'a logger that cannot warn',
    () => trainer({ logger: { debug() {}, info() {}, error() {} } }),
    ConfigError,
    /Trainer: logger must have debug, info, warn, error as pino's has, .* has no warn\(\)/,
  ],
  ['a Trainer on no device', () => trainer({ device: 'cuda' }), DeviceError, /device\('cuda'\): .*driver/],
  [
    'a hook without a name',
    () => trainer({ hooks: [{ onStep() {} }] }),
    ConfigError,
    /Trainer: hook 0 has no name\. Checkpoints keep/,
  ],
  [
    'two hooks of one name',
    () => trainer({ hooks: [{ name: 'a' }, { name: 'a' }] }),
    ConfigError,
    /two hooks are called 'a'.*Rename one/,
  ],
  [
    'fit without data',
    () => trainer().fit(wrong({ epochs: 1 })),
    ConfigError,
    /fit: train is missing: a loader, for example data\.loader/,
  ],
  [
    'fit on a dataset',
    () => trainer().fit({ train: wrong(set()), epochs: 1 }),
    ConfigError,
    /fit: train must be a loader.*this has no windows\(\)/,
  ],
  ['fit without an end', () => trainer().fit({ train: loader() }), ConfigError, /fit: give one of epochs and steps/],
  [
    'fit for half an epoch',
    () => trainer().fit({ train: loader(), epochs: 0.5 }),
    ConfigError,
    /fit: epochs must be an integer >= 1, got .*0\.5/,
  ],
  [
    'a misspelled fit option',
    () => trainer().fit({ train: loader(), epochs: 1, ...({ validate: loader() } as object) }),
    ConfigError,
    /fit: unknown option "validate"\. .*validation/,
  ],
  [
    'resume without a folder',
    () => trainer().fit({ train: loader(), epochs: 1, resume: 'auto' }),
    ConfigError,
    /resume: 'auto' needs the Trainer's dir/,
  ],
  [
    'early stopping without validation',
    () => trainer({ earlyStopping: {} }).fit({ train: loader(), epochs: 1 }),
    ConfigError,
    /earlyStopping watches 'val\/loss'.*Give a loader/,
  ],
  [
    'a model and data that do not fit',
    () => trainer({}, new nn.Linear(5, 3)).fit({ train: loader(), epochs: 1 }),
    ShapeError,
    /linear.*\[5, 4\]/,
  ],
  ['evaluate on nothing', () => trainer().evaluate(wrong(undefined)), ConfigError, /evaluate: expected a loader/],
];
