// Every public function, constructor and method is called with what it does not take, one argument (or option) at a time. Whatever is thrown
// must be an AnnealError whose message names the function; and what makes no sense must be refused at once, not by a kernel.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import * as anneal from '../../lib/index.ts';
import { type Kind, wrongs } from './kinds.ts';
import { layerCalls } from './layer-calls.ts';
import { methods } from './method-calls.ts';
import { opCalls } from './op-calls.ts';
import { trainingCalls } from './training-calls.ts';

type Callable = (...args: unknown[]) => unknown;
const calls = { ...opCalls, ...layerCalls, ...trainingCalls };
const at = (path: string): unknown => path.split('.').reduce<unknown>((o, key) => (o as Record<string, unknown>)?.[key], anneal);
const isClass = (f: unknown) => /^class\b/.test(Function.prototype.toString.call(f));
const last = (path: string) => path.split('.').at(-1) as string;

/** Functions in whose name another speaks: what it is made of, or what it is another name for. */
const speakers: Record<string, string[]> = {
  'losses.bceWithLogits': ['broadcastTo'],
  'optim.recipes': ['paramGroups', 'Adam', 'SGD'],
  'data.ArrayDataset': ['TensorDataset'],
  'data.TableDataset': ['TensorDataset'],
  'data.split': ['TensorDataset'],
  'data.subset': ['dataset'],
  'nn.Module.loadStateDict': ['loadStateDict'],
  setAt: ['gather'],
  withAt: ['gather'],
  modeOf: ['earlyStopping'],
  Trainer: ['earlyStopping', 'plateau', 'checkpoint', 'samples'],
  'Trainer.predict': ['linear'],
  'Stepper.save': ['saveCheckpoint', 'checkpoint'],
  'Stepper.resume': ['loadCheckpoint'],
  saveCheckpoint: ['checkpoint'],
  writeCheckpoint: ['checkpoint'],
  encodeSafetensors: ['safetensors'],
};
/** A message also names its function by naming the file that it was given, or the device. */
const named = (path: string, message: string) => {
  const names = [
    last(path),
    ...path.split('.').slice(0, -1),
    ...Object.entries(speakers).flatMap(([p, s]) => (path.startsWith(p) ? s : [])),
  ];
  const text = message.toLowerCase();
  return /^(\/|device\()/.test(text) || names.some((n) => text.includes(n.toLowerCase()));
};

/** What a call throws, now, later, or on the device; undefined where nothing. */
async function thrown(call: () => unknown): Promise<unknown> {
  let error: unknown;
  try {
    const result = call() as AsyncIterable<unknown> | undefined;
    if (typeof result === 'object' && result !== null && Symbol.asyncIterator in result && 'next' in result)
      for await (const _ of result);
    else await (Object(await result) as { close?(): Promise<void> }).close?.(); // a file that it opened
  } catch (e) {
    error = e;
  }
  const late = await anneal
    .device('cpu')
    .synchronize()
    .catch((e: unknown) => e);
  return error ?? late;
}

/** Every call with one thing wrong: what it is, the arguments, whether the function may take it. */
function* wrongCalls(kinds: readonly Kind[]): Generator<[what: string, args: unknown[], may: boolean]> {
  const put = (i: number, v: unknown) => kinds.map((k, j) => (j === i ? v : k.make()));
  if (kinds[0]) yield ['no arguments', [], kinds[0].takes(undefined)];
  for (const [i, kind] of kinds.entries()) {
    for (const [what, make] of wrongs) {
      const v = make();
      yield [`argument ${i}: ${what}`, put(i, v), kind.takes(v)];
    }
    for (const [field, own] of Object.entries(kind.fields ?? {}))
      for (const [what, make] of wrongs) {
        const v = make();
        yield [`argument ${i}, ${field}: ${what}`, put(i, { ...(kind.make() as object), [field]: v }), own.takes(v)];
      }
    if (kind.fields) yield [`argument ${i}: a misspelled option`, put(i, { ...(kind.make() as object), mispeled: 1 }), false];
  }
}

/** What is wrong with how a function takes wrong arguments. */
async function faults(path: string, kinds: readonly Kind[], call: Callable): Promise<string[]> {
  const found: string[] = [];
  for (const [what, args, may] of wrongCalls(kinds)) {
    const error = await thrown(() => call(...args));
    if (error === undefined) {
      if (!may) found.push(`${what}: is taken`);
    } else if (!(error instanceof anneal.AnnealError)) found.push(`${what}: ${String(error)}`);
    else if (error.code === 'KERNEL' || !named(path, error.message) || /\[object |undefined is not a f/.test(error.message))
      found.push(`${what}: ${error.code} ${error.message}`);
  }
  return found;
}

describe('wrong arguments', () => {
  const rng = anneal.rngState();
  const stray: unknown[] = [];
  const notice = (error: unknown) => stray.push(error);
  beforeAll(() => {
    process.on('unhandledRejection', notice);
  });
  afterAll(() => {
    process.off('unhandledRejection', notice);
    anneal.setRngState(rng);
    expect(stray).toEqual([]);
  });

  // The files come first in the table's order: what is read was written.
  for (const [path, kinds] of Object.entries(calls)) {
    const f = at(path) as Callable;
    const call: Callable = (...args) => (isClass(f) ? Reflect.construct(f, args) : f(...args));
    test(path, async () => {
      expect(await faults(path, kinds, call)).toEqual([]);
    });
  }
  for (const [path, [make, ...kinds]] of Object.entries(methods))
    test(path, async () => {
      const method = last(path);
      expect(
        await faults(path, kinds, (...args) => {
          const object = make() as Record<string, Callable>;
          return (object[method] as Callable)(...args);
        }),
      ).toEqual([]);
    });

  test('right arguments are taken', async () => {
    const missing = /none|there is no such file|has no manifest/; // the tables name files that are not there
    const refused: string[] = [];
    for (const [path, kinds] of Object.entries(calls)) {
      const f = at(path) as Callable;
      const args = kinds.map((k) => k.make());
      const error = await thrown(() => (isClass(f) ? Reflect.construct(f, args) : f(...args)));
      if (error !== undefined && !missing.test(String(error))) refused.push(`${path}: ${String(error)}`);
    }
    for (const [path, [make, ...kinds]] of Object.entries(methods)) {
      const object = make() as Record<string, Callable>;
      const error = await thrown(() => (object[last(path)] as Callable)(...kinds.map((k) => k.make())));
      if (error !== undefined) refused.push(`${path}: ${String(error)}`);
    }
    expect(refused).toEqual([]);
  });

  test('every public function is in the tables', () => {
    // Without arguments, errors themselves, or made by others; mnist would read its files each time; histories take any record.
    const exempt =
      /Error$|^(cpuInfo|defaultDevice|isGradEnabled|rngState|measurePeak|data\.mnist|StreamEvent|SafetensorsFile)$|^nn\.Module$|^optim\.Optimizer$/;
    const histories = /^monitor\.(History|formatRecord|parseRecord|readHistory|supersede|diagnose)$/;
    const absent: string[] = [];
    const walk = (o: object, above: string) => {
      for (const [name, v] of Object.entries(o)) {
        const path = above ? `${above}.${name}` : name;
        if (typeof v === 'function') {
          if (!(path in calls) && !exempt.test(path) && !histories.test(path)) absent.push(path);
        } else if (typeof v === 'object' && v !== null) walk(v, path);
      }
    };
    walk(anneal, '');
    expect(absent).toEqual([]);
  });

  test('every method of Tensor is an op of the tables, or tried by itself', () => {
    const own =
      /^(constructor|ndim|bytes|tracked|disposed|dispose|escape|alias|detach|data|item|print|toString|contiguous|relocate)$/;
    const names = Object.getOwnPropertyNames(anneal.Tensor.prototype).filter((n) => !own.test(n));
    expect(names.filter((n) => !(n in calls) && !(`Tensor.${n}` in methods))).toEqual([]);
  });
});
