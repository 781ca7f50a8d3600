import { describe, expect, it } from 'vitest';
import * as nn from '../../lib/nn/index.ts';
import type { Module } from '../../lib/nn/index.ts';
import { narrow } from '../../lib/ops/index.ts';
import { scope } from '../../lib/tensor/scope.ts';
import type { Tensor } from '../../lib/tensor/tensor.ts';
import { expectClose } from '../helpers/compare.ts';
import { loadGolden, type ModuleCase } from './golden.ts';
import { FORWARD, GRADIENT, place } from './run.ts';

// Whole layers, from PyTorch's state dict to the gradients of every parameter.

const golden = loadGolden('modules');
type Attrs = Record<string, never>;
type Built = Module & { forward(x: Tensor): Tensor };

/** Our constructors take what every layer must have by position, the rest as options. */
const positional: Record<string, readonly string[]> = {
  'nn.Linear': ['inFeatures', 'outFeatures'],
  'nn.Conv2d': ['inChannels', 'outChannels'],
  'nn.BatchNorm2d': ['numFeatures'],
  'nn.LayerNorm': ['normalizedShape'],
  'nn.RMSNorm': ['normalizedShape'],
  'nn.GroupNorm': ['numGroups', 'numChannels'],
  'nn.Embedding': ['numEmbeddings', 'embeddingDim'],
  'nn.MultiheadAttention': ['embedDim', 'numHeads'],
  'nn.TransformerBlock': ['embedDim', 'numHeads'],
};

function build(c: ModuleCase): Built {
  const names = positional[c.op];
  if (!names) throw new Error(`${c.op}: no such layer`);
  const Layer = (nn as unknown as Record<string, new (...args: unknown[]) => Built>)[c.op.slice(3)] as new (...args: unknown[]) => Built;
  const attrs = c.attrs as Attrs;
  const rest = Object.fromEntries(Object.entries(attrs).filter(([name]) => !names.includes(name)));
  return new Layer(...names.map((name) => attrs[name]), ...(Object.keys(rest).length ? [rest] : []));
}

async function values(t: Tensor) {
  return { shape: t.shape, data: await t.data() };
}

/** The forward pass; where a case calls the layer several times, on equal parts of x in turn. */
function call(layer: Built, x: Tensor, calls: number): Tensor {
  const part = (x.shape[0] as number) / calls;
  let y = x;
  for (let i = 0; i < calls; i++) y = layer.forward(calls === 1 ? x : narrow(x, 0, i * part, part));
  return y;
}

async function check(c: ModuleCase): Promise<void> {
  const at = (role: string) => golden.tensor(`${c.name}/${role}`);
  await scope.run(async () => {
    const layer = build(c);
    const state = new Map<string, Tensor>();
    for (const key of golden.keys(c, 'state.')) {
      if (key.endsWith('num_batches_tracked')) continue; // only momentum: null, which we do not have, would read it
      state.set(key, await place(at(`state.${key}`), 'f32'));
    }
    expect([...layer.stateDict().keys()].sort()).toEqual([...state.keys()].sort());
    layer.loadStateDict(state);
    layer.train(c.training);
    const x = await place(at('in.0'), 'f32');
    x.requiresGrad = c.differentiable[0] as boolean;
    const y = call(layer, x, c.calls ?? 1);
    y.backward(await place(at('grad_out.0'), 'f32'));
    expectClose(`${c.name}: output`, await values(y), at('out.0'), FORWARD);
    if (x.requiresGrad) expectClose(`${c.name}: dx`, await values(x.grad as Tensor), at('grad.0'), GRADIENT);
    for (const [key, p] of layer.namedParameters())
      expectClose(`${c.name}: d${key}`, await values(p.grad as Tensor), at(`gstate.${key}`), GRADIENT);
    for (const key of golden.keys(c, 'after.')) {
      if (key.endsWith('num_batches_tracked')) continue;
      expectClose(`${c.name}: ${key} after`, await values(layer.stateDict().get(key) as Tensor), at(`after.${key}`), FORWARD);
    }
  });
}

describe('layers against PyTorch', () => {
  for (const c of golden.cases) if (c.kind === 'module') it(c.name, () => check(c));
});
