import { readdirSync, statSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { families, type Golden, type GoldenCase, loadGolden } from './golden.ts';

const here = fileURLToPath(new URL('.', import.meta.url));

function roles(c: GoldenCase, golden: Golden): string[] {
  const count = (n: number, role: string) => Array.from({ length: n }, (_, i) => `${role}.${i}`);
  switch (c.kind) {
    case 'op':
    case 'module':
      return [
        ...count(c.inputs, 'in'),
        ...count(c.outputs, 'out'),
        ...c.differentiable.flatMap((d, i) => (d ? [`grad.${i}`] : [])),
        ...(c.kind === 'module' ? golden.keys(c, 'gstate.').map((k) => `state.${k}`) : []),
      ];
    case 'optimizer':
      return [
        ...['param', 'grads', 'trace', 'final'].flatMap((role) => count(c.params, role)),
        ...c.state.map((key) => `state.0.${key}`),
      ];
    case 'trajectory':
      return [
        ...c.parameters.flatMap((p) => [`init.${p}`, `grad1.${p}`, `final.${p}`]),
        'batch.x',
        'batch.y',
        'losses',
        'gradNorms',
      ];
  }
}

describe('golden files', () => {
  test('there is one for every family, and they stay small', () => {
    const files = readdirSync(here).filter((f) => f.endsWith('.safetensors'));
    // Pictures stand by themselves: test/data/augment-golden.test.ts reads them.
    expect(files.sort()).toEqual([...families, 'augment'].map((f) => `${f}.safetensors`).sort());
    const size = (f: string) => statSync(`${here}${f}.safetensors`).size;
    expect(families.reduce((sum, f) => sum + size(f), 0)).toBeLessThan(6e6);
    expect(size('augment')).toBeLessThan(4e6);
  });

  test.each(families)('%s: every case has its tensors, every tensor its case', (family) => {
    const golden = loadGolden(family);
    const known = new Set(golden.cases.map((c) => c.name));
    expect(known.size).toBe(golden.cases.length);
    for (const c of golden.cases) {
      const missing = roles(c, golden).filter((role) => !golden.has(`${c.name}/${role}`));
      expect(missing, c.name).toEqual([]);
    }
    const owner = (name: string) => name.slice(0, name.lastIndexOf('/'));
    expect(golden.names.filter((name) => !known.has(owner(name)))).toEqual([]);
    for (const name of golden.names) {
      const t = golden.tensor(name);
      expect(t.data.length, name).toBe(t.shape.reduce((a, b) => a * b, 1));
    }
  });

  test('reads values, shapes and types', () => {
    const unary = loadGolden('unary');
    expect(unary.tensor('abs/kink/in.0')).toEqual({ dtype: 'f32', shape: [3], data: new Float32Array([0, -0, 1]) });
    expect(unary.tensor('relu/scalar/out.0').shape).toEqual([]);
    expect(loadGolden('models').tensor('GPT/losses').dtype).toBe('f64');
    expect(loadGolden('index').tensor('cast/f32-bool/out.0')).toMatchObject({
      dtype: 'bool',
      data: new Uint8Array([0, 0, 1, 1, 1, 1]),
    });
    expect(() => unary.tensor('abs/kink/in.9')).toThrow(/no tensor 'abs\/kink\/in\.9'/);
  });
});
