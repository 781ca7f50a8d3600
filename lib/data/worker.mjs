// A loader thread: gathers batches and hands their memory over. It keeps nothing between jobs but the addon.
import { parentPort } from 'node:worker_threads';
import { allocateOut, gather, mix } from './gather.mjs';

let native;

/** The addon that the main thread has loaded, in this thread: opened by its path, since nothing may be imported here. */
function addon(path) {
  if (native === undefined) {
    const module = { exports: {} };
    process.dlopen(module, path);
    native = module.exports;
  }
  return native;
}

parentPort.on('message', ({ id, job }) => {
  try {
    const used = job.addon === undefined ? undefined : addon(job.addon);
    const outs = allocateOut(job);
    gather(job, outs, 0, job.positions.length, used);
    mix(job, outs, used);
    parentPort.postMessage(
      { id, outs },
      outs.map((out) => out.buffer),
    );
  } catch (error) {
    parentPort.postMessage({ id, error: String(error?.stack ?? error) });
  }
});
