export { TensorBoardSink } from './sink.ts';
