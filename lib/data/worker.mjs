// A loader thread: gathers batches and hands their memory over. It keeps nothing between jobs.
import { parentPort } from 'node:worker_threads';
import { allocateOut, gather } from './gather.mjs';

parentPort.on('message', ({ id, job }) => {
  try {
    const outs = allocateOut(job);
    gather(job, outs, 0, job.positions.length);
    parentPort.postMessage(
      { id, outs },
      outs.map((out) => out.buffer),
    );
  } catch (error) {
    parentPort.postMessage({ id, error: String(error?.stack ?? error) });
  }
});
