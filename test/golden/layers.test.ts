/** Layers of several inputs and results against PyTorch: state loaded strictly by its names, forward, gradients of inputs and parameters. */
import { describe, test } from 'vitest';
import * as nn from '../../lib/nn/index.ts';
import { add, mul } from '../../lib/ops/binary.ts';
import { sum } from '../../lib/ops/reduce.ts';
import { fromHost } from '../../lib/tensor/create.ts';
import { scope } from '../../lib/tensor/scope.ts';
import { Tensor } from '../../lib/tensor/tensor.ts';
import { expectClose } from '../helpers/compare.ts';
import { type Golden, loadGolden, type ModuleCase } from './golden.ts';
import { FORWARD, GRADIENT } from './run.ts';

/** Attributes that are arguments of the constructor; the rest are its options. */
const positional: { readonly [name: string]: readonly string[] } = {
  LSTM: ['inputSize', 'hiddenSize'],
  GRU: ['inputSize', 'hiddenSize'],
  RNN: ['inputSize', 'hiddenSize'],
  Conv1d: ['inChannels', 'outChannels'],
  Conv2d: ['inChannels', 'outChannels'],
  Conv3d: ['inChannels', 'outChannels'],
  ConvTranspose1d: ['inChannels', 'outChannels'],
  ConvTranspose2d: ['inChannels', 'outChannels'],
  InstanceNorm1d: ['numFeatures'],
  InstanceNorm2d: ['numFeatures'],
  MultiheadAttention: ['embedDim', 'numHeads'],
  Linear: ['inFeatures', 'outFeatures'],
  PReLU: ['numParameters'],
  EmbeddingBag: ['count', 'dim'],
};

type Layer = nn.Module & { forward(...inputs: unknown[]): Tensor | Record<string, Tensor> };

/** Functions that change a layer: attributes that are the layer's, and those that are their own options. */
const changes: { readonly [name: string]: readonly string[] } = { weightNorm: ['dim'], spectralNorm: ['iterations', 'dim'] };

function changed(name: string, attrs: Record<string, unknown>): Layer {
  const { layer, ...rest } = attrs;
  const own = Object.fromEntries(Object.entries(rest).filter(([key]) => changes[name]?.includes(key)));
  const others = Object.fromEntries(Object.entries(rest).filter(([key]) => !changes[name]?.includes(key)));
  const change = (nn as unknown as Record<string, (layer: Layer, options: object) => Layer>)[name] as (l: Layer, o: object) => Layer;
  return change(make(`nn.${layer}`, others), own);
}

function make(op: string, attrs: Record<string, unknown>): Layer {
  const name = op.slice('nn.'.length);
  if (name in changes) return changed(name, attrs);
  const Kind = (nn as unknown as Record<string, new (...args: unknown[]) => Layer>)[name];
  if (!Kind) throw new Error(`missing module: lib/nn/index.ts exports no ${name}`);
  const options: Record<string, unknown> = { ...attrs };
  const first = (positional[name] ?? []).map((key) => {
    const value = options[key];
    delete options[key];
    return value;
  });
  return new Kind(...first, ...(Object.keys(options).length ? [options] : []));
}

async function run(golden: Golden, c: ModuleCase): Promise<void> {
  const stored = (role: string): Tensor => {
    const t = golden.tensor(`${c.name}/${role}`);
    return fromHost(t.data, t.shape, t.dtype);
  };
  const close = async (role: string, actual: Tensor | null | undefined, limit: number) => {
    if (!actual) throw new Error(`${c.name}: ${role}: nothing arrived`);
    const values = { shape: actual.shape, data: await actual.data() };
    expectClose(`${c.name}: ${role}`, values, golden.tensor(`${c.name}/${role}`), limit);
  };
  const module = make(c.op, { ...c.attrs });
  module.loadStateDict(new Map(golden.keys(c, 'state.').map((key) => [key, stored(`state.${key}`)])));
  module.train(c.training);
  const options: Record<string, Tensor> = {};
  const inputs = c.args.map((name, i) => {
    const t = stored(`in.${i}`);
    t.requiresGrad = c.differentiable[i] as boolean;
    if (name.startsWith('options.')) options[name.slice('options.'.length)] = t;
    return t;
  });
  const given = inputs.filter((_, i) => !c.args[i]?.startsWith('options.'));
  const result = module.forward(...given, ...(Object.keys(options).length ? [options] : []));
  const outs = c.outs.map((name) => (result instanceof Tensor ? result : (result[name] as Tensor)));
  outs.map((out, k) => sum(mul(out, stored(`grad_out.${k}`)))).reduce((a, b) => add(a, b)).backward();
  for (const [k, out] of outs.entries()) await close(`out.${k}`, out, FORWARD);
  for (const [i, x] of inputs.entries()) if (c.differentiable[i]) await close(`grad.${i}`, x.grad, GRADIENT);
  const state = module.stateDict();
  for (const key of golden.keys(c, 'gstate.')) await close(`gstate.${key}`, state.get(key)?.grad, GRADIENT);
  for (const key of golden.keys(c, 'after.')) await close(`after.${key}`, state.get(key), FORWARD);
}

for (const family of ['recurrent', 'layer_modules'] as const) {
  const golden = loadGolden(family);
  describe(family, () => {
    for (const c of golden.cases as readonly ModuleCase[]) test(c.name, () => scope.run(() => run(golden, c)));
  });
}
