/** A training inside a service: its server answers, whoever listens hears of everything, and telling costs next to nothing. */
import { channel, subscribe, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { data, losses, optim, Trainer } from '../../lib/index.ts';
import { Telling } from '../../lib/train/telling.ts';
import { clusters, mlp, temporary } from './helpers.ts';

const set = clusters(192);
const loader = () => data.loader(set, { batchSize: 8, shuffle: true, seed: 2, workers: 0 });
const make = () => {
  const model = mlp([8, 3]);
  const optimizer = new optim.SGD(model.parameters(), { lr: 0.01 });
  return new Trainer({ model, optimizer, dir: temporary(), loss: (o, b) => losses.crossEntropy(o, b.y as never) });
};

test('a server under load answers while it trains, from what the channels told it; no event is lost, the run ends the same', async () => {
  const undisturbed = await make().fit({ train: loader(), validation: loader(), epochs: 4 });
  const latest = { step: 0, evals: 0, steps: 0 };
  const onStep = (m: unknown) => {
    latest.steps++;
    latest.step = (m as { step: number }).step;
  };
  const onEval = () => void latest.evals++;
  subscribe('anneal:step', onStep);
  subscribe('anneal:eval', onEval);
  const server = createServer((_, response) => response.end(JSON.stringify(latest))).listen(0, '127.0.0.1');
  onTestFinished(() => {
    unsubscribe('anneal:step', onStep);
    unsubscribe('anneal:eval', onEval);
    server.close();
    server.closeAllConnections();
  });
  await once(server, 'listening');
  const run = make().start({ train: loader(), validation: loader(), epochs: 4 });
  const address = () => `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  let answers = 0;
  const seen = new Set<number>();
  const client = async () => {
    while (!run.done) {
      const { step } = (await (await fetch(address())).json()) as typeof latest;
      answers++;
      seen.add(step);
    }
  };
  await Promise.all([run.result, ...Array.from({ length: 8 }, client)]);
  const { best, last } = await run.result;
  expect({ best, last }).toEqual({ best: undisturbed.best, last: undisturbed.last });
  expect(latest).toEqual({ step: 96, evals: 4, steps: 96 });
  expect(answers).toBeGreaterThan(24); // the clients came through while it trained
  expect(seen.size).toBeGreaterThan(3);
});

test('telling of a step where nobody listens costs microseconds', () => {
  expect(channel('anneal:step').hasSubscribers).toBe(false);
  const telling = new Telling(undefined, undefined);
  const event = { type: 'step', step: 1, loss: 1, epoch: 0, lr: 0.1, gradNorm: 1, samplesPerSecond: 1 } as never;
  const times = Array.from({ length: 5 }, () => {
    const begun = performance.now();
    for (let i = 0; i < 20_000; i++) telling.event(event);
    return ((performance.now() - begun) * 1000) / 20_000;
  });
  expect(Math.min(...times)).toBeLessThan(20); // it is about 0.1; a machine that does other things too is no fault
});
