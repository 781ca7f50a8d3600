import { describe, test } from 'vitest';
import * as nn from '../../lib/nn/index.ts';
import { narrow } from '../../lib/ops/index.ts';
import { fromHost } from '../../lib/tensor/create.ts';
import { scope } from '../../lib/tensor/scope.ts';
import type { Tensor } from '../../lib/tensor/tensor.ts';
import { expectClose } from '../helpers/compare.ts';
import { loadGolden, type ModuleCase } from './golden.ts';
import { FORWARD, GRADIENT } from './run.ts';

const golden = loadGolden('modules');

/** Attributes that are arguments of the constructor; the rest are its options. */
const positional: { readonly [name: string]: readonly string[] } = {
  Linear: ['inFeatures', 'outFeatures'],
  Conv2d: ['inChannels', 'outChannels'],
  BatchNorm2d: ['numFeatures'],
  LayerNorm: ['normalizedShape'],
  RMSNorm: ['normalizedShape'],
  GroupNorm: ['numGroups', 'numChannels'],
  Embedding: ['numEmbeddings', 'embeddingDim'],
  MultiheadAttention: ['embedDim', 'numHeads'],
  TransformerBlock: ['embedDim', 'numHeads'],
};

type Layer = nn.Module & { forward(x: Tensor): Tensor };

function make(c: ModuleCase): Layer {
  const name = c.op.slice('nn.'.length);
  const Kind = (nn as unknown as Record<string, new (...args: unknown[]) => Layer>)[name];
  if (!Kind) throw new Error(`missing module: lib/nn/index.ts exports no ${name}`);
  const options = { ...c.attrs };
  const first = (positional[name] as string[]).map((key) => {
    const value = options[key];
    delete (options as Record<string, unknown>)[key];
    return value;
  });
  return new Kind(...first, ...(Object.keys(options).length ? [options] : []));
}

/** PyTorch counts batches beside the running statistics; with a momentum nothing reads the count, and there is none here. */
const keysOf = (c: ModuleCase, prefix: string) => golden.keys(c, prefix).filter((key) => key !== 'num_batches_tracked');

const stored = (c: ModuleCase, role: string): Tensor => {
  const t = golden.tensor(`${c.name}/${role}`);
  return fromHost(t.data, t.shape, t.dtype);
};
const close = async (c: ModuleCase, role: string, actual: Tensor, limit: number) =>
  expectClose(`${c.name}: ${role}`, { shape: actual.shape, data: await actual.data() }, golden.tensor(`${c.name}/${role}`), limit);

async function run(c: ModuleCase): Promise<void> {
  const module = make(c);
  module.loadStateDict(new Map(keysOf(c, 'state.').map((key) => [key, stored(c, `state.${key}`)])));
  module.train(c.training);
  const x = stored(c, 'in.0');
  x.requiresGrad = c.differentiable[0] as boolean;
  const calls = c.calls ?? 1;
  const rows = (x.shape[0] as number) / calls;
  let out: Tensor | undefined;
  for (let i = 0; i < calls; i++) out = module.forward(calls === 1 ? x : narrow(x, 0, i * rows, rows));
  (out as Tensor).backward(stored(c, 'grad_out.0'));
  await close(c, 'out.0', out as Tensor, FORWARD);
  if (x.requiresGrad) await close(c, 'grad.0', x.grad as Tensor, GRADIENT);
  const state = module.stateDict();
  for (const key of keysOf(c, 'gstate.')) await close(c, `gstate.${key}`, state.get(key)?.grad as Tensor, GRADIENT);
  for (const key of keysOf(c, 'after.')) await close(c, `after.${key}`, state.get(key) as Tensor, FORWARD);
}

describe('modules', () => {
  for (const c of golden.cases as readonly ModuleCase[]) test(c.name, () => scope.run(() => run(c)));
});
