// Methods of public classes with right arguments; those of layers and the ops that are methods of Tensor are tried as functions.
import { EarlyStopping, losses, monitor, nn, ones, optim, PhiloxStream, Stepper, schedule, zeros } from '../../lib/index.ts';
import {
  any,
  anyNum,
  count,
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
  t,
  text,
  word,
} from './kinds.ts';
import { loader, set, trainer } from './row.ts';
import { batch, file, pairs, params } from './training-calls.ts';

/** Methods of classes: how an object is made, and the arguments. */
type Method = readonly [make: () => object, ...args: Kind[]];
const matrix = () => new monitor.ConfusionMatrix(2);
const calibration = () => new monitor.Calibration({ classes: 2 });
const wrongOnes = () => new monitor.ConfidentlyWrong({ classes: 2 });
const perplexity = () => new monitor.Perplexity();
const ranking = () => new monitor.RankingMetrics({ classes: 2 });
const regression = () => new monitor.RegressionMetrics();
const strata = () => new monitor.Stratified(() => new monitor.Accuracy());
const topK = () => new monitor.TopKAccuracy({ classes: 2 });
const sgd = () => new optim.SGD(params(), { lr: 0.1 });
const state = () => new optim.StepState();
const linear = () => new nn.Linear(2, 2);
const cosine = () => schedule.cosine().over(9);
const stopper = () => new Stepper({ model: linear(), optimizer: sgd() });
const model = linear();
const trained = new Stepper({ model, optimizer: new optim.SGD(model.parameters(), { lr: 0.1 }) });
const stream = () => new PhiloxStream(1, 'here');
const earlyStopping = () => new EarlyStopping({});
const oneBoard = new monitor.TensorBoardSink(file('board').make() as string);
const board = () => oneBoard;
const bar = () => new monitor.ProgressBar({ write() {} });
export const methods: Readonly<Record<string, Method>> = {
  'Tensor.backward': [() => ones([], { requiresGrad: true }).mul(2), maybe(t([]))],
  'Tensor.to': [() => ones([2]), word('f64')],
  'Tensor.registerHook': [() => ones([2], { requiresGrad: true }), fn(() => {})],
  'losses.Loss.times': [() => losses.lossTerm(ones([]), 1), anyNum(2)],
  'losses.Loss.plus': [() => losses.lossTerm(ones([]), 1), only(() => losses.lossTerm(ones([]), 1))],
  'nn.Module.loadStateDict': [linear, only(() => linear().stateDict()), options({ strict: any(true) })],
  'nn.Module.train': [linear, any(true)],
  'nn.Module.to': [linear, maker.device],
  'nn.Module.registerForwardPreHook': [linear, fn(() => {})],
  'nn.Module.registerForwardHook': [linear, fn(() => {})],
  'nn.Module.registerFullBackwardHook': [linear, fn(() => {})],
  'optim.Optimizer.loadStateDict': [sgd, only(() => sgd().stateDict())],
  'optim.Optimizer.apply': [sgd, only(state)],
  'optim.Optimizer.owns': [sgd, any()],
  'optim.StepState.setLearningRates': [state, only(() => Float64Array.of(1)), maybe(int(0))],
  'optim.StepState.begin': [state, options({ inverseScale: anyNum(1), divisorCount: t([]), scale: t([]) })],
  'optim.StepState.norm': [state, or(list(params), only(sgd)), options({ maxNorm: anyNum(1) })],
  'optim.StepState.end': [state, maybe(list(() => [ones([])]))],
  'optim.StepState.setApplied': [state, int(1)],
  'schedule.Schedule.followedBy': [() => schedule.warmup({ steps: 1 }), only(() => schedule.constant())],
  'schedule.Schedule.over': [() => schedule.constant(), count(3)],
  'schedule.Schedule.factor': [cosine, int(1)],
  'schedule.Schedule.table': [cosine, int(0), int(2)],
  'schedule.Schedule.plot': [cosine, options({ steps: count(3), width: count(9), height: count(3) })],
  'schedule.Schedule.toSVG': [cosine, options({ steps: count(3), width: count(9), height: count(3) })],
  'schedule.Plateau.check': [() => schedule.plateau(), anyNum(1), num(0.1)],
  'schedule.Plateau.load': [() => schedule.plateau(), only(() => schedule.plateau().state())],
  'PhiloxStream.wordAt': [stream, int(1)],
  'PhiloxStream.seek': [stream, int(1)],
  'PhiloxStream.below': [stream, count(3)],
  'PhiloxStream.permutation': [stream, int(3)],
  'EarlyStopping.check': [() => earlyStopping(), anyNum(1), int(1)],
  'EarlyStopping.load': [() => earlyStopping(), only(() => earlyStopping().state())],
  'Stepper.step': [
    () => trained,
    only(() => ({ micro: [{ x: zeros([2, 2]) }] })),
    fn(({ x }: { x: ReturnType<typeof ones> }) => losses.lossTerm(model.forward(x).sum(), 1)),
  ],
  'Stepper.lrAt': [stopper, int(1)],
  'Stepper.setLrScale': [stopper, num(1)],
  'Stepper.save': [stopper, file('kept')],
  'Stepper.resume': [stopper, file('none')],
  'Stepper.load': [stopper, only(() => ({ attempts: 0, applied: 0, seed: 0, cursor: { epoch: 0, batch: 0, step: 0 } }))],
  'Trainer.evaluate': [trainer, only(() => ({ epoch: () => [] })), options({ signal: only(() => AbortSignal.timeout(1e6)) })],
  'Trainer.findLearningRate': [
    trainer,
    needs({ train: only(loader), from: maybe(num(1e-7)), to: maybe(num(1)), iterations: maybe(count(30)) }),
  ],
  'Trainer.stop': [trainer, options({ graceMs: num(1) })],
  'Trainer.predict': [trainer, t([2, 4]), options({ batchSize: count(2), signal: only(() => AbortSignal.timeout(1e6)) })],
  'data.TensorDataset.get': [set, int(0)],
  'data.TensorDataset.locate': [set, list(() => [0])],
  'data.TensorDataset.column': [set, word('x')],
  'data.TensorDataset.select': [set, list(() => [0])],
  'monitor.Accuracy.add': [() => new monitor.Accuracy(), batch, batch],
  'monitor.Accuracy.merge': [() => new monitor.Accuracy(), only(() => [1, 2])],
  'monitor.Calibration.add': [calibration, pairs, batch],
  'monitor.Calibration.merge': [calibration, only(calibration)],
  'monitor.ConfidentlyWrong.add': [wrongOnes, pairs, batch, maybe(batch)],
  'monitor.ConfidentlyWrong.merge': [wrongOnes, list(wrongOnes)],
  'monitor.Perplexity.add': [perplexity, anyNum(1), num(1)],
  'monitor.Perplexity.merge': [perplexity, only(perplexity)],
  'monitor.RankingMetrics.add': [ranking, pairs, batch],
  'monitor.RankingMetrics.merge': [ranking, list(() => [1, 0.2, 0.8])],
  'monitor.RankingMetrics.rocAuc': [ranking, options({ average: word('macro') })],
  'monitor.RankingMetrics.averagePrecision': [ranking, options({ average: word('weighted') })],
  'monitor.RegressionMetrics.add': [regression, list(() => [1]), list(() => [1])],
  'monitor.RegressionMetrics.merge': [regression, only(regression)],
  'monitor.Stratified.of': [strata, or(text('a'), anyNum(1))],
  'monitor.Stratified.split': [strata, list(() => ['a']), fn(() => {})],
  'monitor.TopKAccuracy.add': [topK, pairs, batch],
  'monitor.TopKAccuracy.merge': [topK, only(topK)],
  'monitor.ConfusionMatrix.add': [matrix, batch, batch],
  'monitor.ConfusionMatrix.merge': [matrix, only(matrix)],
  'monitor.ConfusionMatrix.at': [matrix, int(0), int(0)],
  'monitor.ProgressBar.update': [bar, object(() => ({ step: 1 })), any(true)],
  'monitor.TensorBoardSink.scalar': [board, text('a'), anyNum(1), int(1)],
  'monitor.TensorBoardSink.histogram': [board, text('a'), list(() => [1]), int(1)],
  'monitor.TensorBoardSink.image': [board, text('a'), needs({ data: list(() => [1]), shape: only(() => [1, 1, 1]) }), int(1)],
  'monitor.TensorBoardSink.text': [board, text('a'), text('b'), int(1)],
  'monitor.RateMeter.add': [() => new monitor.RateMeter(), anyNum(1), maybe(anyNum(2))],
};
